/**
 * The whole of governance as layers: the complete set, the same from
 * `Config`, and a guard for applications that cannot change.
 */
import * as AiError from "effect/ai/AiError"
import * as LanguageModel from "effect/ai/LanguageModel"
import * as Prompt from "effect/ai/Prompt"
import type * as Tool from "effect/ai/Tool"
import type * as Toolkit from "effect/ai/Toolkit"
import type * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import * as Approvals from "./Approvals.ts"
import * as AuditLog from "./AuditLog.ts"
import * as Budget from "./Budget.ts"
import * as Bulkhead from "./Bulkhead.ts"
import * as CallRecord from "./CallRecord.ts"
import * as CircuitBreaker from "./CircuitBreaker.ts"
import { CurrentDefaults, type Defaults, defaults } from "./Defaults.ts"
import * as Health from "./Health.ts"
import * as History from "./History.ts"
import * as Idempotency from "./Idempotency.ts"
import * as Audited from "./internal/audited.ts"
import type { Outcome } from "./internal/call.ts"
import { denyWins } from "./internal/denyWins.ts"
import { executionFailure, handlersOf, rawHandler } from "./internal/governedToolkit.ts"
import type { Governance } from "./internal/kernel.ts"
import * as Raw from "./internal/raw.ts"
import * as Keyring from "./Keyring.ts"
import * as KillSwitch from "./KillSwitch.ts"
import * as LoopDetector from "./LoopDetector.ts"
import * as Permissions from "./Permissions.ts"
import * as Pipeline from "./Pipeline.ts"
import * as RateLimits from "./RateLimits.ts"
import * as Redaction from "./Redaction.ts"
import * as ResultCache from "./ResultCache.ts"
import * as Retry from "./Retry.ts"
import * as Screening from "./Screening.ts"
import * as SecurityPolicy from "./SecurityPolicy.ts"
import * as Settings from "./Settings.ts"
import * as Taint from "./Taint.ts"
import * as Telemetry from "./Telemetry.ts"
import type { Tools } from "./ToolExecutor.ts"

/** Everything that `layer` provides. */
export type Services = Governance | Health.Health | History.History

/** Another kind of a concern: in SQL, in a file, in a terminal. What it needs beside the keyring and redaction is the program's to provide. */
type Another<Service> = Layer.Layer<Service, unknown, unknown>

/** What each concern is told; whatever is absent has its default. Where a layer may be given, it takes the concern's place. */
export interface Options {
  /** The keys of the deployment; a random one that dies with the process. */
  readonly keyring?: Keyring.Options | Another<Keyring.Keyring>
  readonly redaction?: Redaction.Options
  readonly killSwitch?: KillSwitch.Options | Another<KillSwitch.KillSwitch>
  readonly permissions?: Permissions.Options
  readonly policy?: SecurityPolicy.Policy
  readonly rules?: ReadonlyArray<SecurityPolicy.Rule>
  /** A policy to learn from before it is enforced. */
  readonly shadow?: SecurityPolicy.Ruleset
  readonly rateLimits?: ReadonlyArray<RateLimits.Limit>
  readonly screening?: Screening.Options
  readonly idempotency?: Idempotency.MemoryOptions | Another<Idempotency.Idempotency>
  readonly cache?: ResultCache.Options | Another<ResultCache.ResultCache>
  readonly loops?: LoopDetector.Options
  readonly taint?: Taint.Options
  readonly approvals?: Approvals.MemoryOptions | Another<Approvals.Approvals>
  readonly bulkhead?: Bulkhead.Options
  /** What is written down of every call; the last 1,000 in memory. */
  readonly audit?: AuditLog.MemoryOptions | Another<AuditLog.AuditLog>
  /** Options, or a breaker of another kind: health reads it, so it cannot be replaced afterwards. */
  readonly breaker?: CircuitBreaker.Options | Another<CircuitBreaker.CircuitBreaker>
  readonly budget?: ReadonlyArray<Budget.Limit> | Another<Budget.Budget>
  readonly health?: Health.Options
  /** Spans and metrics by default; its sinks stay once added, so it cannot be replaced afterwards. */
  readonly telemetry?: Layer.Layer<Telemetry.Telemetry, never, CallRecord.CallRecorder>
  readonly history?: History.Options
  /** How the default delays between attempts grow; a schedule of `defaults` comes before it. */
  readonly backoff?: Retry.Backoff
  readonly defaults?: Omit<Partial<Defaults>, "retry"> & { readonly retry?: Partial<Retry.Policy> }
}

/** What can go wrong when the layers among the options are built. */
export type ErrorOf<O> = {
  readonly [K in keyof O]-?: O[K] extends Layer.Layer<infer _, infer E, infer _R> ? E : never
}[keyof O]

