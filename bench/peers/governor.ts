/**
 * Everything that Interlock does by default for a call, written by hand for one program: no library, no abstraction that
 * costs anything, each check there. What does not depend on the call is decided when a tool is registered, what only a
 * failure needs is only made on failure, and one object is both the call and its record.
 */
import type { Success } from "../convert.ts"
import { decode, encode, issuesOf, Reader, refusedHost, screen } from "./arguments.ts"
import { Deadlines } from "./deadlines.ts"
import { Budget, globs, type Policy, type Principal, Windows } from "./limits.ts"
import { Call, type Refusal, type Result, Tool, type ToolOptions } from "./models.ts"
import { type CallRecord, kept, Ring, ToolStats } from "./records.ts"

const timeout = 30_000
const tripAfter = 5
const openFor = 60_000
const cost = 1

// --- Refusals, most of which are always the same ---------------------------

const killed: Refusal = { status: "killed", message: "calls are stopped" }
const notFound: Refusal = { status: "not_found", message: "there is no such tool" }
const denied: Refusal = { status: "policy_denied", message: "the policy denies this tool" }
const notPermitted: Refusal = { status: "permission_denied", message: "a capability is missing" }
const unscreened = (message: string): Refusal => ({ status: "invalid_params", message })
const overloaded: Refusal = { status: "overloaded", message: "too many calls run" }
const overspent: Refusal = { status: "budget_exceeded", message: "the budget of the day is spent" }
const timedOut: Refusal = { status: "timeout", message: `no answer within ${timeout} ms` }
const cancelled: Refusal = { status: "cancelled", message: "the call was cancelled" }
const misshapen: Refusal = { status: "failure", message: "the tool's answer is not what it declares" }

interface Subscriber {
  readonly onStart?: (record: CallRecord) => void
  readonly onChange?: (record: CallRecord) => void
  readonly onEnd?: (record: CallRecord) => void
}

// --- The governor ----------------------------------------------------------

export class Governor {
  readonly history = new Ring<CallRecord>(kept)
  readonly audit = new Ring<CallRecord>(kept)
  readonly results = new Ring<Success | null>(kept)
  readonly subscribers: Array<Subscriber> = []
  readonly stopped = new Set<string>()
  readonly unknown = new ToolStats()
  readonly #tools: ReadonlyMap<string, Tool>
  readonly #deny: ReadonlyArray<RegExp>
  readonly #policy: Policy
  readonly #windows: Windows
  readonly #budget: Budget
  readonly #reader = new Reader()
  readonly #deadlines = new Deadlines<Call>(timeout, (call) => this.#expired(call))
  #running = 0
  #calls = 0

  constructor(policy: Policy, tools: ReadonlyArray<ToolOptions>) {
    this.#policy = policy
    this.#deny = globs(policy.deny)
    this.#tools = new Map(tools.map((tool) => [tool.name, new Tool(tool, this.#deny)]))
    this.#windows = new Windows(policy.perHour)
    this.#budget = new Budget(policy.perDay)
  }

  stats(name: string): ToolStats {
    return this.#tools.get(name)?.stats ?? this.unknown
  }

