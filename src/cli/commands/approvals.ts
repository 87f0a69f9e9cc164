/** `interlock approvals`: what humans are asked about calls, and their answers. */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { Approvals, type State } from "../../Approvals.ts"
import { isOwn } from "../../internal/approvals/rules.ts"
import { ToolRegistry } from "../../ToolRegistry.ts"
import { allTools } from "../allTools.ts"
import { complain, end } from "../ExitCode.ts"
import { explained } from "../failures.ts"
import * as Flags from "../flags.ts"
import * as Output from "../Output.ts"
import { asPrincipal, Project } from "../Project.ts"
import { paramsOf, showResult } from "../result.ts"
import { asPerson } from "./approvals/person.ts"
import * as Text from "./approvals/text.ts"
import { watch } from "./approvals/watch.ts"

const id = Argument.String("id").pipe(Argument.withDescription("The request's id, as list shows it"))

// --- Looking ---------------------------------------------------------------

const states: ReadonlyArray<State> = [
  "pending",
  "granted",
  "rejected",
  "used",
  "expired",
  "revoked",
  "replaced"
]

const printList = Effect.fnUntraced(function* (state: State | "all", mine: boolean, limit: number) {
  const approvals = yield* Approvals
  const { principal } = yield* Project
  const found = yield* approvals.list({
    limit,
    ...(state === "all" ? {} : { state }),
    ...(mine ? { principal: principal.id } : {})
  })
  const shown = mine ? found.filter((request) => isOwn(principal, request)) : found
  yield* Output.print(shown, Text.list(principal))
}, explained)

const list = Command.make(
  "list",
  {
    state: Flag.Literals("state", [...states, "all"]).pipe(
      Flag.withDescription("In which state"),
      Flag.withDefault("pending" as const)
    ),
    mine: Flag.Boolean("mine").pipe(
      Flag.withDescription("Only about calls on your own behalf"),
      Flag.withDefault(false)
    ),
    limit: Flags.Limit(100)
  },
  ({ limit, mine, state }) => printList(state, mine, limit)
).pipe(Command.withDescription("Requests, newest first: the pending ones unless told otherwise"))

const show = Command.make("show", { id }, ({ id }) =>
  Effect.flatMap(requestOf(id), (request) => Output.print(request, Text.card))
).pipe(Command.withDescription("One request, with all that whoever decides has to know"))

const requestOf = (id: string) =>
  Approvals.pipe(
    Effect.flatMap((approvals) => approvals.get(id)),
    Effect.flatMap((request) =>
      request === undefined
        ? complain("invalid", `There is no request "${Output.cell(id)}".`)
        : Effect.succeed(request)
    ),
    explained
  )

// --- Deciding --------------------------------------------------------------

const approve = Command.make(
  "approve",
  {
    id,
    run: Flag.Boolean("run").pipe(
      Flag.withDescription("Run it at once; only for calls on your own behalf"),
      Flag.withDefault(false)
    )
  },
  Effect.fnUntraced(function* ({ id, run }) {
    const approvals = yield* Approvals
    const { principal } = yield* Project
    if (run && !isOwn(principal, yield* requestOf(id))) {
      return yield* complain(
        "usage",
        "Only whoever asked for a call can run it: approve it without --run, and let them."
      )
    }
    const granted = yield* asPerson(approvals.grant(id))
    if (!run) {
      return yield* Output.print(granted, ({ request, token }, paint) =>
        [Text.card(request, paint), "", Text.howToRun({ request, token, principal })].join("\n")
      )
    }
    const resumed = Effect.gen(function* () {
      const executor = yield* (yield* ToolRegistry).executor
      return yield* asPrincipal(executor.resume(granted.token))
    })
    yield* showResult(yield* Effect.provide(resumed, allTools))
  }, explained)
).pipe(Command.withDescription("Let a call run, once: prints the token that runs it"))

const reason = Flag.String("reason").pipe(
  Flag.withDescription("Why; told to whoever asked, a model included"),
  Flag.optional
)

const deny = Command.make(
  "deny",
  { id, reason },
  Effect.fnUntraced(function* ({ id, reason }) {
    const approvals = yield* Approvals
    const request = yield* asPerson(approvals.reject(id, Option.getOrUndefined(reason)))
    yield* Output.print(request, Text.line)
  }, explained)
).pipe(Command.withDescription("Refuse a call"))

const revoke = Command.make(
  "revoke",
  { id, reason },
  Effect.fnUntraced(function* ({ id, reason }) {
    const approvals = yield* Approvals
    const request = yield* asPerson(approvals.revoke(id, Option.getOrUndefined(reason)))
    yield* Output.print(request, Text.line)
  }, explained)
).pipe(Command.withDescription("Take back a grant that was not used, or a request that nobody has decided"))

const edit = Command.make(
  "edit",
  {
    id,
    params: Argument.String("json").pipe(
      Argument.withDescription("The arguments in the place of those that were asked about; - reads stdin")
    ),
    tool: Flag.String("tool").pipe(Flag.withDescription("Another tool"), Flag.optional)
  },
  Effect.fnUntraced(function* ({ id, params, tool }) {
    const before = yield* requestOf(id)
    const project = yield* Project
    const principal = [project.principal, ...project.principals.values()].find(
      (known) => known.id === before.principal && known.tenant === before.tenant
    )
    if (principal === undefined) {
      return yield* complain(
        "refused",
        "The call is on behalf of somebody whom the configuration does not name."
      )
    }
    const given = yield* paramsOf(params)
    const edited = Effect.gen(function* () {
      const executor = yield* (yield* ToolRegistry).executor
      return yield* asPerson(
        executor.edit({
          request: id,
          params: given,
          principal,
          ...Option.match(tool, { onNone: () => ({}), onSome: (tool) => ({ tool }) })
        })
      )
    })
    const result = yield* Effect.provide(edited, allTools)
    const [asked] = yield* (yield* Approvals).list({ callId: result.callId, state: "pending", limit: 1 })
    if (asked === undefined) return yield* showResult(result)
    yield* Output.print(asked, Text.card)
    yield* end("pending")
  }, explained)
).pipe(Command.withDescription("Ask about other arguments instead; somebody has to answer anew"))

export const approvals = Command.make("approvals", {}, () => printList("pending", false, 100)).pipe(
  Command.withDescription("What humans are asked about calls, and their answers"),
  Command.withSubcommands([list, show, approve, deny, revoke, edit, watch])
)
