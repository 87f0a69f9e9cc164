/**
 * Whether a regular expression could take exponential time, or more than
 * quadratic, on a text that somebody chose. Errs towards yes: nesting of what
 * repeats, alternatives that repeat, references back, and more than two
 * repetitions without an end.
 */

interface Group {
  /** Whether something in it repeats without an end. */
  repeats: boolean
  alternatives: boolean
}

/** Linear. A pattern that is none may be either: compiling it says so. */
export const mayHang = (pattern: string): boolean => {
  const groups: Array<Group> = [{ repeats: false, alternatives: false }]
  let unbounded = 0
  let index = 0
  /** Whether what stands at the index repeats what stands before it, often or without an end. */
  const repetition = (): boolean => {
    const [text, least, comma, most] =
      /^(?:[*+]|\{(\d+)(,?)(\d*)\})/.exec(pattern.slice(index, index + 16)) ?? []
    if (text === undefined) return false
    index += text.length
    const isUnbounded = least === undefined || (comma === "," && most === "")
    if (isUnbounded) unbounded++
    return isUnbounded || Number(most === "" ? least : most) > 16
  }
  while (index < pattern.length) {
    const character = pattern[index++]
    const group = groups.at(-1)!
    switch (character) {
      case "\\":
        if (/[1-9k]/.test(pattern[index] ?? "")) return true
        // `\p{…}` and `\u{…}` are one character.
        index += /^(?:[pPu]\{[^}]{0,60}\}|.)/.exec(pattern.slice(index, index + 64))?.[0].length ?? 1
        break
      case "[":
        for (; index < pattern.length && pattern[index] !== "]"; index++) if (pattern[index] === "\\") index++
        index++
        break
      case "(":
        groups.push({ repeats: false, alternatives: false })
        if (pattern[index] === "?") index++
        continue
      case "|":
        group.alternatives = true
        continue
      case ")": {
        if (groups.length === 1) return true
        const { alternatives, repeats } = groups.pop()!
        const outer = groups.at(-1)!
        if (repetition()) {
          if (alternatives || repeats) return true
          outer.repeats = true
        }
        outer.repeats ||= repeats
        continue
      }
    }
    if (repetition()) group.repeats = true
  }
  return unbounded > 2
}
