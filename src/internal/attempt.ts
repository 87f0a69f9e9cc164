import type * as Effect from "effect/Effect"
import type { CurrentCall } from "../CurrentCall.ts"
import * as Amounts from "./amounts.ts"

/** What a handler is given by whoever runs it. */
interface Given {
  readonly toolCallId?: string | undefined
  readonly preliminary: (value: never) => Effect.Effect<void>
}

/** One run of a handler: what it is given, and its end of the line to the pipeline. */
export class Attempt implements CurrentCall {
  readonly callId: string
  readonly tool: string
  readonly attempt: number
  readonly idempotencyKey: string | undefined
  readonly deadline: number | undefined
  readonly metadata: Readonly<Record<string, string>> | undefined
  readonly toolCallId: string | undefined
  readonly preliminary: Given["preliminary"]
  /** Settles when the promise that ignored its signal does. */
  abandoned: PromiseLike<unknown> | undefined = undefined
  /** What the handler says it has cost; `undefined` where it says nothing. */
  spent: Amounts.Amounts | undefined = undefined
  #controller: AbortController | undefined
  #aborted = false

  constructor(call: Omit<CurrentCall, "signal" | "spend">, given: Given) {
    this.callId = call.callId
    this.tool = call.tool
    this.attempt = call.attempt
    this.idempotencyKey = call.idempotencyKey
    this.deadline = call.deadline
    this.metadata = call.metadata
    this.toolCallId = given.toolCallId
    this.preliminary = given.preliminary
  }

  /** For a handler that runs outside the pipeline. */
  static ungoverned(given: Given): Attempt {
    const call = {
      callId: given.toolCallId ?? "",
      tool: "",
      attempt: 1,
      idempotencyKey: undefined,
      deadline: undefined,
      metadata: undefined
    }
    return new Attempt(call, given)
  }

  /** Made when a handler asks for it: most do not, and it costs as much as an attempt. */
  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController()
      // Who first asks when the attempt is over must not go on.
      if (this.#aborted) this.#controller.abort()
    }
    return this.#controller.signal
  }

  abort(): void {
    this.#aborted = true
    this.#controller?.abort()
  }

  spend(amounts: number | Amounts.Amounts): void {
    this.spent = Amounts.add(this.spent ?? {}, Amounts.from(amounts))
  }

  abandon(settled: PromiseLike<unknown>): void {
    this.abandoned = settled
  }
}
