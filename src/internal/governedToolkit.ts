/**
 * A governed toolkit as `effect/ai` takes it, with a `handle` of its own.
 *
 * A refusal is a result that a model understands, never an error of the
 * generation; a tool's own failure follows the tool's failure mode. A name that
 * is not among the tools a model was shown is refused by `LanguageModel` itself,
 * before any handler. Tools that a provider executes are not among them.
 */
import * as AiError from "effect/ai/AiError"
import * as Prompt from "effect/ai/Prompt"
import type * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import { identity } from "effect/Function"
import * as Queue from "effect/Queue"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { Door } from "../CallRecord.ts"
import type { Pipeline } from "../Pipeline.ts"
import { messageOf, type Reason, table } from "../ToolError.ts"
import type { Outcome, Request } from "./call.ts"
import { reportBeside } from "./callText.ts"
import type { CompiledTool } from "./kernel.ts"
import * as Raw from "./raw.ts"
import { capped } from "./result.ts"

/** Marks a handler that `Interlock.guard` has governed, and leads back to the raw one. */
export const rawHandler: unique symbol = Symbol.for("interlock/rawHandler")

/** The toolkit's handlers as they were registered: a guarded one leads back to the raw one, so that nothing is governed twice. */
export const handlersOf = (
  toolkit: { readonly tools: Record<string, Tool.Any> },
  services: Context.Context<never>
): ReadonlyArray<readonly [Tool.Any, Tool.Handler<string>]> =>
  Object.values(toolkit.tools).flatMap((tool) => {
    const handler = services.mapUnsafe.get(tool.id) as
      | (Tool.Handler<string> & { readonly [rawHandler]?: Tool.Handler<string> })
      | undefined
    // Without a handler a provider runs the tool itself, and nothing of ours can govern that: the tool is left out.
    return handler === undefined ? [] : [[tool, handler[rawHandler] ?? handler] as const]
  })

type AnyTools = Record<string, Tool.Any>
type Output = Tool.HandlerResult<Tool.Any>

