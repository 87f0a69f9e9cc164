/**
 * The limits on arguments, enforced before anything else looks at them, and a
 * copy of what is within them.
 *
 * Whatever comes gets an answer: the walk invokes no getter and stops at the
 * first limit exceeded. What JSON cannot say is refused, so that validation,
 * rules and hashes later on meet plain data only.
 *
 * What is hashed, shown to a human, decoded and run is read from the one copy
 * that is made as the arguments are measured. Else an object of a caller in this
 * process could say one thing as JSON and another to the decoder (`toJSON`,
 * hidden properties, a proxy), or be changed after a human has seen it.
 */
import type { Reason } from "../ToolError.ts"
import * as ArgumentPath from "./argumentPath.ts"

export interface ArgumentLimits {
  /** The UTF-8 size of the arguments as compact JSON text. */
  readonly bytes: number
  /** Levels of objects and arrays; `{}` is one. Never more than 1,000. */
  readonly depth: number
  /** UTF-16 units of one string, keys included. */
  readonly stringLength: number
  /** Elements and properties in all. */
  readonly items: number
}

export const defaults: ArgumentLimits = { bytes: 1_048_576, depth: 32, stringLength: 262_144, items: 10_000 }

export type Refusal = Extract<Reason, { readonly _tag: "ArgumentsRefused" }>

/** Arguments within the limits: their size as JSON, and a copy that nobody else has. */
export interface Measured {
  readonly _tag: "Ok"
  readonly bytes: number
  /** Own visible values only; what is `undefined` is left out, and there is one zero. */
  readonly copy: unknown
}

/** The size of arguments within the limits and a copy of them, or why they are refused. Never throws. */
export const inspect = (params: unknown, limits: ArgumentLimits): Measured | Refusal =>
  walk(params, limits, true)

/** Whether a value is within the limits. Never throws. */
export const fits = (value: unknown, limits: ArgumentLimits): boolean =>
  walk(value, limits, false)._tag === "Ok"

const walk = (params: unknown, limits: ArgumentLimits, copies: boolean): Measured | Refusal => {
  if (params === undefined) return { _tag: "Ok", bytes: 0, copy: undefined }
  const walk = new Walk(limits, copies)
  try {
    const copy = walk.value(params, 0)
    return walk.failure === undefined
      ? { _tag: "Ok", bytes: walk.bytes, copy }
      : refusalOf(walk.failure, limits)
  } catch {
    // Only a proxy's trap can throw here.
    return refuse("json", "The arguments are not JSON: they cannot be read")
  }
}

/** A process has stack for about ten times as much. */
const deepest = 1000

/** What exceeded which limit, and the way to it. */
interface Failure {
  readonly limit: Refusal["limit"]
  /** `undefined` where the limit says it all. */
  readonly what: string | undefined
  /** The value that was too much as soon as it began. */
  readonly entering: object | undefined
  readonly path: Array<string | number>
  readonly nodes: Array<object>
}

// No closures here: a function that has any allocates their variables whenever it begins.
class Walk {
  bytes = 0
  failure: Failure | undefined = undefined
  #items = 0
  readonly #limits: ArgumentLimits
  readonly #copies: boolean

  constructor(limits: ArgumentLimits, copies: boolean) {
    this.#limits = limits
    this.#copies = copies
  }

  /** Counts a value and gives its copy; what it gives after a failure means nothing. */
  value(value: unknown, depth: number): unknown {
    switch (typeof value) {
      case "string":
        this.#text(value, "longer than")
        return value
      case "number":
        if (!Number.isFinite(value)) return this.#fail("json", "must be a finite number")
        this.#count(value >= 0 && value < 10 && Number.isInteger(value) ? 1 : String(value).length)
        return value === 0 ? 0 : value
      case "boolean":
        this.#count(value ? 4 : 5)
        return value
      case "object":
        if (value !== null) return this.#node(value, depth)
        this.#count(4)
        return null
      default:
        return this.#fail("json", `not JSON: a ${typeof value}`)
    }
  }

  #node(node: object, depth: number): unknown {
    const foreign = notJson(node)
    if (foreign !== undefined) return this.#fail("json", `not JSON: ${foreign}`)
    if (depth >= this.#limits.depth || depth >= deepest) return this.#fail("depth", undefined, node)
    this.#count(2, node)
    return Array.isArray(node) ? this.#array(node, depth) : this.#record(node, depth)
  }

