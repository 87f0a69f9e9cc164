/** Asks the person at the terminal. */
import * as Prompt from "effect/cli/Prompt"
import { TerminalCapabilities } from "effect/cli/TerminalCapabilities"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import { Terminal } from "effect/Terminal"
import { complain, end } from "./ExitCode.ts"
import * as Output from "./Output.ts"

/** Lets go of keys that were typed before a question could be read: they answer no other one. */
const unhurried = Effect.gen(function* () {
  const keys = yield* (yield* Terminal).readInput
  const quit = Effect.catch(Effect.forever(Queue.take(keys)), () => Effect.interrupt)
  yield* Effect.raceFirst(quit, Effect.sleep("250 millis"))
}).pipe(Effect.scoped)

/** Asks the person at the terminal; no is what counts unless they say yes. */
export const asked = (message: string) =>
  Effect.andThen(unhurried, Prompt.run(Prompt.Confirm({ message, initial: false })))

/** Goes on where `--yes` was given, or the person at the terminal says so. */
export const agreed = Effect.fnUntraced(function* (yes: boolean, message: string) {
  if (yes) return
  const { canPrompt } = yield* TerminalCapabilities
  if (!canPrompt || (yield* Output.Json)) {
    return yield* complain("usage", "This cannot be undone, and nobody is there to ask: give --yes.")
  }
  if (!(yield* asked(message))) yield* end("refused")
})
