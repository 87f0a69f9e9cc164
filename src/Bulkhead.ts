/**
 * How many calls run at once: per tool, and over all.
 *
 * A call needs a slot of its tool, where the tool names a number, and one over
 * all. It queues for the first before the second and holds no slot over all
 * until it has its tool's, so a slow tool cannot starve the others. Both queues
 * are first in, first out and bounded; a call that finds its queue full is
 * `overloaded`. One that has waited for its tool's slot is never refused after
 * that: the queue over all may then be longer by the slots that tools hold.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Line, type Place } from "./internal/line.ts"
import { whole } from "./internal/options.ts"
import type { BulkheadOptions, ToolFacts } from "./ToolAnnotations.ts"
import type { Reason } from "./ToolError.ts"

/** Over all tools; per tool it is the annotation `ToolAnnotations.Bulkhead`. */
export interface Options {
  /** Default: no limit. */
  readonly maxConcurrent?: number
  /** Calls that may wait for a slot over all; default 0. */
  readonly maxQueue?: number
}

/** A call's place, from `enter` to `release`. */
export interface Ticket {
  /** `undefined` when every slot is held already; otherwise waits for them. Interrupting it does not release. */
  readonly wait: Effect.Effect<void> | undefined
  /** Gives back what is held and leaves the queue; idempotent, synchronous, and needs no `this`. */
  readonly release: () => void
}

export type Refusal = Extract<Reason, { readonly _tag: "Overloaded" }>

export interface ToolBulkhead {
  /** Synchronous. Whoever gets a ticket must release it, even if it never waits. */
  readonly enter: () => Ticket | Refusal
  /** Why `enter` would refuse now; changes nothing. */
  readonly peek: () => Refusal | undefined
}

export class Bulkhead extends Context.Service<
  Bulkhead,
  {
    /** `undefined` when neither limit applies. Tools of one name share their slots; the latest numbers hold. */
    readonly forTool: (tool: ToolFacts) => ToolBulkhead | undefined
    /** Calls that hold all their slots, of those that go through a bulkhead. */
    readonly running: () => number
    /** Calls that wait, for a tool's slot or for one over all. */
    readonly queued: () => number
  }
>()("interlock/Bulkhead") {}

/** Bulkheads in this process. Numbers that are not whole, or below 1 (0 for queues), die when the layer is built. */
export const layer = (options: Options = {}): Layer.Layer<Bulkhead> =>
  Layer.sync(Bulkhead, () => make(options))

const make = ({ maxConcurrent, maxQueue = 0 }: Options): Bulkhead["Service"] => {
  const totals: Totals = { running: 0, queued: 0 }
  const tools = new Map<string, Gate>()
  const executor = maxConcurrent === undefined ? undefined : new Gate("executor")
  executor?.configure("The bulkhead over all tools", { maxConcurrent: maxConcurrent!, maxQueue })

  const gateOf = ({ name, bulkhead }: ToolFacts): Gate | undefined => {
    if (bulkhead === undefined) return undefined
    const gate = tools.get(name) ?? new Gate("tool")
    gate.configure(`The bulkhead of the tool ${JSON.stringify(name)}`, bulkhead)
    tools.set(name, gate)
    return gate
  }

  return {
    forTool: (tool) => {
      const gates = [gateOf(tool), executor].filter((gate) => gate !== undefined)
      if (gates.length === 0) return undefined
      const way: Way = { gates, totals }
      return { enter: () => peek(gates) ?? new Entrant(way), peek: () => peek(gates) }
    },
    running: () => totals.running,
    queued: () => totals.queued
  }
}

interface Totals {
  running: number
  queued: number
}

/** What all calls of a tool share. */
interface Way {
  readonly gates: ReadonlyArray<Gate>
  readonly totals: Totals
}

const refusals: { readonly [Scope in Refusal["scope"]]: Refusal } = {
  tool: { _tag: "Overloaded", scope: "tool" },
  executor: { _tag: "Overloaded", scope: "executor" }
}

