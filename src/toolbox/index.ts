/** Tools worth having: each one an `effect/ai` tool with its annotations, and its handler as a layer. */
export {}
