/**
 * cockatiel and zod with the same features added, as a program that uses them would: what they have is theirs (retries,
 * breaker, timeout, bulkhead, validation), the rate limit is rate-limiter-flexible's, events are Node's, and the rest is
 * the plain code of the hand-written peer.
 */
import { EventEmitter } from "node:events"
import * as Cockatiel from "cockatiel"
import { RateLimiterMemory } from "rate-limiter-flexible"
import { z } from "zod"
import type { Params, Success } from "../convert.ts"
import { Crowd, type FailFast } from "../support.ts"
import { Reader, refusedHost, screen } from "./arguments.ts"
import { governed } from "./governed.ts"
import { Budget, globs, type Policy, type Principal } from "./limits.ts"
import type { Handler, Result, ToolOptions } from "./models.ts"
import { type CallRecord, kept, none, Ring, ToolStats } from "./records.ts"
import { versionOf } from "./subjects.ts"

export const version = versionOf("cockatiel")
const name = "cockatiel + zod, same features"

const currency = z.string().regex(/^[A-Z]{3}$/)
const Parameters = z.strictObject({
  amount: z.number(),
  from: currency,
  to: currency,
  tags: z.array(z.string()).optional()
})
const Answer = z.object({ amount: z.number(), currency: z.string() })

interface Tool {
  readonly name: string
  readonly handler: Handler
  readonly needs: ReadonlyArray<string>
  readonly denied: boolean
  readonly policy: Cockatiel.Policy
  readonly stats: ToolStats
}

/** What governance says no with, inside the policies. */
class Overspent extends Error {}

const isRetryable = (error: unknown): boolean =>
  !(
    error instanceof Cockatiel.BrokenCircuitError ||
    error instanceof Cockatiel.BulkheadRejectedError ||
    error instanceof Cockatiel.TaskCancelledError ||
    error instanceof Overspent ||
    (error as { readonly retryable?: boolean }).retryable === false
  )
const isFailure = (error: unknown): boolean =>
  !(error instanceof Overspent || error instanceof Cockatiel.BulkheadRejectedError)

const cost = 1
/** Without aborting the signal of what has ended well, which is a third of a call's cost. */
const timeout = Cockatiel.timeout(30_000, {
  strategy: Cockatiel.TimeoutStrategy.Aggressive,
  abortOnReturn: false
})

export class Governor {
  readonly events = new EventEmitter<{ start: [CallRecord]; change: [CallRecord]; end: [CallRecord] }>()
  readonly history = new Ring<CallRecord>(kept)
  readonly audit = new Ring<CallRecord>(kept)
  readonly results = new Ring<Success | null>(kept)
  readonly stopped = new Set<string>()
  readonly unknown = new ToolStats()
  readonly #tools: ReadonlyMap<string, Tool>
  readonly #deny: ReadonlyArray<RegExp>
  readonly #policy: Policy
  readonly #limiter: RateLimiterMemory
  readonly #budget: Budget
  readonly #reader = new Reader()
  #calls = 0