  call(name: string, raw: unknown, principal: Principal, signal?: AbortSignal): Promise<Result> {
    const now = Date.now()
    const tool = this.#tools.get(name)
    const call = new Call(`call_${++this.#calls}`, tool === undefined ? "(unknown)" : name, principal, now)
    this.history.push(call)
    ;(tool === undefined ? this.unknown : tool.stats).inFlight++
    for (const subscriber of this.subscribers) subscriber.onStart?.(call)
    const refusal = this.#refusal(call, name, tool, raw, principal, now)
    if (refusal !== undefined || tool === undefined) {
      return Promise.resolve(this.#end(call, tool, refusal ?? notFound, null))
    }
    return new Promise((resolve) => {
      call.resolve = resolve
      if (signal !== undefined) this.#follow(call, tool, signal)
      if (call.completedAt === 0) this.#attempt(call, tool, now)
    })
  }

  #refusal(
    call: Call,
    name: string,
    tool: Tool | undefined,
    raw: unknown,
    principal: Principal,
    now: number
  ): Refusal | undefined {
    if (this.stopped.size > 0 && (this.stopped.has(name) || this.stopped.has("*"))) return killed
    // A denial outranks all else: who is denied does not learn whether the tool exists.
    if (tool === undefined) return this.#deny.some((glob) => glob.test(name)) ? denied : notFound
    if (tool.denied) return denied
    for (const capability of tool.needs) if (!principal.capabilities.has(capability)) return notPermitted
    const wait = this.#windows.take(principal.id, now)
    if (wait > 0) return { status: "rate_limited", message: "too many calls", retryAfter: wait }
    const reader = this.#reader
    const copy = reader.read(raw)
    if (reader.problem !== undefined) return unscreened(reader.problem)
    call.arguments = copy
    const { suspects } = reader
    if (suspects !== undefined) {
      const host = refusedHost(suspects, this.#policy.allowedDomains)
      if (host !== undefined) return { status: "policy_denied", message: `the host ${host} is not allowed` }
    }
    const decoded = decode(copy)
    if (decoded === undefined) {
      const issues = issuesOf(copy)
      return { status: "invalid_params", message: issues.join("; "), issues }
    }
    if (suspects !== undefined) {
      const screened = screen(suspects)
      if ("refused" in screened) return unscreened(screened.refused)
      call.flags = screened.flags
    }
    if (tool.running >= this.#policy.maxConcurrent || this.#running >= this.#policy.maxConcurrent)
      return overloaded
    tool.running++
    this.#running++
    call.params = decoded
    return undefined
  }

  /** One attempt; where it may not begin, the call ends as its last attempt did. */
  #attempt(call: Call, tool: Tool, now: number, last?: Refusal): void {
    call.probes = false
    if (tool.openedAt !== 0) {
      const wait = tool.openedAt + openFor - now
      if (wait > 0 || tool.probing) {
        const open: Refusal = {
          status: "circuit_open",
          message: "the tool fails",
          retryAfter: Math.max(1000, wait)
        }
        this.#leave(call, tool, last ?? open, null)
        return
      }
      call.probes = tool.probing = true
    }
    call.book = this.#budget.reserve(call.principal, cost, now)
    if (call.book === undefined) {
      if (call.probes) tool.probing = false
      this.#leave(call, tool, last ?? overspent, null)
      return
    }
    const attempt = ++call.attempts
    if (attempt === 1) call.startedAt = now
    call.awaiting = attempt
    call.status = "running"
    for (const subscriber of this.subscribers) subscriber.onChange?.(call)
    this.#deadlines.add(call, now)
    let answer: Promise<Success>
    try {
      answer = tool.handler(call.params!, call)
    } catch (error) {
      this.#failed(call, tool, error)
      return
    }
    answer.then(
      (value) => (call.awaiting === attempt ? this.#answered(call, tool, value) : this.#settled(call, tool)),
      (error) => (call.awaiting === attempt ? this.#failed(call, tool, error) : this.#settled(call, tool))
    )
  }

  #answered(call: Call, tool: Tool, value: Success): void {
    this.#over(call)
    // Nothing is concluded from what began before the circuit opened.
    if (tool.openedAt === 0) tool.failures = 0
    else if (call.probes) tool.failures = tool.openedAt = 0
    if (call.probes) tool.probing = false
    const encoded = encode(value)
    if (encoded === undefined) this.#leave(call, tool, misshapen, null)
    else this.#leave(call, tool, { status: "success", value }, encoded)
  }

  #failed(call: Call, tool: Tool, error: unknown): void {
    this.#over(call)
    this.#countFailure(call, tool)
    const { retryable, retryAfter } = Object(error) as {
      readonly retryable?: boolean
      readonly retryAfter?: number
    }
    const failure: Refusal = { status: "failure", message: "the tool failed" }
    if (retryable === false || call.attempts > tool.retries) {
      this.#leave(call, tool, failure, null)
      return
    }
    const backoff = Math.random() * Math.min(30_000, 100 * 2 ** (call.attempts - 1))
    const delay = Math.max(retryAfter ?? 0, backoff)
    call.retried = [...call.retried, delay]
    call.status = "retrying"
    for (const subscriber of this.subscribers) subscriber.onChange?.(call)
    setTimeout(() => {
      if (call.completedAt === 0) this.#attempt(call, tool, Date.now(), failure)
    }, delay)
  }

  /** Nobody knows what a tool that did not answer has done, so it is not asked again. */
  #expired(call: Call): void {
    const tool = this.#tools.get(call.tool)!
    this.#over(call)
    this.#countFailure(call, tool)
    call.controller?.abort(timedOut)
    this.#end(call, tool, timedOut, null)
  }

  #cancel(call: Call, tool: Tool): void {
    if (call.awaiting !== 0) {
      this.#over(call)
      if (call.probes) tool.probing = false
      call.controller?.abort(cancelled)
    } else this.#freeSlot(tool)
    this.#end(call, tool, cancelled, null)
  }

  /** A handler that nobody waits for any more has its slot until it ends. */
  #settled(call: Call, tool: Tool): void {
    if (call.completedAt !== 0) this.#freeSlot(tool)
  }

  /** An attempt is over: its deadline, and its money. */
  #over(call: Call): void {
    call.awaiting = 0
    this.#deadlines.remove(call)
    this.#budget.settle(call.book!, cost, cost)
    call.cost += cost
  }

  #countFailure(call: Call, tool: Tool): void {
    if (call.probes || (tool.openedAt === 0 && ++tool.failures >= tripAfter)) tool.openedAt = Date.now()
    if (call.probes) tool.probing = false
  }

  #freeSlot(tool: Tool): void {
    tool.running--
    this.#running--
  }

  #leave(call: Call, tool: Tool, result: Result, encoded: Success | null): void {
    this.#freeSlot(tool)
    this.#end(call, tool, result, encoded)
  }

  /** The one end of every call. */
  #end(call: Call, tool: Tool | undefined, result: Result, encoded: Success | null): Result {
    call.completedAt = Date.now()
    call.status = result.status
    if (result.status !== "success") call.message = result.message
    call.params = call.book = call.controller = undefined
    call.release?.()
    ;(tool === undefined ? this.unknown : tool.stats).end(call)
    this.audit.push(call)
    this.results.push(encoded)
    for (const subscriber of this.subscribers) subscriber.onEnd?.(call)
    const { resolve } = call
    call.resolve = undefined
    resolve?.(result)
    return result
  }

  #follow(call: Call, tool: Tool, signal: AbortSignal): void {
    if (signal.aborted) {
      this.#cancel(call, tool)
      return
    }
    const abort = () => {
      if (call.completedAt === 0) this.#cancel(call, tool)
    }
    signal.addEventListener("abort", abort, { once: true })
    call.release = () => signal.removeEventListener("abort", abort)
  }
}
