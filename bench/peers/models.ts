/** What a call and a tool are to the hand-written governor, and what comes of a call. */
import type { Params, Success } from "../convert.ts"
import type { Book, Principal } from "./limits.ts"
import { type CallRecord, none, type Status, ToolStats } from "./records.ts"

export type Result =
  | { readonly status: "success"; readonly value: Success }
  | {
      readonly status: Exclude<Status, "success">
      readonly message: string
      readonly retryAfter?: number
      readonly issues?: ReadonlyArray<string>
    }
export type Refusal = Exclude<Result, { readonly status: "success" }>

export type Handler = (params: Params, context: { readonly signal: AbortSignal }) => Promise<Success>

export interface ToolOptions {
  readonly name: string
  readonly handler: Handler
  readonly needs?: ReadonlyArray<string>
  readonly retries?: number
}

export class Tool {
  readonly name: string
  readonly handler: Handler
  readonly needs: ReadonlyArray<string>
  readonly retries: number
  readonly denied: boolean
  readonly stats = new ToolStats()
  running = 0
  failures = 0
  /** When the circuit opened; 0 while it is closed. */
  openedAt = 0
  probing = false

  constructor(
    { handler, name, needs = ["read_data"], retries = 3 }: ToolOptions,
    deny: ReadonlyArray<RegExp>
  ) {
    this.name = name
    this.handler = handler
    this.needs = needs
    this.retries = retries
    this.denied = deny.some((glob) => glob.test(name))
  }
}

/** A call, its record, and its place in the line of deadlines. */
export class Call implements CallRecord {
  readonly id: string
  readonly tool: string
  readonly principal: string
  readonly tenant: string
  status: CallRecord["status"] = "pending"
  message: string | undefined = undefined
  flags: ReadonlyArray<string> = none
  arguments: unknown = undefined
  attempts = 0
  retried: ReadonlyArray<number> = none
  cost = 0
  readonly queuedAt: number
  startedAt = 0
  completedAt = 0
  params: Params | undefined = undefined
  book: Book | undefined = undefined
  /** The attempt whose answer is waited for; 0 for none. */
  awaiting = 0
  /** Whether it is to show that the tool works again. */
  probes = false
  expiresAt = 0
  before: Call | undefined = undefined
  after: Call | undefined = undefined
  resolve: ((result: Result) => void) | undefined = undefined
  controller: AbortController | undefined = undefined
  /** Forgets the caller's signal, where there is one. */
  release: (() => void) | undefined = undefined

  constructor(id: string, tool: string, principal: Principal, now: number) {
    this.id = id
    this.tool = tool
    this.principal = principal.id
    this.tenant = principal.tenant
    this.queuedAt = now
  }

  /** Few handlers look at it, so it is made when one does. */
  get signal(): AbortSignal {
    this.controller ??= new AbortController()
    return this.controller.signal
  }
}
