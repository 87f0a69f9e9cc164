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
      return gates.length === 0
        ? undefined
        : { enter: () => peek(gates) ?? new Entrant(gates, totals), peek: () => peek(gates) }
    },
    running: () => totals.running,
    queued: () => totals.queued
  }
}

interface Totals {
  running: number
  queued: number
}

const refusals: { readonly [Scope in Refusal["scope"]]: Refusal } = {
  tool: { _tag: "Overloaded", scope: "tool" },
  executor: { _tag: "Overloaded", scope: "executor" }
}

const peek = (gates: ReadonlyArray<Gate>): Refusal | undefined => {
  // Only the first gate without a free slot can refuse; those behind it are reached after waiting, if at all.
  const closed = gates.find((gate) => !gate.hasSlot())
  return closed?.isFull() ? refusals[closed.scope] : undefined
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

/** A call on its way through its gates, one after the other; it holds those that it has passed. */
class Entrant implements Ticket {
  readonly wait: Effect.Effect<void> | undefined
  readonly #gates: ReadonlyArray<Gate>
  readonly #totals: Totals
  #passed = 0
  #place: Place<Entrant> | undefined
  #wake: (() => void) | undefined
  #released = false

  constructor(gates: ReadonlyArray<Gate>, totals: Totals) {
    this.#gates = gates
    this.#totals = totals
    this.#advance()
    if (this.#place === undefined) {
      this.wait = undefined
    } else {
      totals.queued++
      this.wait = this.#suspend()
    }
  }

  /** The gate at which it waits has given it a slot. */
  admitted(): void {
    this.#place = undefined
    this.#passed++
    this.#advance()
    if (this.#place !== undefined) return
    this.#totals.queued--
    this.#wake?.()
  }

  readonly release = (): void => {
    if (this.#released) return
    this.#released = true
    if (this.#place === undefined) {
      this.#totals.running--
    } else {
      this.#totals.queued--
      this.#gates[this.#passed]!.leave(this.#place)
    }
    // The last first: what a tool's slot lets in may then find a free slot over all.
    for (let i = this.#passed - 1; i >= 0; i--) this.#gates[i]!.giveBack()
  }

  #advance(): void {
    for (; this.#passed < this.#gates.length; this.#passed++) {
      const gate = this.#gates[this.#passed]!
      if (gate.take()) continue
      this.#place = gate.join(this)
      return
    }
    this.#totals.running++
  }

  // The slot is held from the grant on. Waking is scheduled, so that a release runs no other call, and many
  // that follow one another do not nest.
  #suspend(): Effect.Effect<void> {
    return Effect.withFiber((fiber) =>
      Effect.callback<void>((resume) => {
        if (this.#place === undefined) return resume(Effect.void)
        this.#wake = () => fiber.currentDispatcher.scheduleTask(() => resume(Effect.void), 0)
      })
    )
  }
}