const peek = (gates: ReadonlyArray<Gate>): Refusal | undefined => {
  // Only the first gate without a free slot can refuse; those behind it are reached after waiting, if at all.
  for (const gate of gates) if (!gate.hasSlot()) return gate.isFull() ? refusals[gate.scope] : undefined
  return undefined
}

/** A number of slots, and the line for them. A slot that comes free goes to the line at once. */
class Gate {
  readonly scope: Refusal["scope"]
  readonly #line: Line<Entrant> = new Line()
  #running = 0
  #maxConcurrent = 0
  #maxQueue = 0

  constructor(scope: Refusal["scope"]) {
    this.scope = scope
  }

  configure(name: string, { maxConcurrent, maxQueue = 0 }: BulkheadOptions): void {
    whole(`${name}: maxConcurrent`, maxConcurrent)
    whole(`${name}: maxQueue`, maxQueue, 0)
    this.#maxConcurrent = maxConcurrent
    this.#maxQueue = maxQueue
    this.#serve()
  }

  hasSlot(): boolean {
    return this.#running < this.#maxConcurrent
  }

  isFull(): boolean {
    return this.#line.length >= this.#maxQueue
  }

  take(): boolean {
    if (!this.hasSlot()) return false
    this.#running++
    return true
  }

  giveBack(): void {
    this.#running--
    this.#serve()
  }

  join(entrant: Entrant): Place<Entrant> {
    return this.#line.join(entrant)
  }

  leave(place: Place<Entrant>): void {
    this.#line.leave(place)
  }

  #serve(): void {
    for (let next = this.#line.first; next !== undefined && this.take(); next = this.#line.first) {
      this.#line.leave(next)
      next.value.admitted()
    }
  }
}

/**
 * A call on its way through its gates, one after the other; it holds those that it has passed. Every call has
 * one and few ever wait, so what only waiting needs is apart.
 */
class Entrant implements Ticket {
  readonly #way: Way
  /** Below zero when it was released. */
  #passed = 0
  #waiting: Waiting | undefined = undefined

  constructor(way: Way) {
    this.#way = way
    const place = this.#advance()
    if (place === undefined) return
    this.#waiting = new Waiting(place)
    way.totals.queued++
  }

  get wait(): Effect.Effect<void> | undefined {
    return this.#waiting?.suspended
  }

  /** The gate at which it waits has given it a slot. */
  admitted(): void {
    // Only who waits is in a line.
    const waiting = this.#waiting as Waiting
    this.#passed++
    waiting.place = this.#advance()
    if (waiting.place !== undefined) return
    this.#way.totals.queued--
    waiting.wake?.()
  }

  // Bound when it is asked for: it needs no `this` then, and a ticket that is only released costs no function.
  get release(): () => void {
    return this.#release.bind(this)
  }

  #release(): void {
    if (this.#passed < 0) return
    const { gates, totals } = this.#way
    const passed = this.#passed
    this.#passed = -1
    const place = this.#waiting?.place
    if (place === undefined) {
      totals.running--
    } else {
      totals.queued--
      gates[passed]!.leave(place)
    }
    // The last first: what a tool's slot lets in may then find a free slot over all.
    for (let i = passed - 1; i >= 0; i--) gates[i]!.giveBack()
  }

  /** Goes on to where it has to wait. */
  #advance(): Place<Entrant> | undefined {
    const { gates, totals } = this.#way
    for (; this.#passed < gates.length; this.#passed++) {
      const gate = gates[this.#passed]!
      if (!gate.take()) return gate.join(this)
    }
    totals.running++
    return undefined
  }
}

class Waiting {
  /** Where it stands; `undefined` from the grant of the last slot on. */
  place: Place<Entrant> | undefined
  wake: (() => void) | undefined

  constructor(place: Place<Entrant>) {
    this.place = place
  }

  // The slot is held from the grant on. Waking is scheduled, so that a release runs no other call, and many
  // that follow one another do not nest.
  readonly suspended: Effect.Effect<void> = Effect.withFiber((fiber) =>
    Effect.callback<void>((resume) => {
      if (this.place === undefined) return resume(Effect.void)
      this.wake = () => fiber.currentDispatcher.scheduleTask(() => resume(Effect.void), 0)
    })
  )
}
