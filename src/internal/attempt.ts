import type * as Effect from "effect/Effect"
import type { CurrentCall } from "../CurrentCall.ts"
import * as Amounts from "./amounts.ts"

/** Who runs a handler, as far as the handler has to do with it. */
interface Runner {
  readonly toolCallId?: string | undefined
  readonly preliminary: (value: never) => Effect.Effect<void>
}

/**
 * One run of a handler: what it is given, and its end of the line to the pipeline. What handlers take from it by itself
 * is bound when they take it, and what most do not ask for is made when one does.
 */
export class Attempt implements CurrentCall {
  readonly callId: string
  readonly tool: string
  readonly attempt: number
  readonly idempotencyKey: string | undefined
  readonly deadline: number | undefined
  readonly metadata: Readonly<Record<string, string>> | undefined
  readonly toolCallId: string | undefined
  readonly #runner: Runner
  /** Settles when the promise that ignored its signal does. */
  abandoned: PromiseLike<unknown> | undefined = undefined
  /** What the handler says it has cost; `undefined` where it says nothing. */
  spent: Amounts.Amounts | undefined = undefined
  #controller: AbortController | undefined
  #aborted = false

  constructor(call: Omit<CurrentCall, "signal" | "spend">, runner: Runner) {
    this.callId = call.callId
    this.tool = call.tool
    this.attempt = call.attempt
    this.idempotencyKey = call.idempotencyKey
    this.deadline = call.deadline
    this.metadata = call.metadata
    this.toolCallId = runner.toolCallId
    this.#runner = runner
  }

  /** For a handler that runs outside the pipeline. */
  static ungoverned(runner: Runner): Attempt {
    const call = {
      callId: runner.toolCallId ?? "",
      tool: "",
      attempt: 1,
      idempotencyKey: undefined,
      deadline: undefined,
      metadata: undefined
    }
    return new Attempt(call, runner)
  }

  get preliminary(): Runner["preliminary"] {
    return (value) => this.#runner.preliminary(value)
  }

  get spend(): CurrentCall["spend"] {
    return (amounts) => {
      this.spent = Amounts.add(this.spent ?? {}, Amounts.from(amounts))
    }
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController()
      // Who first asks when the attempt is over must not go on.
      if (this.#aborted) this.#controller.abort(abortReason())
    }
    return this.#controller.signal
  }

  abort(): void {
    if (this.#aborted) return
    this.#aborted = true
    this.#controller?.abort(abortReason())
  }

  abandon(settled: PromiseLike<unknown>): void {
    this.abandoned = settled
  }
}

let reason: DOMException | undefined

// What a controller makes by itself, but without its stack, and one for all that is stopped at once: each would cost
// more than the abort, and say no more than that the pipeline did it.
const abortReason = (): DOMException => {
  if (reason !== undefined) return reason
  const { stackTraceLimit } = Error
  Error.stackTraceLimit = 0
  try {
    reason = new DOMException("This operation was aborted", "AbortError")
  } finally {
    Error.stackTraceLimit = stackTraceLimit
  }
  queueMicrotask(() => {
    reason = undefined
  })
  return reason
}
