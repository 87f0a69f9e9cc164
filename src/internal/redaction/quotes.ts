/** What a text quotes of a call's arguments is shown in it as it is shown in them. */
import * as Redacted from "effect/Redacted"
import * as ArgumentPath from "../argumentPath.ts"

/** Shorter ones stand in too many words to be looked for. */
const shortest = 4
const most = 1000

/**
 * Replaces, wherever they are quoted, the texts of a value that are shown otherwise in its view, keys included but for
 * `names`, which are not the value's own.
 */
export const unquote = (
  raw: unknown,
  shown: unknown,
  names: ReadonlySet<string>
): ((text: string) => string) => {
  const hidden = new Map<string, string>()
  compare(raw, shown, names, hidden)
  return (text) => replace(text, hidden)
}

const compare = (
  raw: unknown,
  shown: unknown,
  names: ReadonlySet<string>,
  into: Map<string, string>
): void => {
  if (into.size >= most || raw === shown) return
  if (typeof shown === "string") {
    leaves(raw, shown, names, into)
    if (typeof raw === "string") between(raw, shown, into)
    return
  }
  if (typeof raw !== "object" || raw === null || typeof shown !== "object" || shown === null) return
  // A view has the same fields in the same order, some under masked names.
  const masks = Object.keys(shown)
  for (const [index, key] of Object.keys(raw).entries()) {
    const there = Object.hasOwn(shown, key) ? key : masks[index]
    if (there === undefined) return
    if (there !== key) addKey(key, there, into)
    compare(own(raw, key), own(shown, there), names, into)
  }
}

const leaves = (
  value: unknown,
  mask: string,
  names: ReadonlySet<string>,
  into: Map<string, string>
): void => {
  const stack: Array<unknown> = [value]
  const seen = new Set<unknown>()
  while (stack.length > 0 && into.size < most && seen.size < 10_000) {
    const item = stack.pop()
    if (typeof item === "string" || typeof item === "number" || typeof item === "bigint") {
      add(String(item), mask, into)
    } else if (Redacted.isRedacted(item)) stack.push(Redacted.value(item))
    else if (item instanceof URL) stack.push(item.href)
    else if (typeof item === "object" && item !== null && !seen.has(item)) {
      seen.add(item)
      for (const key of Object.keys(item)) {
        if (!Array.isArray(item) && !names.has(key)) addKey(key, mask, into)
        stack.push(own(item, key))
      }
    }
  }
}

/** Of a text that is shown in part, what is not: from where it begins to differ to where it is the same again. */
const between = (raw: string, shown: string, into: Map<string, string>): void => {
  const length = Math.min(raw.length, shown.length)
  let start = 0
  while (start < length && raw[start] === shown[start]) start++
  let end = 0
  while (end < length - start && raw.at(-1 - end) === shown.at(-1 - end)) end++
  if (start + end > 0) add(raw.slice(start, raw.length - end), shown.slice(start, shown.length - end), into)
}

const own = (value: object, key: string): unknown => Object.getOwnPropertyDescriptor(value, key)?.value

const add = (secret: string, mask: string, into: Map<string, string>): void => {
  if (secret.length < shortest) return
  into.set(secret, mask)
  into.set(JSON.stringify(secret).slice(1, -1), mask)
  // A lone surrogate cannot be percent-encoded.
  if (secret.isWellFormed()) into.set(encodeURIComponent(secret), mask)
}

/** Messages name keys, and cut long ones. */
const addKey = (key: string, mask: string, into: Map<string, string>): void => {
  add(key, mask, into)
  const cut = ArgumentPath.shorten(key, ArgumentPath.maxKey)
  if (cut !== key) add(cut, mask, into)
}

/** What stands in for one is not looked into for another. */
const replace = (text: string, hidden: ReadonlyMap<string, string>): string => {
  const found: Array<readonly [start: number, end: number, mask: string]> = []
  for (const [secret, mask] of hidden) {
    for (let at = text.indexOf(secret); at >= 0; at = text.indexOf(secret, at + secret.length)) {
      found.push([at, at + secret.length, mask])
    }
  }
  if (found.length === 0) return text
  found.sort((a, b) => a[0] - b[0] || b[1] - a[1])
  let shown = ""
  let at = 0
  for (const [start, end, mask] of found) {
    if (start >= at) shown += text.slice(at, start) + mask
    at = Math.max(at, end)
  }
  return shown + text.slice(at)
}
