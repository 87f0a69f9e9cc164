/**
 * What a pipeline knows before any call: its services, and each tool in its
 * compiled form. A change of policy compiles the rules again, and nothing else.
 */
import type * as Tool from "effect/ai/Tool"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Tracer from "effect/Tracer"
import { Approvals } from "../Approvals.ts"
import { AuditLog } from "../AuditLog.ts"
import { Budget } from "../Budget.ts"
import { Bulkhead, type ToolBulkhead } from "../Bulkhead.ts"
import { CallRecorder } from "../CallRecord.ts"
import { CircuitBreaker } from "../CircuitBreaker.ts"
import { CurrentCall } from "../CurrentCall.ts"
import { CurrentDefaults, type Defaults } from "../Defaults.ts"
import { Idempotency } from "../Idempotency.ts"
import { Keyring } from "../Keyring.ts"
import { KillSwitch } from "../KillSwitch.ts"
import { LoopDetector } from "../LoopDetector.ts"
import { Permissions } from "../Permissions.ts"
import { CurrentPrincipal } from "../Principal.ts"
import { RateLimits, type ToolLimits } from "../RateLimits.ts"
import { Redaction, type ToolRedaction } from "../Redaction.ts"
import { ResultCache } from "../ResultCache.ts"
import { CurrentRun } from "../Run.ts"
import { Screening, type ToolScreening } from "../Screening.ts"
import { SecurityPolicy, type ToolRules } from "../SecurityPolicy.ts"
import { Taint } from "../Taint.ts"
import { Telemetry } from "../Telemetry.ts"
import * as Annotations from "../ToolAnnotations.ts"
import * as Validation from "../Validation.ts"
import * as Amounts from "./amounts.ts"
import type { Viewer } from "./argumentsView.ts"
import { Deadlines } from "./deadlines.ts"
import { toolDigest } from "./digest.ts"
import { type PlainHandler, plainHandler } from "./handling.ts"
import { type Stage, stages } from "./stages.ts"

/** What is known of a tool before any call. */
export interface CompiledTool {
  readonly facts: Annotations.ToolFacts
  /** Digest of the definition. */
  readonly digest: string
  readonly codec: Validation.Codec
  readonly redaction: ToolRedaction
  readonly viewer: Viewer
  readonly screening: ToolScreening | undefined
  readonly callLimits: ToolLimits | undefined
  readonly attemptLimits: ToolLimits | undefined
  readonly bulkhead: ToolBulkhead | undefined
  /** The circuit's key; `undefined` for a tool without one. */
  readonly circuit: string | undefined
  readonly timeout: number
  readonly retries: number
  readonly classify: ((error: unknown) => Annotations.Classification | undefined) | undefined
  /** The most that one attempt costs, by the decoded parameters. */
  readonly cost: ((params: unknown) => Amounts.Amounts) | undefined
  readonly cache: { readonly ttl: number; readonly within: "principal" | "tenant" } | undefined
  /** What an unknown outcome of the same idempotency key comes to. */
  readonly afterCrash: "retry" | "ask" | "unknown"
  readonly fallback: Annotations.FallbackSource | undefined
  /** Safe to run again when nobody knows whether it ran. */
  readonly repeatable: boolean
  readonly handler: Tool.Handler<string>["handler"]
  /** The function that `Handlers.toLayer` was given for it. */
  readonly plain: PlainHandler | undefined
  /** Where the handler was built, without what only the calling fiber may say. */
  readonly context: Context.Context<never>
  /** That and a caller's context together, by the caller's. */
  readonly contexts: WeakMap<Context.Context<never>, Context.Context<never>>
  /** The stages that may have something to say about a call of this tool. */
  readonly stages: ReadonlyArray<Stage>
  rules: ToolRules
  rulesVersion: number
}

/** The services a pipeline is made of: an in-process set is `Interlock.layer`. */
export type Governance =
  | Keyring
  | CallRecorder
  | KillSwitch
  | Permissions
  | SecurityPolicy
  | RateLimits
  | Screening
  | Idempotency
  | ResultCache
  | LoopDetector
  | Taint
  | Approvals
  | Bulkhead
  | AuditLog
  | CircuitBreaker
  | Budget
  | Redaction
  | Telemetry

export class Kernel {
  readonly keyring: Keyring["Service"]
  readonly recorder: CallRecorder["Service"]
  readonly killSwitch: KillSwitch["Service"]
  readonly permissions: Permissions["Service"]
  readonly policy: SecurityPolicy["Service"]
  readonly rateLimits: RateLimits["Service"]
  readonly screening: Screening["Service"]
  readonly idempotency: Idempotency["Service"]
  readonly cache: ResultCache["Service"]
  readonly loops: LoopDetector["Service"]
  readonly taint: Taint["Service"]
  readonly approvals: Approvals["Service"]
  readonly bulkhead: Bulkhead["Service"]
  readonly audit: AuditLog["Service"]
  readonly breaker: CircuitBreaker["Service"]
  readonly budget: Budget["Service"]
  readonly redaction: Redaction["Service"]
  readonly telemetry: Telemetry["Service"]
  readonly defaults: Defaults
  readonly deadline: number | undefined
  readonly deadlines = new Deadlines()
  readonly tools = new Map<string, CompiledTool>()
  readonly #idPrefix: string
  #lastId = 0

