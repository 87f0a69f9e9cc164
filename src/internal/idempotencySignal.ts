import * as Effect from "effect/Effect"

/** The end of a lease, for those who wait for it: it comes once, and stays. */
export class Signal {
  #come = false
  readonly #wakes = new Set<() => void>()

  /** How many wait. */
  get waiters(): number {
    return this.#wakes.size
  }

  // Joining and suspending are one step, so an interruption always finds the waiter's cleanup in place.
  readonly wait: Effect.Effect<void> = Effect.withFiber((fiber) =>
    Effect.callback<void>((resume) => {
      if (this.#come) return resume(Effect.void)
      // Scheduled, so that a waiter's own code does not run inside the call that ended the lease.
      const wake = () => fiber.currentDispatcher.scheduleTask(() => resume(Effect.void), 0)
      this.#wakes.add(wake)
      return Effect.sync(() => {
        this.#wakes.delete(wake)
      })
    })
  )

  come(): void {
    this.#come = true
    for (const wake of this.#wakes) wake()
    this.#wakes.clear()
  }
}