/** Runs a call as part of a run. */
export type InRun = <A, E, R>(call: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>

/** The governed toolkit, for whatever the fiber that asks for it may see. */
export const governedToolkit = (
  pipeline: Pipeline,
  door: Door,
  visible: Effect.Effect<ReadonlySet<string>>,
  inRun: InRun = identity
): Effect.Effect<Toolkit.WithHandler<AnyTools>> => {
  // Effect caches response schemas by a tool's identity: one clone per tool, not one per request.
  const clones = new Map<string, Tool.Any>()
  for (const tool of pipeline.tools.values()) {
    clones.set(tool.facts.name, tool.facts.tool.setNeedsApproval(needsApproval(pipeline, tool) as never))
  }
  const handle = makeHandle(pipeline, door, visible, inRun)
  return Effect.map(visible, (names) => {
    // `LanguageModel` reads tools[name] with names a model made up.
    const tools: AnyTools = Object.create(null)
    for (const [name, tool] of clones) {
      // What is hidden is found all the same, so that the answer to an old question is refused and breaks no generation.
      Object.defineProperty(tools, name, { value: tool, enumerable: names.has(name) })
    }
    return { tools, handle: handle as unknown as Toolkit.WithHandler<AnyTools>["handle"] }
  })
}

/** What can't be told is asked: the question is then not noted, so that nobody can grant it. */
const needsApproval =
  (pipeline: Pipeline, tool: CompiledTool): Tool.NeedsApprovalFunction<Schema.Top> =>
  (params, context) =>
    // LanguageModel reads a failing answer as "no".
    Effect.catchCause(pipeline.asks(tool, params, context), (cause) =>
      Cause.hasInterrupts(cause) ? Effect.failCause(cause) : Effect.succeed(true)
    )

/**
 * `handle` answers with one result, or with a stream as soon as the handler
 * gives a preliminary one: only a tool that streams pays for a queue.
 */
const makeHandle =
  (pipeline: Pipeline, door: Door, visible: Effect.Effect<ReadonlySet<string>>, inRun: InRun) =>
  (
    name: string,
    params: unknown,
    toolCallId?: string
  ): Effect.Effect<Stream.Stream<Output, unknown>, unknown> =>
    Effect.uninterruptibleMask((restore) => {
      const caller = Fiber.getCurrent() as Fiber.Fiber<unknown, unknown>
      let queue: Queue.Queue<Output, unknown> | undefined
      let whenStreaming: (() => void) | undefined
      let forget: (() => void) | undefined
      const onProgress = (encodedResult: unknown, result: unknown) =>
        Effect.gen(function* () {
          if (queue === undefined) {
            const capacity = caller.getRef(Toolkit.PreliminaryBuffer)
            queue = yield* Queue.make<Output, unknown>(capacity === "unbounded" ? undefined : { capacity })
            // Whoever asked may end without having read to the end, or outlive many calls.
            forget = caller.addObserver(() => fiber.interruptUnsafe())
            whenStreaming?.()
          }
          yield* Queue.offer(queue, {
            result: result as never,
            encodedResult,
            isFailure: false,
            preliminary: true
          })
        })
      const request = { door, tool: name, params: Raw.of(params), id: toolCallId, onProgress }
      const run = inRun(pipeline.run(request, (outcome) => outputOf(pipeline, request, outcome, visible)))
      // In a fiber of its own: the call may go on when its first results are being read.
      const fiber = Effect.runForkWith(caller.context)(
        Effect.tap(run, (output) => (queue === undefined ? Exit.void : Queue.offer(queue, output)))
      )
      const exit = fiber.pollUnsafe()
      if (exit !== undefined && queue === undefined) return Exit.map(exit, Stream.succeed)
      const stream = (queue: Queue.Queue<Output, unknown>): Stream.Stream<Output, unknown> =>
        Stream.ensuring(
          Stream.fromQueue(queue as Queue.Queue<Output, Cause.Done>),
          Effect.suspend(() => Fiber.interrupt(fiber))
        )
      const first = Effect.callback<Stream.Stream<Output, unknown>, unknown>((resume) => {
        whenStreaming = () => resume(Exit.succeed(stream(queue as Queue.Queue<Output, unknown>)))
        if (queue !== undefined) whenStreaming()
        fiber.addObserver((exit) => {
          forget?.()
          if (queue === undefined) resume(Exit.map(exit, Stream.succeed))
          else if (Exit.isSuccess(exit)) Queue.endUnsafe(queue as Queue.Queue<Output, Cause.Done>)
          else Queue.failCauseUnsafe(queue, exit.cause)
        })
      })
      return Effect.onInterrupt(restore(first), () => Fiber.interrupt(fiber))
    })

/** How a call ended, as `LanguageModel` and `McpServer` read it. */
const outputOf = (
  { defaults, kernel, tools }: Pipeline,
  request: Request,
  outcome: Outcome,
  visible: Effect.Effect<ReadonlySet<string>>
): Effect.Effect<Output, unknown> => {
  const { reason } = outcome
  const name = request.tool
  const tool = tools.get(name)
  if ("encoded" in outcome || reason === undefined) {
    const result = outcome.value as never
    const output = { result, encodedResult: outcome.encoded, isFailure: false, preliminary: false }
    const toModelOutput = tool?.facts.tool.toModelOutput
    if (toModelOutput === undefined) {
      const shown = capped(outcome.encoded, defaults.resultBytes)
      // The value stays what its schema says; a model is shown as much of it as `execute` would give.
      return Exit.succeed(
        shown.truncated === true
          ? { ...output, modelOutput: [Prompt.makePart("text", { text: `${shown.value} [truncated]` })] }
          : output
      )
    }
    return Effect.catchCause(
      Effect.sync(() => ({ ...output, modelOutput: toModelOutput(outcome.value) })),
      // The call has succeeded; that a model can't be shown its result must not end the generation.
      (cause) =>
        Effect.as(reportBeside(kernel, request, outcome.value, cause), refusal({ _tag: "HandlerDefect" }))
    )
  }
  switch (reason._tag) {
    case "ToolFailed":
      return tool?.facts.tool.failureMode === "error"
        ? Exit.failCause(Cause.annotate(Cause.fail(outcome.failure), handlersFault))
        : Exit.succeed(failed(outcome.failure, reason.failure, "handler"))
    case "InvalidParams":
    case "ArgumentsRefused":
      return Exit.succeed(
        aiFailure(
          name,
          new AiError.ToolParameterValidationError({ toolName: name, description: messageOf(reason) }),
          "parameters"
        )
      )
    case "ToolNotFound":
      return Effect.map(visible, (names) =>
        aiFailure(
          name,
          new AiError.ToolNotFoundError({ toolName: name, availableTools: [...names] }),
          "handler"
        )
      )
    default:
      return Exit.succeed(refusal(reason))
  }
}

const handlersFault = Context.make(Toolkit.FailureOrigin, "handler")

const failed = (result: unknown, encodedResult: unknown, failureOrigin: Tool.FailureOrigin): Output => ({
  result: result as never,
  encodedResult,
  isFailure: true,
  failureOrigin,
  preliminary: false
})

const refusal = (reason: Reason): Output => {
  const failure = executionFailure(reason)
  return failed(failure, failure, "handler")
}

const encodeAiError = Schema.encodeUnknownSync(AiError.AiError)

const aiFailure = (name: string, reason: AiError.AiErrorReason, origin: Tool.FailureOrigin): Output => {
  const error = AiError.make({ module: "Toolkit", method: `${name}.handle`, reason })
  return failed(error, encodeAiError(error), origin)
}

/** A refusal or a breakdown in Effect's own words: code, sentence, and when to come back. */
export const executionFailure = (reason: Reason): typeof Tool.ExecutionFailure.Type => {
  const row = table[reason._tag]
  const refused = row.health === "no" && reason._tag !== "Cancelled" && reason._tag !== "Skipped"
  return {
    type: refused ? "execution-denied" : "execution-interrupted",
    reason: `${row.code}: ${messageOf(reason)}`
  }
}
