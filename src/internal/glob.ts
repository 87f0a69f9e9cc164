/**
 * Globs over tool names: `*` is any run of characters, `?` is one, case is
 * ignored. Linear in the product of the lengths, so a hostile pattern or name
 * cannot make it backtrack.
 */

export type Glob = string

export const matches = (pattern: Glob, name: string): boolean => {
  const glob = pattern.toLowerCase()
  const text = name.toLowerCase()
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
