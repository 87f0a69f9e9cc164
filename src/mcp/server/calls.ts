/**
 * One call from an MCP client: through the pipeline, and where a human must
 * confirm it and the client can ask one, through it again once that one has.
 *
 * Everything is decided anew each time. So a call that is confirmed leaves two
 * records: one says that it was pending, the other how it ended.
 */
import * as McpSchema from "effect/ai/McpSchema"
import type { McpServer } from "effect/ai/McpServer"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import type { Request } from "../../Approvals.ts"
import type { CallRecord } from "../../CallRecord.ts"
import * as ArgumentLimits from "../../internal/argumentLimits.ts"
import { keyedHash } from "../../internal/argumentsView.ts"
import type { Conclude, Outcome } from "../../internal/call.ts"
import { reportBeside } from "../../internal/callText.ts"
import { CurrentWaiting } from "../../internal/currentWaiting.ts"
import type { InRun } from "../../internal/governedToolkit.ts"
import * as Raw from "../../internal/raw.ts"
import type { Pipeline } from "../../Pipeline.ts"
import { CurrentPrincipal, type Principal } from "../../Principal.ts"
import { type Client, CurrentClient, clientOf } from "./client.ts"
import * as Confirmation from "./confirmation.ts"
import { aboutOf, asksByResult, failureOf, refusalOf, successOf, summaryOf, wordsOf } from "./result.ts"
import * as State from "./state.ts"

/** What answers calls. */
export interface Serving {
  /** The pipeline of what is there now. */
  readonly pipeline: Effect.Effect<Pipeline>
  readonly inRun: InRun
  readonly notifications: McpServer["Service"]["notifications"]
}

type RequestContext = McpSchema.McpRequestContext["Service"]
type Answer = McpSchema.CallToolResult | McpSchema.InputRequired
type Answered = Effect.Effect<Answer, McpSchema.InvalidParams>

/** A call as it came in. */
interface Incoming {
  readonly serving: Serving
  readonly pipeline: Pipeline
  readonly tool: string
  readonly args: unknown
  readonly context: RequestContext
  readonly principal: Principal
  readonly client: Client
  /** The request to which its human has said yes. */
  readonly confirmed: { request?: string }
}

/** Answers a call of a tool by name. */
export const answer = Effect.fnUntraced(function* (
  serving: Serving,
  tool: string,
  args: unknown
): Effect.fn.Return<Answer, McpSchema.InvalidParams, McpSchema.McpRequestContext> {
  const context = yield* McpSchema.McpRequestContext
  const session = Option.getOrUndefined(yield* Effect.serviceOption(McpSchema.McpServerClient))
  const principal = yield* CurrentPrincipal
  const client = clientOf(serving.notifications, context)
  const incoming: Incoming = {
    serving,
    pipeline: yield* serving.pipeline,
    tool,
    args,
    context,
    principal,
    client,
    confirmed: {}
  }
  return yield* answering(incoming, session).pipe(
    Effect.onInterrupt(() => takeBack(incoming)),
    Effect.ensuring(client.end)
  )
})

const answering = (
  incoming: Incoming,
  session: McpSchema.McpServerClient["Service"] | undefined
): Answered => {
  const { context, principal } = incoming
  if (context.protocolVersion >= asksByResult) return askingByResult(incoming)
  return session !== undefined && Confirmation.canAsk(context.clientCapabilities, principal)
    ? askingInSession(incoming, session)
    : plainly(incoming)
}

// --- Once through the pipeline ---------------------------------------------

interface Ended {
  readonly outcome: Outcome
  readonly record: CallRecord
}

const ended: Conclude<Ended, never> = (outcome, record) => Exit.succeed({ outcome, record })

const run = (
  { args, client, pipeline, serving, tool }: Incoming,
  context: RequestContext
): Effect.Effect<Ended> => {
  const onProgress = (encoded: unknown) => client.step(summaryOf(encoded))
  const request = { door: "mcp", tool, params: Raw.of(args), onProgress } as const
  return serving
    .inRun(pipeline.run(request, ended))
    .pipe(
      Effect.provideService(CurrentClient, client),
      Effect.provideService(McpSchema.McpRequestContext, context)
    )
}

