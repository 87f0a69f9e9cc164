/** Asks before what cannot be undone. */
import * as Prompt from "effect/cli/Prompt"
import { TerminalCapabilities } from "effect/cli/TerminalCapabilities"
import * as Effect from "effect/Effect"
import { complain, end } from "./ExitCode.ts"
import * as Output from "./Output.ts"

/** Goes on where `--yes` was given, or the person at the terminal says so. */
export const agreed = Effect.fnUntraced(function* (yes: boolean, message: string) {
  if (yes) return
  const { canPrompt } = yield* TerminalCapabilities
  if (!canPrompt || (yield* Output.Json)) {
    return yield* complain("usage", "This cannot be undone, and nobody is there to ask: give --yes.")
  }
  if (!(yield* Prompt.run(Prompt.Confirm({ message, initial: false })))) yield* end("refused")
})