  #array(node: ReadonlyArray<unknown>, depth: number): unknown {
    const length: unknown = node.length
    if (!Number.isSafeInteger(length)) return this.#fail("json", "not JSON: a proxy")
    this.#enter(length as number, node)
    const copy: Array<unknown> | undefined = this.#copies ? [] : undefined
    for (let index = 0; index < (length as number) && this.failure === undefined; index++) {
      if (index > 0) this.bytes++
      const value = this.#read(Object.getOwnPropertyDescriptor(node, index))
      if (value === undefined && this.failure === undefined) this.#fail("json", "not JSON: undefined")
      const part = this.failure === undefined ? this.value(value, depth + 1) : undefined
      copy?.push(part)
      if (this.failure !== undefined) this.#cameFrom(node, index)
    }
    return copy
  }

  #record(node: object, depth: number): unknown {
    const copy: Record<string, unknown> | undefined = this.#copies ? {} : undefined
    let written = 0
    for (const key in node) {
      const property = Object.getOwnPropertyDescriptor(node, key)
      // Inherited names come too.
      if (property === undefined) continue
      if (key === "__proto__") this.#fail("json", "not allowed as a name")
      this.#enter(1, undefined)
      const value = this.#read(property)
      if (value !== undefined) {
        // An absent property writes no comma.
        if (written++ > 0) this.bytes++
        this.#text(key, "A name is longer than")
        this.bytes++
        if (this.failure === undefined) {
          const part = this.value(value, depth + 1)
          if (copy !== undefined) copy[key] = part
        }
      }
      if (this.failure !== undefined) {
        this.#cameFrom(node, key)
        return copy
      }
    }
    return copy
  }

  /** By the descriptor and not by the property: reading an accessor would run foreign code. */
  #read(property: PropertyDescriptor | undefined): unknown {
    if (property === undefined || "value" in property) return property?.value
    return this.#fail("json", "not JSON: a computed property")
  }

  #text(text: string, longer: string): void {
    const { bytes, stringLength } = this.#limits
    if (text.length > stringLength) this.#fail("stringLength", `${longer} ${stringLength} characters`)
    // A text too large by its length alone is not worth counting.
    else this.#count(this.bytes + text.length > bytes ? text.length : stringBytes(text))
  }

  #count(bytes: number, entering?: object): void {
    this.bytes += bytes
    if (this.bytes > this.#limits.bytes) this.#fail("bytes", undefined, entering)
  }

  #enter(items: number, entering: object | undefined): void {
    this.#items += items
    if (this.#items > this.#limits.items) this.#fail("items", undefined, entering)
  }

  /** The first failure counts. */
  #fail(limit: Refusal["limit"], what: string | undefined, entering?: object): undefined {
    this.failure ??= { limit, what, entering, path: [], nodes: [] }
    return undefined
  }

  #cameFrom(node: object, key: string | number): void {
    this.failure?.nodes.unshift(node)
    this.failure?.path.unshift(key)
  }
}

// --- What was wrong --------------------------------------------------------

const refuse = (limit: Refusal["limit"], message: string): Refusal => ({
  _tag: "ArgumentsRefused",
  limit,
  message
})

/** A cyclic value exceeds some limit sooner or later, so only then is it looked for, and the common call pays nothing. */
const refusalOf = ({ entering, limit, nodes, path, what }: Failure, limits: ArgumentLimits): Refusal => {
  const seen = new Set<object>()
  for (const [depth, node] of (entering === undefined ? nodes : [...nodes, entering]).entries()) {
    if (limit !== "json" && seen.has(node)) return refuse("json", sentence(path.slice(0, depth), itself))
    seen.add(node)
  }
  switch (limit) {
    case "depth":
      return refuse(limit, `The arguments are nested deeper than ${Math.min(limits.depth, deepest)} levels`)
    case "bytes":
      return refuse(limit, `The arguments are larger than ${limits.bytes} bytes of JSON`)
    case "items":
      return refuse(limit, `The arguments hold more than ${limits.items} elements and properties`)
    default:
      return refuse(limit, sentence(path, what ?? ""))
  }
}

const itself = "not JSON: it contains itself"

/** What is wrong at a place; some things are said as whole sentences. */
const sentence = (path: ReadonlyArray<string | number>, what: string): string => {
  if (what.startsWith("A name")) return what
  const place = ArgumentPath.subject(path)
  if (what.startsWith("must")) return `${place} ${what}`
  return `${place} ${path.length === 0 ? "are" : "is"} ${what}`
}

/** What a value is that JSON has no word for; `undefined` for plain objects and arrays. */
const notJson = (value: object): string | undefined => {
  const prototype: object | null = Object.getPrototypeOf(value)
  if (prototype === Object.prototype || prototype === null) return undefined
  // `Array.prototype` is itself an array, in every realm; a subclass's prototype is not.
  if (Array.isArray(value)) return Array.isArray(prototype) ? undefined : "an instance of a class"
  // The plain objects of another realm.
  if (Object.getPrototypeOf(prototype) === null && Object.hasOwn(prototype, "hasOwnProperty"))
    return undefined
  return value instanceof Date ? "a date" : "an instance of a class"
}

/** The UTF-8 size of a string as JSON text, quotes and escapes included. */
const stringBytes = (text: string): number => {
  let bytes = text.length + 2
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (code >= 0x20 && code < 0x80) {
      if (code === 0x22 || code === 0x5c) bytes++
    } else if (code < 0x20) {
      bytes += code === 8 || code === 9 || code === 10 || code === 12 || code === 13 ? 1 : 5
    } else if (code < 0x800) {
      bytes++
    } else if (code < 0xd800 || code > 0xdfff) {
      bytes += 2
    } else if (code < 0xdc00 && (text.charCodeAt(i + 1) & 0xfc00) === 0xdc00) {
      // A pair is two units and four bytes.
      bytes += 2
      i++
    } else {
      // A lone surrogate is written as \uXXXX.
      bytes += 5
    }
  }
  return bytes
}
