/** The calls that were let through and have not ended. */
import type { Entered, Killable, Killed, Target } from "../../KillSwitch.ts"
import type { Principal } from "../../Principal.ts"
import type { ToolFacts } from "../../ToolAnnotations.ts"
import { meets } from "./stops.ts"

/** A place in a ring: whoever leaves needs only its neighbours, and outside of the ring has none. */
class Place {
  before: Place | undefined = this
  after: Place | undefined = this
}

/** Every call that runs has one, so it is its own place. */
class Call extends Place implements Entered {
  readonly tool: ToolFacts
  readonly principal: Principal
  /** `undefined` once it was killed. */
  killable: Killable | undefined

  constructor(tool: ToolFacts, principal: Principal, killable: Killable) {
    super()
    this.tool = tool
    this.principal = principal
    this.killable = killable
  }

  /** Leaving twice changes nothing. */
  leave(): void {
    const { after, before } = this
    if (before === undefined || after === undefined) return
    before.after = after
    after.before = before
    this.before = this.after = undefined
  }
}

export class Calls {
  /** Stands between the last call and the first. */
  readonly #ends = new Place()

  enter(tool: ToolFacts, principal: Principal, killable: Killable): Entered {
    const call = new Call(tool, principal, killable)
    const last = this.#ends.before as Place
    call.before = last
    call.after = this.#ends
    last.after = call
    this.#ends.before = call
    return call
  }

  /** How many a target is about; those that were interrupted count until they have ended. */
  running(target: Target): number {
    let count = 0
    for (const { principal, tool } of this.#calls()) if (meets(target, tool, principal)) count++
    return count
  }

  /** Interrupts all that a target is about and that were not interrupted before; what they threw. */
  interrupt(target: Target, killed: Killed): ReadonlyArray<unknown> {
    const met: Array<readonly [Call, Killable]> = []
    for (const call of this.#calls()) {
      const { killable, principal, tool } = call
      if (killable === undefined || !meets(target, tool, principal)) continue
      call.killable = undefined
      met.push([call, killable])
    }
    // Only then: an interruption may end other calls, begin new ones, or stop something itself.
    const thrown: Array<unknown> = []
    for (const [call, killable] of met) {
      if (call.after === undefined) continue
      try {
        killable.kill(killed)
      } catch (error) {
        thrown.push(error)
      }
    }
    return thrown
  }

  *#calls(): Generator<Call> {
    for (let place = this.#ends.after; place !== this.#ends; place = place?.after) yield place as Call
  }
}
