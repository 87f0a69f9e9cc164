/**
 * Globs over tool names: `*` is any run of characters, `?` is one, case is
 * ignored. Linear in the product of the lengths, so a hostile pattern or name
 * cannot make it backtrack.
 */

export type Glob = string

export const matches = (pattern: Glob, name: string): boolean =>
  matchesFolded(pattern.toLowerCase(), name.toLowerCase())

const matchesFolded = (glob: string, text: string): boolean => {
  let g = 0
  let t = 0
  let star = -1
  let mark = 0
  while (t < text.length) {
    if (g < glob.length && (glob[g] === "?" || glob[g] === text[t]) && glob[g] !== "*") {
      g++
      t++
    } else if (g < glob.length && glob[g] === "*") {
      star = g++
      mark = t
    } else if (star !== -1) {
      g = star + 1
      t = ++mark
    } else {
      return false
    }
  }
  while (g < glob.length && glob[g] === "*") g++
  return g === glob.length
}

export const matchesAny = (pattern: Glob, names: ReadonlyArray<string>): boolean =>
  names.some((name) => matches(pattern, name))

/** The first of `patterns` that matches one of `names`. */
export const find = (patterns: ReadonlyArray<Glob>, names: ReadonlyArray<string>): Glob | undefined =>
  patterns.find((pattern) => matchesAny(pattern, names))

/**
 * Many globs, of which a name tries few: those without a wildcard are found by the name itself, the others by the
 * longer of what stands before their first one and after their last one. Those that have neither are all tried.
 */
export class Index {
  readonly #globs: ReadonlyArray<Glob>
  readonly #folded: ReadonlyArray<string>
  readonly #exact: Places = new Map()
  /** By the length of what they begin or end with, and by it. */
  readonly #begun = new Map<number, Places>()
  readonly #ended = new Map<number, Places>()

  constructor(globs: ReadonlyArray<Glob>) {
    this.#globs = globs
    this.#folded = globs.map((glob) => glob.toLowerCase())
    for (const [place, glob] of this.#folded.entries()) {
      const begun = glob.search(/[*?]/)
      if (begun === -1) {
        push(this.#exact, glob, place)
        continue
      }
      const ended = glob.length - 1 - Math.max(glob.lastIndexOf("*"), glob.lastIndexOf("?"))
      if (begun >= ended) push(ofLength(this.#begun, begun), glob.slice(0, begun), place)
      else push(ofLength(this.#ended, ended), glob.slice(-ended), place)
    }
  }

  /** The first glob that matches one of `names`. */
  find(names: ReadonlyArray<string>): Glob | undefined {
    const first = this.places(names)[0]
    return first === undefined ? undefined : this.#globs[first]
  }

  /** Where the globs stand that match one of `names`, in their order. */
  places(names: ReadonlyArray<string>): ReadonlyArray<number> {
    const found = new Set<number>()
    for (const name of names) {
      const text = name.toLowerCase()
      const tryEach = (places: ReadonlyArray<number> = []): void => {
        for (const place of places) if (matchesFolded(this.#folded[place]!, text)) found.add(place)
      }
      for (const place of this.#exact.get(text) ?? []) found.add(place)
      for (const [length, places] of this.#begun) tryEach(places.get(text.slice(0, length)))
      for (const [length, places] of this.#ended) tryEach(places.get(text.slice(-length)))
    }
    return [...found].sort((a, b) => a - b)
  }
}

type Places = Map<string, Array<number>>

const ofLength = (table: Map<number, Places>, length: number): Places => {
  const known = table.get(length) ?? new Map()
  table.set(length, known)
  return known
}

const push = (places: Places, key: string, place: number): void => {
  const known = places.get(key)
  if (known === undefined) places.set(key, [place])
  else known.push(place)
}
