/**
 * The whole of governance as layers: the complete in-process set, the same from
 * `Config`, and a guard for applications that cannot change.
 */
import * as AiError from "effect/ai/AiError"
import * as LanguageModel from "effect/ai/LanguageModel"
import * as Prompt from "effect/ai/Prompt"
import type * as Tool from "effect/ai/Tool"
import type * as Toolkit from "effect/ai/Toolkit"
import * as Cause from "effect/Cause"
import type * as Config from "effect/Config"
import * as Context from "effect/Context"
import { randomBytesUnsafe } from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import * as Approvals from "./Approvals.ts"
import * as Bulkhead from "./Bulkhead.ts"
import * as CallRecord from "./CallRecord.ts"
import * as CircuitBreaker from "./CircuitBreaker.ts"
import { CurrentDefaults, type Defaults, defaults } from "./Defaults.ts"
import * as Health from "./Health.ts"
import * as History from "./History.ts"
import type { Ended } from "./internal/call.ts"
import { denyWins } from "./internal/denyWins.ts"
import { executionFailure, handlersOf, rawHandler } from "./internal/governedToolkit.ts"
import type { Governance } from "./internal/kernel.ts"
import * as Permissions from "./Permissions.ts"
import * as Pipeline from "./Pipeline.ts"
import * as RateLimits from "./RateLimits.ts"
import * as Retry from "./Retry.ts"
import * as SecurityPolicy from "./SecurityPolicy.ts"
import * as Settings from "./Settings.ts"
import * as Telemetry from "./Telemetry.ts"
import type { Tools } from "./ToolExecutor.ts"

/** Everything that `layer` provides. */
export type Services = Governance | Health.Health | History.History

/** What each concern is told; whatever is absent has its default. */
export interface Options {
  readonly policy?: SecurityPolicy.Policy
  readonly rules?: ReadonlyArray<SecurityPolicy.Rule>
  readonly permissions?: Permissions.Options
  readonly approvals?: Approvals.Options
  readonly rateLimits?: ReadonlyArray<RateLimits.Limit>
  readonly bulkhead?: Bulkhead.Options
  /** Options, or a breaker of another kind: health reads it, so it cannot be replaced afterwards. */
  readonly breaker?: CircuitBreaker.Options | Layer.Layer<CircuitBreaker.CircuitBreaker>
  readonly health?: Health.Options
  /** Spans and metrics by default; its sinks stay once added, so it cannot be replaced afterwards. */
  readonly telemetry?: Layer.Layer<Telemetry.Telemetry, never, CallRecord.CallRecorder>
  readonly history?: History.Options
  /** How the default delays between attempts grow; a schedule of `defaults` comes before it. */
  readonly backoff?: Retry.Backoff
  readonly defaults?: Omit<Partial<Defaults>, "retry"> & { readonly retry?: Partial<Retry.Policy> }
}

/**
 * The complete in-process set. A layer of one concern merged after it replaces
 * that concern; the breaker, which health reads, and telemetry, which follows
 * every call from the start, are given as options instead.
 */
export const layer = (options: Options = {}): Layer.Layer<Services> => {
  const recorder = CallRecord.layer
  const breaker = isBreaker(options.breaker) ? options.breaker : CircuitBreaker.layerMemory(options.breaker)
  return Layer.mergeAll(
    SecurityPolicy.layer(options.policy, options.rules === undefined ? {} : { rules: options.rules }),
    Permissions.layer(options.permissions),
    Approvals.layerMemory(options.approvals),
    RateLimits.layerMemory(options.rateLimits),
    Bulkhead.layer(options.bulkhead),
    Health.layer(options.health),
    History.layer(options.history),
    options.telemetry ?? Telemetry.layer,
    Layer.succeed(CurrentDefaults, {
      ...defaults,
      ...options.defaults,
      retry: Retry.make({ schedule: Retry.exponential(options.backoff), ...options.defaults?.retry })
    })
  ).pipe(Layer.provideMerge(Layer.merge(recorder, breaker)))
}

const isBreaker = (breaker: Options["breaker"]): breaker is Layer.Layer<CircuitBreaker.CircuitBreaker> =>
  Layer.isLayer(breaker)

/**
 * The complete in-process set from `Config`: the environment, a `.env` file or
 * JSON, by the names of `Settings`. What `options` gives wins.
 */
export const layerConfig = (options: Options = {}): Layer.Layer<Services, Config.ConfigError> =>
  Layer.unwrap(Effect.map(Settings.config, (settings) => layer(Settings.merge(settings, options))))

