/** The calls that were let through and have not ended. */
import type { Killed, Target } from "../../KillSwitch.ts"
import type { Principal } from "../../Principal.ts"
import type { ToolFacts } from "../../ToolAnnotations.ts"
import { Line, type Place } from "../line.ts"
import { meets } from "./stops.ts"

interface Call {
  readonly tool: ToolFacts
  readonly principal: Principal
  readonly interrupt: (killed: Killed) => void
  interrupted: boolean
}

export class Calls {
  readonly #line = new Line<Call>()

  enter(tool: ToolFacts, principal: Principal, interrupt: (killed: Killed) => void): () => void {
    const place = this.#line.join({ tool, principal, interrupt, interrupted: false })
    return () => this.#line.leave(place)
  }

  /** How many a target is about; those that were interrupted count until they have ended. */
  running(target: Target): number {
    let count = 0
    for (const { value } of this.#places()) if (meets(target, value.tool, value.principal)) count++
    return count
  }

  /** Interrupts all that a target is about and that were not interrupted before; what they threw. */
  interrupt(target: Target, killed: Killed): ReadonlyArray<unknown> {
    const met: Array<Place<Call>> = []
    for (const place of this.#places()) {
      const call = place.value
      if (call.interrupted || !meets(target, call.tool, call.principal)) continue
      call.interrupted = true
      met.push(place)
    }
    // Only then: an interruption may end other calls, begin new ones, or stop something itself.
    const thrown: Array<unknown> = []
    for (const place of met) {
      if (place.line === undefined) continue
      try {
        place.value.interrupt(killed)
      } catch (error) {
        thrown.push(error)
      }
    }
    return thrown
  }

  *#places(): Generator<Place<Call>> {
    for (let place = this.#line.first; place !== undefined; place = place.after) yield place
  }
}