/** A call that is asked about here, and waits for nobody else meanwhile. */
const runOnce = (incoming: Incoming): Effect.Effect<Ended> =>
  Effect.provideService(run(incoming, incoming.context), CurrentWaiting, false)

const plainly = (incoming: Incoming): Answered =>
  Effect.flatMap(run(incoming, incoming.context), (ended) => answerOf(incoming, ended))

const answerOf = ({ args, context, pipeline, tool }: Incoming, { outcome, record }: Ended): Answered => {
  const { protocolVersion } = context
  const { reason } = outcome
  const known = pipeline.tools.get(tool)
  const reader = { protocolVersion, maxBytes: pipeline.defaults.resultBytes }
  if (known !== undefined && ("encoded" in outcome || reason === undefined)) {
    return Effect.catchCause(
      Effect.sync(() => successOf(known, outcome, reader)),
      // The call has succeeded; what shows its result has not.
      (cause) =>
        Effect.as(
          reportBeside(pipeline.kernel, { tool, params: Raw.of(args) }, outcome.value, cause),
          refusalOf({ _tag: "HandlerDefect" }, { ...outcome, outcomeUnknown: true }, record)
        )
    )
  }
  if (reason === undefined) return Effect.die(new Error("A call without a tool has no success"))
  // What is wrong with arguments is, before this version, an error of the protocol.
  if (reason._tag === "InvalidParams" && protocolVersion < "2025-11-25") {
    return Effect.fail(new McpSchema.InvalidParams({ message: wordsOf(reason, outcome, record) }))
  }
  return Effect.succeed(
    reason._tag === "ToolFailed"
      ? failureOf(known, reason.failure, reader, aboutOf(reason, record))
      : refusalOf(reason, outcome, record)
  )
}

// --- Asking over a session -------------------------------------------------

/** The request that the client's human may answer; `undefined` where there is none. */
const toConfirm = (
  { pipeline }: Incoming,
  { outcome: { reason } }: Ended
): Effect.Effect<Request | undefined> =>
  reason?._tag === "PendingConfirmation" && reason.by === "confirm"
    ? Effect.orElseSucceed(pipeline.kernel.approvals.get(reason.request), () => undefined)
    : Effect.succeed(undefined)

const askingInSession = Effect.fnUntraced(function* (
  incoming: Incoming,
  session: McpSchema.McpServerClient["Service"]
): Effect.fn.Return<Answer, McpSchema.InvalidParams> {
  const { approvals } = incoming.pipeline.kernel
  const first = yield* runOnce(incoming)
  const request = yield* toConfirm(incoming, first)
  if (request === undefined) return yield* elsewhere(incoming, first)
  const said = yield* Effect.raceFirst(
    Effect.orElseSucceed(
      Confirmation.elicit(session, approvals, request),
      (): Confirmation.Answer => undefined
    ),
    tellingOfTheWait(incoming)
  )
  if (said === undefined) return yield* elsewhere(incoming, first)
  const decided = said === "elsewhere" || (yield* decide(incoming, request.id, said))
  return decided ? yield* plainly(incoming) : yield* elsewhere(incoming, first)
})

/** Whoever made the call may give up on what says nothing for a while, which a human's answer takes. */
const tellingOfTheWait = ({ client }: Incoming): Effect.Effect<never> =>
  Effect.forever(
    Effect.andThen(client.step("Waiting for a person to confirm the call"), Effect.sleep("20 seconds"))
  )

/** Where the client's human has not answered, others may: the call waits for them if its caller said so. */
const elsewhere = (incoming: Incoming, first: Ended): Answered =>
  Effect.flatMap(CurrentWaiting, (waits) =>
    waits && first.outcome.reason?._tag === "PendingConfirmation"
      ? plainly(incoming)
      : answerOf(incoming, first)
  )

