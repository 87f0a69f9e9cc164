/** `interlock approvals watch`: requests as they are made and decided, whichever process does; with `--ask` it asks. */
import * as Console from "effect/Console"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import { TerminalCapabilities } from "effect/cli/TerminalCapabilities"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { Approvals, type Request, type State } from "../../../Approvals.ts"
import { isOwn, mayNotGrant } from "../../../internal/approvals/rules.ts"
import { plain } from "../../../internal/plainText.ts"
import { asked } from "../../agreed.ts"
import { complain } from "../../ExitCode.ts"
import { explained } from "../../failures.ts"
import * as Output from "../../Output.ts"
import { Project } from "../../Project.ts"
import { asPerson } from "./person.ts"
import * as Text from "./text.ts"

/** A state never goes back, so what is read late is known by its rank. */
const rank: { readonly [S in State]: number } = {
  pending: 1,
  granted: 2,
  rejected: 3,
  used: 3,
  expired: 3,
  revoked: 3,
  replaced: 3
}

/** What is pending, and every change from then on, each once. */
const requests = (approvals: Approvals["Service"]) => {
  const known = new Map<string, number>()
  const pending = Effect.map(approvals.list({ state: "pending" }), (newest) => newest.toReversed())
  return Stream.mergeAll(
    [
      Stream.fromIterableEffect(pending),
      // What came in between the first look and the moment from which changes are seen.
      Stream.fromIterableEffect(Effect.delay(pending, "1 second")),
      approvals.changes
    ],
    { concurrency: "unbounded" }
  ).pipe(
    Stream.filter(({ id, state }) => {
      if ((known.get(id) ?? 0) >= rank[state]) return false
      known.set(id, rank[state])
      return true
    })
  )
}

/** Asks until it is answered, or decided elsewhere. */
const ask = Effect.fnUntraced(function* (approvals: Approvals["Service"], request: Request) {
  const { principal } = yield* Project
  yield* Output.print(request, Text.card)
  const answer = yield* Effect.raceFirst(
    asked(`Let ${plain(request.tool)} run?`),
    Effect.as(approvals.decided(request.id), undefined)
  )
  if (answer === undefined) return yield* Console.log("It was decided elsewhere, or has expired.")
  if (!answer) return yield* asPerson(approvals.reject(request.id))
  const { token } = yield* asPerson(approvals.grant(request.id))
  yield* Console.log(Text.howToRun({ request, token, principal }))
})

export const watch = Command.make(
  "watch",
  {
    mine: Flag.Boolean("mine").pipe(
      Flag.withDescription("Only requests about calls on your own behalf"),
      Flag.withDefault(false)
    ),
    ask: Flag.Boolean("ask").pipe(
      Flag.withDescription("Ask about what you may decide; needs a terminal"),
      Flag.withDefault(false)
    )
  },
  Effect.fnUntraced(function* (flags) {
    const approvals = yield* Approvals
    const { principal } = yield* Project
    const { canPrompt } = yield* TerminalCapabilities
    if (flags.ask && (!canPrompt || (yield* Output.Json))) {
      return yield* complain("usage", "--ask needs a terminal, and no --json.")
    }
    const shown = Effect.fnUntraced(function* (request: Request) {
      yield* Output.printLine(request, Text.line)
      if (!flags.ask || request.state !== "pending" || mayNotGrant(principal, request) !== undefined) return
      // Somebody else may be faster; what they decided is the next line.
      yield* Effect.catchTag(ask(approvals, request), "ApprovalError", ({ message }) =>
        Console.error(message)
      )
    })
    yield* requests(approvals).pipe(
      Stream.filter((request) => !flags.mine || isOwn(principal, request)),
      Stream.runForEach(shown),
      explained
    )
  })
).pipe(Command.withDescription("Show requests as they are made and decided, and ask about them"))