/**
 * Governs a toolkit's handlers in place: requires the raw ones and provides
 * governed ones under the same identifiers, for an application that cannot
 * change. It holds from the handler inwards: Effect has decoded the arguments
 * before it is asked, so it cannot refuse a malformed call before its schema is
 * revealed, nor record it, and its `handle` writes the arguments on the current
 * span. Where there is a choice, use `ToolExecutor`.
 *
 * A refusal is an `AiError` that is not retryable: in failure mode `"return"`
 * the model sees it, in `"error"` it ends the generation. What needs a human
 * stays pending: Effect does not tell a handler that one was asked.
 *
 * Where layers are merged the last one wins: provide the raw handlers to the
 * guard and to nothing else. `requireGuarded` tells when that went wrong.
 */
export const guard = <T extends Tools>(
  toolkit: Toolkit.Toolkit<T>
): Layer.Layer<Tool.HandlersFor<T>, never, Tool.HandlersFor<T> | Governance> =>
  Layer.effectContext(
    Effect.gen(function* () {
      const services = yield* Effect.context<Governance>()
      const pipeline = yield* Pipeline.make(handlersOf(toolkit, services), {
        hashKey: randomBytesUnsafe(32),
        idPrefix: `guard_${(yield* Random.nextIntBetween(36 ** 5, 36 ** 6)).toString(36)}_`
      })
      const governed = new Map<string, unknown>()
      for (const { facts } of pipeline.tools.values()) {
        const raw = services.mapUnsafe.get(facts.tool.id) as Tool.Handler<string> & Guarded
        const handler = (params: unknown, context: Toolkit.HandlerContext<Tool.Any>) =>
          Effect.flatMap(
            pipeline.run({
              door: "guard",
              tool: facts.name,
              params,
              decoded: true,
              id: context.toolCallId,
              onProgress: (_, value) => context.preliminary(value as never)
            }),
            (ended) => toHandlerResult(facts.name, ended)
          )
        governed.set(
          facts.tool.id,
          // Guarding twice would charge twice: a guarded handler is passed on as it is.
          raw[rawHandler] === undefined
            ? { name: facts.name, context: Context.empty(), handler, [rawHandler]: raw }
            : raw
        )
      }
      return Context.makeUnsafe<Tool.HandlersFor<T>>(governed)
    })
  )

/**
 * Dies where a handler of the toolkit is not guarded, and names the tools: raw
 * handlers have the same types, so that a guard can be forgotten or overridden
 * in a program that compiles.
 */
export const requireGuarded = <T extends Tools>(
  toolkit: Toolkit.Toolkit<T>
): Layer.Layer<never, never, Tool.HandlersFor<T>> =>
  Layer.effectDiscard(
    Effect.flatMap(Effect.context<never>(), (services) => {
      const raw = Object.values<Tool.Any>(toolkit.tools).filter((tool) => {
        const handler = services.mapUnsafe.get(tool.id) as Guarded | undefined
        return handler !== undefined && handler[rawHandler] === undefined
      })
      return raw.length === 0
        ? Effect.void
        : Effect.die(new Error(`These tools are not guarded: ${raw.map(({ name }) => name).join(", ")}`))
    })
  )

/**
 * Makes one denial in a conversation outweigh every approval of the same call:
 * requires a model and provides it so. Effect's `LanguageModel` alone lets an
 * approved call go on whatever else was answered, and no toolkit is told.
 */
export const guardModel: Layer.Layer<LanguageModel.LanguageModel, never, LanguageModel.LanguageModel> =
  Layer.effect(
    LanguageModel.LanguageModel,
    Effect.map(LanguageModel.LanguageModel, (model) => {
      const settled = <Options extends { readonly prompt: Prompt.RawInput }>(options: Options): Options => ({
        ...options,
        prompt: denyWins(Prompt.make(options.prompt))
      })
      // The model's methods are overloaded: what is passed on is what came, but for its prompt.
      return {
        ...model,
        generateText: (options: never) => model.generateText(settled(options)),
        generateObject: (options: never) => model.generateObject(settled(options)),
        streamText: (options: never) => model.streamText(settled(options))
      } as unknown as LanguageModel.LanguageModel
    })
  )

interface Guarded {
  readonly [rawHandler]?: Tool.Handler<string>
}

const toHandlerResult = (name: string, ended: Ended): Effect.Effect<unknown, unknown> => {
  const { reason } = ended
  if ("encoded" in ended || reason === undefined) return Effect.succeed(ended.value)
  if (reason._tag === "ToolFailed") return Effect.fail(ended.failure)
  const failure = executionFailure(reason)
  return Effect.failCause(
    Cause.fail(
      AiError.make({
        module: "Interlock",
        method: `${name}.guard`,
        // Of the reasons an error can have, the one that is neither retryable nor about keys and billing.
        reason: new AiError.UnknownError({ description: `${failure.type}: ${failure.reason}` })
      })
    )
  )
}
