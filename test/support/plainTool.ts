/** A tool in the plain composition: what it says of itself, and what comes of its handler. */
import type * as Tool from "effect/ai/Tool"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { ToolAnnotations as Annotate, Classification } from "effect-interlock"
import { millis, type Reason, type Refused, refuse } from "./plainNouns.ts"

/** A handler as an application writes it: its value, a promise of it, or an Effect. */
export type Handler = (
  params: never,
  context: { readonly toolCallId: string; readonly signal: AbortSignal }
) => unknown

/** A success, as the handler gave it and as its schema encodes it. */
export interface Value {
  readonly given: unknown
  readonly encoded: unknown
}

export type PlainTool = ReturnType<typeof make>

export const make = (
  tool: Tool.Any,
  handler: Handler,
  defaults: { readonly timeout?: Duration.Input; readonly retry?: { readonly retries?: number } }
) => {
  const facts = Annotate.read(tool)
  const get = <I, S>(key: Context.Key<I, S>): S | undefined =>
    Context.getOrUndefined(tool.annotations as Context.Context<never>, key)
  const circuit = get(Annotate.Circuit)
  const parameters = Schema.decodeUnknownEffect(tool.parametersSchema as Codec, strict)
  const success = Schema.toCodecJson(tool.successSchema as Codec)
  const failure = Schema.toCodecJson(tool.failureSchema as Codec)
  const encodeSuccess = Schema.encodeUnknownEffect(success)
  const encode = (given: unknown) =>
    Effect.map(encodeSuccess(given), (encoded): Value => ({ given, encoded }))
  return {
    facts,
    handler,
    /** `undefined` for none. */
    circuit: circuit === false ? undefined : (circuit ?? tool.name),
    timeout: millis(get(Annotate.Timeout) ?? defaults.timeout ?? "30 seconds"),
    retries: get(Annotate.Retries) ?? defaults.retry?.retries ?? 3,
    /** The most that an attempt costs, in millionths of a dollar. */
    bound: get(Annotate.Cost) as number | undefined,
    fallback: get(Annotate.Fallback) as { readonly value: unknown } | undefined,
    /** Safe to run again when nobody knows whether it ran. */
    repeatable: facts.readonly === true || facts.idempotent === true,
    decode: (params: unknown): Effect.Effect<unknown, Refused> =>
      Effect.catch(parameters(params), () => refuse("decode", { _tag: "InvalidParams", issues: [] })),
    encode,
    decodeSuccess: Schema.decodeUnknownEffect(success),
    decodeFailure: Schema.decodeUnknownEffect(failure),
    understand: understand({
      classify: get(Annotate.Classify),
      encode,
      encodeFailure: Schema.encodeUnknownEffect(failure),
      isDeclared: Schema.is(tool.failureSchema as Codec)
    })
  }
}

type Codec = Schema.Codec<unknown>

const strict = { errors: "all", onExcessProperty: "error" } as const

// --- What comes of a handler -------------------------------------------------

/** Runs a handler in whatever way it is written; what it throws is its failure. */
export const answerOf = (
  handler: Handler,
  params: unknown,
  context: Parameters<Handler>[1],
  abandon: (promise: Promise<unknown>) => Effect.Effect<void>
): Effect.Effect<unknown, unknown> =>
  Effect.flatMap(
    Effect.try({ try: () => handler(params as never, context), catch: (error) => error }),
    (answer): Effect.Effect<unknown, unknown> => {
      if (Effect.isEffect(answer)) return answer as Effect.Effect<unknown, unknown>
      return answer instanceof Promise ? settled(answer, abandon) : Effect.succeed(answer)
    }
  )

/** Nothing can stop a promise that ignores its signal: it is left to itself, and known to be. */
const settled = (
  promise: Promise<unknown>,
  abandon: (promise: Promise<unknown>) => Effect.Effect<void>
): Effect.Effect<unknown, unknown> => {
  let isDone = false
  const done = promise.then(
    () => (isDone = true),
    () => (isDone = true)
  )
  return Effect.tryPromise({ try: () => promise, catch: (error) => error }).pipe(
    // One that honours its signal settles within the turn.
    Effect.onInterrupt(() =>
      Effect.andThen(
        Effect.yieldNow,
        Effect.suspend(() => (isDone ? Effect.void : abandon(done)))
      )
    )
  )
}

/** What the end of a handler means: a value that fits the tool's schema, or why there is none. */
const understand = (tool: {
  readonly classify: Annotate.Classify["Service"] | undefined
  readonly encode: (given: unknown) => Effect.Effect<Value, unknown>
  readonly encodeFailure: (failure: unknown) => Effect.Effect<unknown, unknown>
  readonly isDeclared: (failure: unknown) => boolean
}) =>
  Effect.fnUntraced(function* (exit: Exit.Exit<unknown, unknown>): Effect.fn.Return<Value, Refused> {
    if (Exit.isSuccess(exit)) {
      // What was done was done, but nobody can be told what came of it.
      const misfit = attemptFailed("encode", { _tag: "InvalidResult", issues: [] }, "unknown")
      return yield* Effect.catch(tool.encode(exit.value), () => misfit)
    }
    const { cause } = exit
    // The handler has interrupted itself.
    if (Cause.hasInterruptsOnly(cause))
      return yield* attemptFailed("handler", { _tag: "Cancelled" }, "unknown")
    const error = Cause.findErrorOption(cause)
    if (Option.isNone(error) || Cause.hasDies(cause)) {
      return yield* attemptFailed("handler", { _tag: "HandlerDefect" }, "unknown")
    }
    const failure = error.value
    const isDeclared = tool.isDeclared(failure)
    const now = yield* Clock.currentTimeMillis
    const classified = Classification.classify(failure, isDeclared ? "declared" : "thrown", now)
    const own = tool.classify?.(failure)
    const after =
      own?.retryAfter === undefined ? classified.retryAfter : Duration.fromInputUnsafe(own.retryAfter)
    const known = {
      class: own?.class ?? classified.class,
      ...(after === undefined ? {} : { retryAfter: after })
    }
    const reason: Reason = isDeclared
      ? { _tag: "ToolFailed", ...known, failure: yield* Effect.orDie(tool.encodeFailure(failure)) }
      : { _tag: "HandlerFailed", ...known }
    return yield* attemptFailed("handler", reason, classified.outcomeUnknown ? "unknown" : "known", failure)
  })

/** An attempt that began and has no value. */
export const attemptFailed = (
  stage: string,
  reason: Reason,
  attempted: NonNullable<Refused["attempted"]>,
  failure?: unknown
): Effect.Effect<never, Refused> => Effect.fail({ stage, reason, attempted, failure })