/** Whether that decided it: somebody may have been faster, or it may not be theirs to decide. */
const decide = (
  { confirmed, pipeline, principal }: Incoming,
  request: string,
  answer: "yes" | "no"
): Effect.Effect<boolean> =>
  Effect.suspend(() => {
    if (answer === "yes") confirmed.request = request
    return Effect.match(Confirmation.decide(pipeline.kernel.approvals, request, answer, principal), {
      onFailure: () => false,
      onSuccess: () => true
    })
  })

/** A yes is to this call: where it is cancelled before it runs, it must not let the next one through. */
const takeBack = ({ confirmed, pipeline }: Incoming): Effect.Effect<void> =>
  confirmed.request === undefined
    ? Effect.void
    : Effect.ignore(pipeline.kernel.approvals.revoke(confirmed.request, "The call was cancelled."))

// --- Asking by a result ----------------------------------------------------

const question = "confirmation"

const askingByResult = Effect.fnUntraced(function* (
  incoming: Incoming
): Effect.fn.Return<Answer, McpSchema.InvalidParams> {
  const { asked, dismissed } = yield* continued(incoming)
  const { clientCapabilities, inputResponses, requestState } = asked.context
  const asks = !dismissed && Confirmation.canAsk(clientCapabilities, asked.principal)
  const first = yield* asks ? runOnce(asked) : run(asked, asked.context)
  const request = asks ? yield* toConfirm(asked, first) : undefined
  if (request !== undefined) {
    return new McpSchema.InputRequired({
      inputRequests: { [question]: Confirmation.inputRequestOf(request) },
      requestState: stateOf(asked, { request: request.id, inputResponses, requestState })
    })
  }
  const answer = yield* asks ? elsewhere(asked, first) : answerOf(asked, first)
  if (!(answer instanceof McpSchema.InputRequired) || answer.requestState === undefined) return answer
  // What the tool asks for, it gets back as it was.
  const { inputRequests, requestState: own } = answer
  return new McpSchema.InputRequired({ inputRequests, requestState: stateOf(asked, { requestState: own }) })
})

interface Continued {
  /** The call with what its tool was waiting for, and nothing of ours. */
  readonly asked: Incoming
  /** Its human was asked, and has not decided: nobody is to be asked again at once. */
  readonly dismissed: boolean
}

/** Takes up a call where its state says it was left, and does what the client's human has said. */
const continued = Effect.fnUntraced(function* (
  incoming: Incoming
): Effect.fn.Return<Continued, McpSchema.InvalidParams> {
  const { context, pipeline, principal, tool } = incoming
  if (context.requestState === undefined) return { asked: incoming, dismissed: false }
  const state = State.read(pipeline.kernel.keyring, context.requestState, { tool, principal })
  if (state === undefined || state.arguments !== hashOf(incoming)) {
    return yield* new McpSchema.InvalidParams({
      message: "The request state is not of this call: make it again without."
    })
  }
  const { inputResponses, request, requestState } = state
  const waitingFor = (more: Partial<RequestContext>) => ({
    ...incoming,
    context: { ...context, requestState, ...more }
  })
  // The tool has asked, and the answers are its own.
  if (request === undefined) return { asked: waitingFor({}), dismissed: false }
  const asked = waitingFor({ inputResponses })
  const response = context.inputResponses?.[question]
  if (response === undefined) return { asked, dismissed: false }
  const said = Confirmation.answerOf(response)
  return { asked, dismissed: said === undefined || !(yield* decide(incoming, request, said)) }
})

const stateOf = (incoming: Incoming, state: Omit<State.State, "arguments">): string => {
  const { pipeline, principal, tool } = incoming
  // What is not worth a look was never asked about.
  const hash = hashOf(incoming) ?? ""
  return State.write(pipeline.kernel.keyring, { ...state, arguments: hash }, { tool, principal })
}

/** `undefined` for what is too large or too deep to be looked at. */
const hashOf = ({ args, pipeline: { kernel, tools }, tool }: Incoming): string | undefined => {
  const known = tools.get(tool)
  if (known === undefined) return undefined
  const inspection = ArgumentLimits.inspect(args, kernel.rulesOf(known).limits)
  return inspection._tag === "Ok" ? keyedHash(kernel.keyring.key("arguments"), args) : undefined
}
