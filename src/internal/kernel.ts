/**
 * What a pipeline knows before any call: its services, and each tool in its
 * compiled form. A change of policy compiles the rules again, and nothing else.
 */
import type * as Tool from "effect/ai/Tool"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Tracer from "effect/Tracer"
import { Approvals } from "../Approvals.ts"
import { Bulkhead, type ToolBulkhead } from "../Bulkhead.ts"
import { CallRecorder } from "../CallRecord.ts"
import { CircuitBreaker } from "../CircuitBreaker.ts"
import { CurrentCall } from "../CurrentCall.ts"
import { CurrentDefaults, type Defaults } from "../Defaults.ts"
import { Permissions } from "../Permissions.ts"
import { CurrentPrincipal } from "../Principal.ts"
import { RateLimits, type ToolLimits } from "../RateLimits.ts"
import { SecurityPolicy, type ToolRules } from "../SecurityPolicy.ts"
import { Telemetry } from "../Telemetry.ts"
import * as Annotations from "../ToolAnnotations.ts"
import * as Validation from "../Validation.ts"

/** What is known of a tool before any call. */
export interface CompiledTool {
  readonly facts: Annotations.ToolFacts
  readonly codec: Validation.Codec
  readonly callLimits: ToolLimits | undefined
  readonly attemptLimits: ToolLimits | undefined
  readonly bulkhead: ToolBulkhead | undefined
  /** The circuit's key; `undefined` for a tool without one. */
  readonly circuit: string | undefined
  readonly timeout: number
  readonly retries: number
  readonly classify: ((error: unknown) => Annotations.Classification | undefined) | undefined
  readonly cost: number | ((params: unknown) => number) | undefined
  readonly fallback: Annotations.FallbackSource | undefined
  /** Safe to run again when nobody knows whether it ran. */
  readonly repeatable: boolean
  readonly handler: Tool.Handler<string>["handler"]
  /** Where the handler was built, without what only the calling fiber may say. */
  readonly context: ReadonlyMap<string, unknown>
  rules: ToolRules
  rulesVersion: number
}

/** The services a pipeline is made of: an in-process set is `Interlock.layer`. */
export type Governance =
  | CallRecorder
  | SecurityPolicy
  | Permissions
  | Approvals
  | RateLimits
  | Bulkhead
  | CircuitBreaker
  | Telemetry

export class Kernel {
  readonly recorder: CallRecorder["Service"]
  readonly policy: SecurityPolicy["Service"]
  readonly permissions: Permissions["Service"]
  readonly approvals: Approvals["Service"]
  readonly rateLimits: RateLimits["Service"]
  readonly bulkhead: Bulkhead["Service"]
  readonly breaker: CircuitBreaker["Service"]
  readonly telemetry: Telemetry["Service"]
  readonly defaults: Defaults
  readonly deadline: number | undefined
  readonly tools = new Map<string, CompiledTool>()
  readonly hashKey: Uint8Array
  readonly #idPrefix: string
  #lastId = 0

  constructor(services: Context.Context<Governance>, hashKey: Uint8Array, idPrefix: string) {
    this.recorder = Context.get(services, CallRecorder)
    this.policy = Context.get(services, SecurityPolicy)
    this.permissions = Context.get(services, Permissions)
    this.approvals = Context.get(services, Approvals)
    this.rateLimits = Context.get(services, RateLimits)
    this.bulkhead = Context.get(services, Bulkhead)
    this.breaker = Context.get(services, CircuitBreaker)
    this.telemetry = Context.get(services, Telemetry)
    this.defaults = Context.get(services, CurrentDefaults)
    this.deadline = this.defaults.deadline === undefined ? undefined : millis(this.defaults.deadline)
    this.hashKey = hashKey
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
    this.tools.set(tool.name, {
      facts,
      codec: Validation.compile(tool),
      callLimits: this.rateLimits.forTool(facts, "call"),
      attemptLimits: this.rateLimits.forTool(facts, "attempt"),
      bulkhead: this.bulkhead.forTool(facts),
      circuit: circuit === false ? undefined : (circuit ?? tool.name),
      timeout: millis(get(Annotations.Timeout) ?? this.defaults.timeout),
      retries: get(Annotations.Retries) ?? this.defaults.retry.retries,
      classify: get(Annotations.Classify),
      cost: get(Annotations.Cost),
      fallback: get(Annotations.Fallback),
      repeatable: facts.readonly === true || facts.idempotent === true,
      handler: handler.handler,
      context: ambientFree(handler.context),
      rules: this.policy.compile(facts),
      rulesVersion: this.policy.version()
    })
  }

  /** The rules in force: compiled again only when the policy has changed. */
  rulesOf(tool: CompiledTool): ToolRules {
    const version = this.policy.version()
    if (tool.rulesVersion !== version) {
      tool.rules = this.policy.compile(tool.facts)
      tool.rulesVersion = version
    }
    return tool.rules
  }
}

// What was ambient where a handler's layer was built must not speak for later callers.
const ambientFree = (context: Context.Context<never>): ReadonlyMap<string, unknown> => {
  const services = new Map(context.mapUnsafe)
  for (const key of [CurrentPrincipal.key, CurrentCall.key, Tracer.ParentSpan.key]) services.delete(key)
  return services
}

const millis = (duration: Duration.Input): number => Duration.toMillis(Duration.fromInputUnsafe(duration))
