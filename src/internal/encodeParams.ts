/** Decoded arguments as their schema encodes them. */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { CompiledTool } from "./kernel.ts"

/** `undefined` where the schema only decodes. The services of a tool's schemas are its handler's, and with the calling fiber. */
export const encodeParams = ({ codec }: CompiledTool, params: unknown): Effect.Effect<unknown> => {
  const encoding = codec.encodeParams(params)
  if (Exit.isExit(encoding)) return Exit.isSuccess(encoding) ? (encoding as Exit.Exit<unknown>) : Exit.void
  return Effect.orElseSucceed(encoding, () => undefined)
}
