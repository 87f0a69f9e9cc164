/** The calls of a batch that run: so many at a time, and beside them those that wait for a human. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { Request } from "../../internal/call.ts"
import { interruptAll, Started, type Starter } from "../../internal/startCall.ts"
import type { Pipeline } from "../../Pipeline.ts"
import type { ToolResult } from "../../ToolResult.ts"

export interface Onlooker<Of> {
  /** A call has its result. */
  readonly ended: (of: Of, result: ToolResult) => void
  /** There may be room for another, or nothing runs any more. */
  readonly left: () => void
}

export class Calls<Of> implements Starter<Of> {
  /** No call begins any more, and those that ran were cancelled. */
  stopped = false
  /** What they run in: that of whoever runs the batch. */
  context: Context.Context<never> = Context.empty()
  readonly #pipeline: Pipeline
  readonly #concurrency: number
  readonly #onlooker: Onlooker<Of>
  readonly #running: Array<Started<Of>> = []
  #parked = 0
  /** Those that have waited for a human and want their place back, before any that has not begun. */
  readonly #returning: Array<() => void> = []

  constructor(pipeline: Pipeline, concurrency: number, onlooker: Onlooker<Of>) {
    this.#pipeline = pipeline
    this.#concurrency = concurrency
    this.#onlooker = onlooker
  }

  get count(): number {
    return this.#running.length
  }

  /** How many more may begin. */
  get room(): number {
    if (this.#parked >= mostParked) return 0
    return this.#concurrency - (this.#running.length - this.#parked)
  }

  start(of: Of, request: Request): void {
    const call = new Started<Of>(this, of)
    this.#running.push(call)
    call.start(this.#pipeline, this.context, { ...request, park: this.#park, member: call })
    // What a handler does before it first suspends can have stopped the batch it belongs to.
    if (this.stopped) call.fiber?.interruptUnsafe()
  }

  stop(): void {
    if (this.stopped) return
    this.stopped = true
    for (const takePlace of this.#returning.splice(0)) takePlace()
    // A copy: what ends at once leaves the list meanwhile.
    interruptAll([...this.#running])
  }

  told({ of }: Started<Of>, result: ToolResult): void {
    this.#onlooker.ended(of, result)
  }

  over(call: Started<Of>): void {
    const last = this.#running.pop() as Started<Of>
    if (last !== call) this.#running[this.#running.indexOf(call)] = last
    this.#left()
  }

  #left(): void {
    while (this.#returning.length > 0 && this.#running.length - this.#parked < this.#concurrency) {
      this.#returning.shift()?.()
    }
    this.#onlooker.left()
  }

  readonly #park = <A, E>(wait: Effect.Effect<A, E>): Effect.Effect<A, E> =>
    Effect.suspend(() => {
      this.#parked++
      this.#left()
      return Effect.ensuring(wait, this.#placeAgain)
    })

  readonly #placeAgain = Effect.callback<void>((resume) => {
    const takePlace = (): void => {
      this.#parked--
      resume(Exit.void)
    }
    if (this.stopped || this.#running.length - this.#parked < this.#concurrency) takePlace()
    else this.#returning.push(takePlace)
  })
}

/** A batch whose every call waits for a human must not begin them all. */
const mostParked = 100