  constructor(services: Context.Context<Governance>, idPrefix: string) {
    this.keyring = Context.get(services, Keyring)
    this.recorder = Context.get(services, CallRecorder)
    this.killSwitch = Context.get(services, KillSwitch)
    this.permissions = Context.get(services, Permissions)
    this.policy = Context.get(services, SecurityPolicy)
    this.rateLimits = Context.get(services, RateLimits)
    this.screening = Context.get(services, Screening)
    this.idempotency = Context.get(services, Idempotency)
    this.cache = Context.get(services, ResultCache)
    this.loops = Context.get(services, LoopDetector)
    this.taint = Context.get(services, Taint)
    this.approvals = Context.get(services, Approvals)
    this.bulkhead = Context.get(services, Bulkhead)
    this.audit = Context.get(services, AuditLog)
    this.breaker = Context.get(services, CircuitBreaker)
    this.budget = Context.get(services, Budget)
    this.redaction = Context.get(services, Redaction)
    this.telemetry = Context.get(services, Telemetry)
    this.defaults = Context.get(services, CurrentDefaults)
    this.deadline = this.defaults.deadline === undefined ? undefined : millis(this.defaults.deadline)
    this.#idPrefix = idPrefix
  }

  nextId(): string {
    return `${this.#idPrefix}${++this.#lastId}`
  }

  add(tool: Tool.Any, handler: Tool.Handler<string>): void {
    const facts = Annotations.read(tool)
    const get = <I, S>(key: Context.Key<I, S>): S | undefined =>
      Context.getOrUndefined(tool.annotations as Context.Context<never>, key)
    const circuit = get(Annotations.Circuit)
    const cache = get(Annotations.Cache)
    const codec = Validation.compile(tool)
    const digest = toolDigest(facts)
    const redaction = this.redaction.forTool(facts)
    const repeatable = facts.readonly === true || facts.idempotent === true
    const compiled: Omit<CompiledTool, "stages"> = {
      facts,
      digest,
      codec,
      redaction,
      viewer: {
        hashKey: this.keyring.key("arguments"),
        names: codec.names,
        sharesInput: codec.sharesInput,
        redact: redaction.params
      },
      screening: this.screening.forTool(facts),
      callLimits: this.rateLimits.forTool(facts, "call"),
      attemptLimits: this.rateLimits.forTool(facts, "attempt"),
      bulkhead: this.bulkhead.forTool(facts),
      circuit: circuit === false ? undefined : (circuit ?? tool.name),
      timeout: millis(get(Annotations.Timeout) ?? this.defaults.timeout),
      retries: get(Annotations.Retries) ?? this.defaults.retry.retries,
      classify: get(Annotations.Classify),
      cost: costOf(get(Annotations.Cost)),
      cache:
        cache === undefined
          ? undefined
          : { ttl: millis(cache.ttl ?? this.defaults.cacheTtl), within: cache.within ?? "principal" },
      afterCrash: get(Annotations.AfterCrash) ?? (repeatable ? "retry" : "unknown"),
      fallback: get(Annotations.Fallback),
      repeatable,
      handler: handler.handler,
      plain: (handler.handler as { readonly [plainHandler]?: PlainHandler })[plainHandler],
      context: ambientFree(handler.context),
      contexts: new WeakMap(),
      rules: this.policy.compile(facts, digest),
      rulesVersion: this.policy.version()
    }
    this.tools.set(tool.name, {
      ...compiled,
      stages: stages.filter(({ applies }) => applies(compiled))
    })
  }

  /** The rules in force: compiled again only when the policy has changed. */
  rulesOf(tool: CompiledTool): ToolRules {
    const version = this.policy.version()
    if (tool.rulesVersion !== version) {
      tool.rules = this.policy.compile(tool.facts, tool.digest)
      tool.rulesVersion = version
    }
    return tool.rules
  }
}

// What was ambient where a handler's layer was built must not speak for later callers.
const ambientFree = (context: Context.Context<never>): Context.Context<never> => {
  const services = new Map(context.mapUnsafe)
  for (const key of [CurrentPrincipal.key, CurrentRun.key, CurrentCall.key, Tracer.ParentSpan.key])
    services.delete(key)
  return Context.makeUnsafe(services)
}

// A plain amount is read once; nonsense in it is the tool's bug and is found when the executor is made.
const costOf = (
  cost: Annotations.Cost["Service"] | undefined
): ((params: unknown) => Amounts.Amounts) | undefined => {
  if (cost === undefined) return undefined
  if (typeof cost === "function") return (params) => Amounts.from(cost(params))
  const amounts = Amounts.from(cost)
  return () => amounts
}

const millis = (duration: Duration.Input): number => Duration.toMillis(Duration.fromInputUnsafe(duration))