/** What the layers among the options need, beside what `layer` has itself. */
export type RequirementsOf<O> = Exclude<
  {
    readonly [K in keyof O]-?: O[K] extends Layer.Layer<infer _, infer _E, infer R> ? R : never
  }[keyof O],
  Keyring.Keyring | Redaction.Redaction | CallRecord.CallRecorder
>

/**
 * The complete set: in this process, but for the concerns that are given as
 * layers. What people do to governance (grant, stop, set a policy, credit,
 * declassify) leaves an event in the audit log.
 *
 * A layer of one concern merged after it replaces that concern; what people do
 * to such a one leaves no event.
 */
export const layer = <const O extends Options = Options>(
  options: O = {} as O
): Layer.Layer<Services, ErrorOf<O>, RequirementsOf<O>> => complete(options) as never

// The types of the layers among the options are `layer`'s to say; here they are not known.
const complete = (options: Options): Layer.Layer<Services> => {
  const base = Layer.mergeAll(
    CallRecord.layer,
    either(options.keyring, (keys) => (keys === undefined ? Keyring.layerRandom : Keyring.layer(keys))),
    Redaction.layer(options.redaction),
    either(options.breaker, CircuitBreaker.layerMemory)
  )
  const { rules, shadow } = options
  const actedOn = Layer.mergeAll(
    SecurityPolicy.layer(options.policy, {
      ...(rules === undefined ? {} : { rules }),
      ...(shadow === undefined ? {} : { shadow })
    }),
    either(options.approvals, Approvals.layerMemory),
    either(options.killSwitch, KillSwitch.layerMemory),
    either(options.budget, Budget.layerMemory)
  )
  return Layer.mergeAll(
    Layer.merge(Layer.provide(Audited.layer, actedOn), Taint.layer(options.taint)).pipe(
      Layer.provideMerge(either(options.audit, AuditLog.layerMemory))
    ),
    Permissions.layer(options.permissions),
    RateLimits.layerMemory(options.rateLimits),
    Screening.layer(options.screening),
    either(options.idempotency, Idempotency.layerMemory),
    either(options.cache, ResultCache.layerMemory),
    LoopDetector.layer(options.loops),
    Bulkhead.layer(options.bulkhead),
    Health.layer(options.health),
    History.layer(options.history),
    options.telemetry ?? Telemetry.layer,
    Layer.succeed(CurrentDefaults, {
      ...defaults,
      ...options.defaults,
      retry: Retry.make({ schedule: Retry.exponential(options.backoff), ...options.defaults?.retry })
    })
  ).pipe(Layer.provideMerge(base))
}

const either = <Service, Given, R>(
  given: Given | Another<Service>,
  make: (options: Given) => Layer.Layer<Service, never, R>
): Layer.Layer<Service, never, R> =>
  Layer.isLayer(given) ? (given as Layer.Layer<Service>) : make(given as Given)

/**
 * The complete set from `Config`: the environment, a `.env` file or JSON, by
 * the names of `Settings`. What `options` gives wins.
 */
export const layerConfig = <const O extends Options = Options>(
  options: O = {} as O
): Layer.Layer<Services, ErrorOf<O> | Config.ConfigError, RequirementsOf<O>> =>
  Layer.unwrap(
    Effect.map(Settings.config, (settings) => complete(Settings.merge(settings, options)))
  ) as never

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
      const idPrefix = `guard_${(yield* Random.nextIntBetween(36 ** 5, 36 ** 6)).toString(36)}_`
      const pipeline = Pipeline.make(handlersOf(toolkit, services), services, idPrefix)
      const governed = new Map<string, unknown>()
      for (const { facts } of pipeline.tools.values()) {
        const raw = services.mapUnsafe.get(facts.tool.id) as Tool.Handler<string> & Guarded
        const handler = (params: unknown, context: Toolkit.HandlerContext<Tool.Any>) =>
          pipeline.run(
            {
              door: "guard",
              tool: facts.name,
              params: Raw.of(params),
              decoded: true,
              id: context.toolCallId,
              onProgress: (_, value) => context.preliminary(value as never)
            },
            (outcome) => toHandlerResult(facts.name, outcome)
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

const toHandlerResult = (name: string, outcome: Outcome): Exit.Exit<unknown, unknown> => {
  const { reason } = outcome
  if ("encoded" in outcome || reason === undefined) return Exit.succeed(outcome.value)
  if (reason._tag === "ToolFailed") return Exit.fail(outcome.failure)
  const failure = executionFailure(reason)
  return Exit.fail(
    AiError.make({
      module: "Interlock",
      method: `${name}.guard`,
      // Of the reasons an error can have, the one that is neither retryable nor about keys and billing.
      reason: new AiError.UnknownError({ description: `${failure.type}: ${failure.reason}` })
    })
  )
}
