/** Requests in this process, each in as many places as it is looked for. */
import type * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { Selection } from "../../Approvals.ts"
import { isOverdue, stateOf } from "./document.ts"
import { type About, type ApprovalStore, type Change, changed, type Held } from "./store.ts"

const none: Effect.Effect<ReadonlyArray<Held>> = Exit.succeed([])

/** At most `maxRequests` in all: what has ended goes first, then the oldest undecided, then the oldest. */
export class MemoryStore implements ApprovalStore {
  readonly #max: number
  /** By id, oldest first; a request that has ended moves to `#ended`. */
  readonly #live = new Map<string, Held>()
  readonly #ended = new Map<string, Held>()
  /** Pending, granted and rejected ones by call. */
  readonly #calls = new Map<string, Set<string>>()
  /** Pending ones by principal. */
  readonly #undecided = new Map<string, Set<string>>()
  #revision = 0

  constructor(maxRequests: number) {
    this.#max = maxRequests
  }

  put(about: About, options: Parameters<ApprovalStore["put"]>[1]): ReturnType<ApprovalStore["put"]> {
    const { now, maxUndecided, find, make } = options
    const owner = ownerKey(about)
    const expired = this.#expireAll(this.#pending(owner).filter((held) => isOverdue(held, now)))
    const found = find(this.#about(about))
    if (found !== undefined) return Exit.succeed({ put: { _tag: "Found", held: found }, expired })
    const pending = this.#pending(owner)
    if (pending.length >= maxUndecided) {
      const until =
        pending.length === 0 ? undefined : Math.min(...pending.map(({ document }) => document.expiresAt))
      return Exit.succeed({ put: { _tag: "Full", until }, expired })
    }
    const held = { ...make(), revision: ++this.#revision }
    while (this.#live.size + this.#ended.size >= this.#max) expired.push(...this.#forget())
    this.#live.set(held.document.id, held)
    this.#index(held)
    return Exit.succeed({ put: { _tag: "Inserted", held }, expired })
  }

  find(id: string): Effect.Effect<Held | undefined> {
    return Exit.succeed(this.#live.get(id) ?? this.#ended.get(id))
  }

  live(about: About): Effect.Effect<ReadonlyArray<Held>> {
    return this.#calls.size === 0 ? none : Exit.succeed(this.#about(about))
  }

  transition(id: string, from: Held["state"], change: Change): Effect.Effect<Held | undefined> {
    const held = this.#live.get(id)
    return Exit.succeed(held?.state === from ? this.#change(held, change) : undefined)
  }

  list(selection: Selection, now: number): Effect.Effect<ReadonlyArray<Held>> {
    const { limit, state, ...fields } = selection
    const wanted = Object.entries(fields).filter(([, value]) => value !== undefined) as Array<
      [keyof typeof fields, string]
    >
    const found = [...this.#live.values(), ...this.#ended.values()].filter(
      (held) =>
        (state === undefined || stateOf(held, now) === state) &&
        wanted.every(([field, value]) => held.document[field] === value)
    )
    found.sort((a, b) => b.document.createdAt - a.document.createdAt)
    return Exit.succeed(found.slice(0, limit))
  }

  expire(now: number): Effect.Effect<ReadonlyArray<Held>> {
    if (this.#live.size === 0) return none
    const live = [...this.#live.values()]
    for (const held of live) {
      // A rejection that has expired answers nothing any more.
      if (held.state === "rejected" && held.document.expiresAt <= now) this.#end(held)
    }
    return Exit.succeed(this.#expireAll(live.filter((held) => isOverdue(held, now))))
  }

  #about(about: About): ReadonlyArray<Held> {
    const ids = this.#calls.get(callKey(about))
    return ids === undefined ? [] : Array.from(ids, (id) => this.#live.get(id)!).reverse()
  }

  #pending(owner: string): ReadonlyArray<Held> {
    const ids = this.#undecided.get(owner)
    return ids === undefined ? [] : Array.from(ids, (id) => this.#live.get(id)!)
  }

  #expireAll(overdue: ReadonlyArray<Held>): Array<Held> {
    return overdue.map((held) => this.#change(held, { to: "expired" }))
  }

  #change(before: Held, change: Change): Held {
    const held = changed(before, change, ++this.#revision)
    const { document, state } = held
    if (state === "granted" || state === "rejected") {
      this.#live.set(document.id, held)
      this.#decided(held)
    } else this.#end(held)
    return held
  }

  #index({ document }: Held): void {
    addTo(this.#calls, callKey(document), document.id)
    addTo(this.#undecided, ownerKey(document), document.id)
  }

  #decided({ document }: Held): void {
    removeFrom(this.#undecided, ownerKey(document), document.id)
  }

  #end(held: Held): void {
    const { document } = held
    this.#decided(held)
    removeFrom(this.#calls, callKey(document), document.id)
    this.#live.delete(document.id)
    this.#ended.set(document.id, held)
  }

  /** Makes room for one; whoever waited for it is told that it has expired. */
  #forget(): ReadonlyArray<Held> {
    for (const id of this.#ended.keys()) {
      this.#ended.delete(id)
      return []
    }
    let oldest: Held | undefined
    for (const held of this.#live.values()) {
      oldest ??= held
      if (held.state !== "pending") continue
      oldest = held
      break
    }
    if (oldest === undefined) return []
    const ended = oldest.state === "rejected" ? oldest : this.#change(oldest, { to: "expired" })
    this.#end(ended)
    this.#ended.delete(ended.document.id)
    return ended === oldest ? [] : [ended]
  }
}

const addTo = (index: Map<string, Set<string>>, key: string, id: string): void => {
  const ids = index.get(key)
  if (ids === undefined) index.set(key, new Set([id]))
  else ids.add(id)
}

const removeFrom = (index: Map<string, Set<string>>, key: string, id: string): void => {
  const ids = index.get(key)
  ids?.delete(id)
  if (ids?.size === 0) index.delete(key)
}

// JSON keeps hostile ids apart.
const ownerKey = ({ principal, tenant }: Omit<About, "callId" | "tool">): string =>
  JSON.stringify([tenant ?? null, principal])
const callKey = ({ callId, principal, tenant, tool }: About): string =>
  JSON.stringify([tenant ?? null, principal, callId, tool])
