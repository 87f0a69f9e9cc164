/** How messages name a place inside the arguments: `body.links[2].url`. Keys are shown, values never. */
import { pattern } from "./lazily.ts"

/** Keys come from outside; a longer one is cut. */
export const maxKey = 64

/** Needs no quotes. */
const plain = pattern(String.raw`^[\p{L}_$][\p{L}\p{N}_$-]*$`, "u")

/** The path as people write it; `""` is the arguments themselves. */
export const format = (path: ReadonlyArray<string | number>): string => {
  let text = ""
  for (const key of path) {
    if (typeof key === "number") text += `[${key}]`
    else if (plain().test(key)) text += `${text === "" ? "" : "."}${shorten(key, maxKey)}`
    else text += `[${JSON.stringify(shorten(key, maxKey))}]`
  }
  return text
}

/** The path as the subject of a sentence. */
export const subject = (path: ReadonlyArray<string | number>): string => {
  if (path.length === 0) return "The arguments"
  // A quoted key standing alone needs no brackets around its quotes.
  const only = path.length === 1 && typeof path[0] === "string" ? shorten(path[0], maxKey) : format(path)
  return `"${only}"`
}

/** The beginning of a text that came from outside. */
export const shorten = (text: string, length: number): string =>
  text.length <= length ? text : `${text.slice(0, length)}…`
