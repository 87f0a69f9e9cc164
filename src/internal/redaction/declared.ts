/**
 * What schemas declare to be secret, as a walk along a value: which of its
 * places are declared, in whatever branch of a union, at whatever depth.
 *
 * Both sides of a transformation are looked at, for arguments are seen before
 * they are decoded and a schema may say `Redacted` only of what they become.
 * Where the two sides differ in shape, what cannot be told apart is hidden.
 */

/** A place in a value, by what all schemas say that may describe it. */
export interface Place {
  /** Whatever is here is hidden. */
  readonly whole: boolean
  readonly at: (key: string) => Place | undefined
}

/** What a kind of schema says of one of its nodes. */
export interface Shape<N> {
  readonly declared: boolean
  /** About the same place. */
  readonly same: ReadonlyArray<N>
  /** About what is below; `undefined` is any key. */
  readonly below: ReadonlyArray<readonly [key: string | undefined, node: N]>
  /** About something in here, at a place that is not known. */
  readonly within: ReadonlyArray<N>
}

const maxNodes = 50_000
/** Places that are kept; more are worked out anew. */
const maxPlaces = 10_000

/** Every node that can be reached, and which of them lead to one that is declared. */
export class Graph<N extends object> {
  readonly shapes = new Map<N, Shape<N>>()
  readonly hot = new Set<N>()
  readonly #ids = new Map<N, number>()
  readonly #places = new Map<string, Place>()

  constructor(roots: ReadonlyArray<N>, look: (node: N) => Shape<N>) {
    const above = new Map<N, Array<N>>()
    const queue = [...roots]
    for (let node = queue.pop(); node !== undefined; node = queue.pop()) {
      if (this.shapes.has(node)) continue
      if (this.shapes.size >= maxNodes) throw new RangeError(`a schema of more than ${maxNodes} parts`)
      const shape = look(node)
      this.shapes.set(node, shape)
      this.#ids.set(node, this.#ids.size)
      if (shape.declared) this.hot.add(node)
      for (const next of [...shape.same, ...shape.within, ...shape.below.map(([, child]) => child)]) {
        const parents = above.get(next)
        if (parents === undefined) above.set(next, [node])
        else parents.push(node)
        queue.push(next)
      }
    }
    // A set goes on with what is added while it is walked.
    for (const node of this.hot) for (const parent of above.get(node) ?? []) this.hot.add(parent)
  }

  /** The nodes about the same place as these. */
  same(nodes: Iterable<N>): ReadonlyArray<N> {
    const found = new Set(nodes)
    for (const node of found) for (const other of this.shapes.get(node)?.same ?? []) found.add(other)
    return [...found]
  }

  /** `undefined` where nothing here or below is declared. */
  place(nodes: Iterable<N>): Place | undefined {
    const here = this.same(nodes).filter((node) => this.hot.has(node))
    if (here.length === 0) return undefined
    const id = here
      .map((node) => this.#ids.get(node)!)
      .sort((a, b) => a - b)
      .join()
    const known = this.#places.get(id)
    if (known !== undefined) return known
    const place = this.#place(here)
    if (this.#places.size < maxPlaces) this.#places.set(id, place)
    return place
  }

  #place(here: ReadonlyArray<N>): Place {
    const shapes = here.map((node) => this.shapes.get(node)!)
    const whole = shapes.some(({ declared, within }) => declared || within.some((node) => this.hot.has(node)))
    const named = new Map<string, Array<N>>()
    const any: Array<N> = []
    for (const { below } of shapes) {
      for (const [key, node] of below) {
        if (key === undefined) any.push(node)
        else named.set(key, [...(named.get(key) ?? []), node])
      }
    }
    const others = any.length === 0 ? undefined : () => this.place(any)
    return {
      whole,
      at: (key) => {
        const nodes = named.get(key)
        return nodes === undefined ? others?.() : this.place([...nodes, ...any])
      }
    }
  }
}

/** A place that more than one schema may describe. */
export const either = (one: Place | undefined, other: Place | undefined): Place | undefined => {
  if (one === undefined || other === undefined) return one ?? other
  return { whole: one.whole || other.whole, at: (key) => either(one.at(key), other.at(key)) }
}

/** Where a schema could not be looked into: everything. */
export const everything: Place = { whole: true, at: () => everything }
