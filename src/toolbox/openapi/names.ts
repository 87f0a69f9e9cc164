/**
 * What tools and their arguments are called. Models take `[a-zA-Z0-9_-]{1,64}` for tools, and
 * `[a-zA-Z0-9_.-]{1,64}` for the properties of their arguments; policies match without regard to case.
 *
 * A name must not depend on what else is in the document, lest a policy that names it comes to mean another
 * operation. So names that would be equal all get a suffix that is worked out from the operation itself, and
 * so do names that are cut.
 */
import { digest } from "../../internal/digest.ts"

const maxLength = 64

/** What stands further on in a name is not looked at. */
const maxRead = 256

/** An operation, as a name is made of it. */
export interface Named {
  readonly method: string
  readonly path: string
  readonly operationId: string | undefined
  /** A name that whoever configures has chosen. */
  readonly chosen?: string | undefined
}

/** The names of all operations of a document, in their order. */
export const ofOperations = (operations: ReadonlyArray<Named>, prefix: string): ReadonlyArray<string> => {
  const wanted = operations.map(({ chosen, method, operationId, path }) =>
    chosen === undefined
      ? prefix + (fitted(operationId ?? "") || fitted(method.toLowerCase() + path))
      : chosen
  )
  const counts = new Map<string, number>()
  for (const name of wanted) counts.set(name.toLowerCase(), (counts.get(name.toLowerCase()) ?? 0) + 1)
  return wanted.map((name, index) => {
    const { chosen, method, path } = operations[index]!
    if (chosen !== undefined) return chosen
    const isOwn = counts.get(name.toLowerCase()) === 1 && !(name in Object.prototype)
    if (isOwn && name.length <= maxLength) return name
    const suffix = `_${digest([method, path]).slice(0, 8)}`
    return name.slice(0, maxLength - suffix.length) + suffix
  })
}

const fitted = (text: string): string =>
  text
    .slice(0, maxRead)
    .normalize("NFKD")
    .replace(/\p{M}+/gu, "")
    .replace(/[^a-zA-Z0-9_-]+/g, "_")
    .replace(/^_+|_+$/g, "")

/** An argument's name: as it is where that fits and is free, else with where it goes, and a number. */
export const ofArgument = (name: string, location: string, taken: ReadonlySet<string>): string => {
  const isFree = (candidate: string): boolean => !taken.has(candidate) && !(candidate in Object.prototype)
  const inner = name.slice(0, maxRead).replace(/^[^a-zA-Z0-9_.-]+|[^a-zA-Z0-9_.-]+$/g, "")
  const base = inner.replace(/[^a-zA-Z0-9_.-]+/g, "_").slice(0, maxLength - 12) || "value"
  if (isFree(base)) return base
  let candidate = `${base}_${location}`
  for (let n = 2; !isFree(candidate); n++) candidate = `${base}_${location}_${n}`
  return candidate
}

/** Cut between characters. */
export const shorten = (text: string, length: number): string => {
  const trimmed = text.trim()
  if (trimmed.length <= length) return trimmed
  return `${trimmed
    .slice(0, length - 1)
    .replace(/[\uD800-\uDBFF]$/, "")
    .trimEnd()}…`
}