  constructor(policy: Policy, tools: ReadonlyArray<ToolOptions>) {
    this.#policy = policy
    this.#deny = globs(policy.deny)
    this.#limiter = new RateLimiterMemory({ points: policy.perHour, duration: 3600 })
    this.#budget = new Budget(policy.perDay)
    const overall = Cockatiel.bulkhead(policy.maxConcurrent)
    this.#tools = new Map(
      tools.map(({ handler, name, needs = ["read_data"], retries = 3 }) => [
        name,
        {
          name,
          handler,
          needs,
          denied: this.#deny.some((glob) => glob.test(name)),
          // In cockatiel's own order, so that the breaker sees each attempt; what was refused is not tried again.
          policy: Cockatiel.wrap(
            Cockatiel.retry(Cockatiel.handleWhen(isRetryable), {
              maxAttempts: retries,
              backoff: new Cockatiel.ExponentialBackoff({
                initialDelay: 100,
                maxDelay: 30_000,
                generator: Cockatiel.fullJitterGenerator
              })
            }),
            Cockatiel.circuitBreaker(Cockatiel.handleWhen(isFailure), {
              halfOpenAfter: 60_000,
              breaker: new Cockatiel.ConsecutiveBreaker(5)
            }),
            overall,
            Cockatiel.bulkhead(policy.maxConcurrent),
            timeout
          ),
          stats: new ToolStats()
        }
      ])
    )
  }

  async call(name: string, raw: unknown, principal: Principal, signal?: AbortSignal): Promise<Result> {
    const tool = this.#tools.get(name)
    const stats = tool === undefined ? this.unknown : tool.stats
    const record: CallRecord = {
      id: `call_${++this.#calls}`,
      tool: tool === undefined ? "(unknown)" : name,
      principal: principal.id,
      tenant: principal.tenant,
      status: "pending",
      message: undefined,
      flags: none,
      arguments: undefined,
      attempts: 0,
      retried: none,
      cost: 0,
      queuedAt: Date.now(),
      startedAt: 0,
      completedAt: 0
    }
    this.history.push(record)
    stats.inFlight++
    this.events.emit("start", record)
    const result = await this.#governed(record, name, tool, raw, principal, signal)
    record.completedAt = Date.now()
    record.status = result.status
    if (result.status !== "success") record.message = result.message
    stats.end(record)
    this.audit.push(record)
    // What zod has parsed is a copy.
    this.results.push(result.status === "success" ? result.value : null)
    this.events.emit("end", record)
    return result
  }

  async #governed(
    record: CallRecord,
    name: string,
    tool: Tool | undefined,
    raw: unknown,
    principal: Principal,
    signal: AbortSignal | undefined
  ): Promise<Result> {
    if (this.stopped.size > 0 && (this.stopped.has(name) || this.stopped.has("*"))) {
      return { status: "killed", message: "calls are stopped" }
    }
    const denied: Result = { status: "policy_denied", message: "the policy denies this tool" }
    if (tool === undefined) {
      if (this.#deny.some((glob) => glob.test(name))) return denied
      return { status: "not_found", message: "there is no such tool" }
    }
    if (tool.denied) return denied
    if (!tool.needs.every((capability) => principal.capabilities.has(capability))) {
      return { status: "permission_denied", message: "a capability is missing" }
    }
    try {
      await this.#limiter.consume(principal.id)
    } catch (rejected) {
      const { msBeforeNext } = rejected as { readonly msBeforeNext: number }
      return { status: "rate_limited", message: "too many calls", retryAfter: msBeforeNext }
    }
    const copy = this.#reader.read(raw)
    const { problem, suspects } = this.#reader
    if (problem !== undefined) return { status: "invalid_params", message: problem }
    record.arguments = copy
    const host = suspects === undefined ? undefined : refusedHost(suspects, this.#policy.allowedDomains)
    if (host !== undefined) return { status: "policy_denied", message: `the host ${host} is not allowed` }
    const parsed = Parameters.safeParse(copy)
    if (!parsed.success) {
      const issues = parsed.error.issues.map(({ message, path }) => `${path.join(".")}: ${message}`)
      return { status: "invalid_params", message: issues.join("; ") }
    }
    if (suspects !== undefined) {
      const screened = screen(suspects)
      if ("refused" in screened) return { status: "invalid_params", message: screened.refused }
      record.flags = screened.flags
    }
    let value: unknown
    try {
      value = await tool.policy.execute(
        (context) => this.#attempt(record, tool, parsed.data, context),
        signal
      )
    } catch (error) {
      if (signal?.aborted === true) return { status: "cancelled", message: "the call was cancelled" }
      return refusalOf(error)
    }
    const answer = Answer.safeParse(value)
    if (answer.success) return { status: "success", value: answer.data }
    return { status: "failure", message: "the tool's answer is not what it declares" }
  }

  async #attempt(
    record: CallRecord,
    tool: Tool,
    params: Params,
    context: { readonly signal: AbortSignal }
  ): Promise<Success> {
    const now = Date.now()
    const book = this.#budget.reserve(record.principal, cost, now)
    if (book === undefined) throw new Overspent("the budget of the day is spent")
    if (++record.attempts === 1) record.startedAt = now
    record.status = "running"
    this.events.emit("change", record)
    try {
      return await tool.handler(params, context)
    } finally {
      this.#budget.settle(book, cost, cost)
      record.cost += cost
    }
  }
}

const refusalOf = (error: unknown): Result => {
  if (error instanceof Cockatiel.BrokenCircuitError)
    return { status: "circuit_open", message: "the tool fails" }
  if (error instanceof Cockatiel.BulkheadRejectedError)
    return { status: "overloaded", message: "too many calls run" }
  if (error instanceof Cockatiel.TaskCancelledError)
    return { status: "timeout", message: "no answer in time" }
  if (error instanceof Overspent) return { status: "budget_exceeded", message: error.message }
  return { status: "failure", message: "the tool failed" }
}

export const { batch, call, refused } = governed(name, Governor)

/** As it comes: a policy has a signal for its own timeout, and knows nothing of other calls. */
export const failFast = async (size: number): Promise<FailFast> => {
  const crowd = new Crowd(size)
  const works = Array.from({ length: size }, (_, index) =>
    timeout.execute(({ signal }) => crowd.work(index, signal))
  )
  await Promise.all(works).catch(() => {})
  return crowd.told()
}
