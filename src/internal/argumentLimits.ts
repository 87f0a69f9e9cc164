/**
 * The limits on arguments, enforced before anything else walks them.
 *
 * Whatever comes gets an answer: the walk keeps its own stack, invokes no
 * getter and stops at the first limit exceeded. What JSON cannot say is
 * refused, so that validation, rules and hashes later on meet plain data only.
 */
import type { Reason } from "../ToolError.ts"
import * as ArgumentPath from "./argumentPath.ts"

export interface ArgumentLimits {
  /** The UTF-8 size of the arguments as compact JSON text. */
  readonly bytes: number
  /** Levels of objects and arrays; `{}` is one. */
  readonly depth: number
  /** UTF-16 units of one string, keys included. */
  readonly stringLength: number
  /** Elements and properties in all. */
  readonly items: number
}

export const defaults: ArgumentLimits = { bytes: 1_048_576, depth: 32, stringLength: 262_144, items: 10_000 }

export type Refusal = Extract<Reason, { readonly _tag: "ArgumentsRefused" }>

/** The size of arguments within the limits, or why they are refused. Never throws. */
export const inspect = (
  params: unknown,
  limits: ArgumentLimits
): { readonly _tag: "Ok"; readonly bytes: number } | Refusal => {
  try {
    return walk(params, limits)
  } catch {
    // Only a proxy's trap can throw here.
    return refuse("json", "The arguments are not JSON: they cannot be read")
  }
}

/** An object or array being walked, and how far. */
interface Frame {
  readonly node: object
  /** `undefined` for an array. */
  readonly keys: ReadonlyArray<string> | undefined
  readonly length: number
  index: number
  /** An absent property writes no comma. */
  written: number
}

function walk(params: unknown, limits: ArgumentLimits): ReturnType<typeof inspect> {
  const stack: Array<Frame> = []
  let frame: Frame | undefined
  let bytes = 0
  let items = 0
  let value = params
  if (value === undefined) return { _tag: "Ok", bytes }

  for (;;) {
    switch (typeof value) {
      case "string":
        if (value.length > limits.stringLength) {
          return tooMuch(
            stack,
            "stringLength",
            `${here(stack)} longer than ${limits.stringLength} characters`
          )
        }
        // A text too large by its length alone is not worth counting.
        bytes += bytes + value.length > limits.bytes ? value.length : stringBytes(value)
        break
      case "number":
        if (!Number.isFinite(value)) return refuse("json", `${place(stack)} must be a finite number`)
        bytes += value >= 0 && value < 10 && Number.isInteger(value) ? 1 : String(value).length
        break
      case "boolean":
        bytes += value ? 4 : 5
        break
      case "object": {
        if (value === null) {
          bytes += 4
          break
        }
        const foreign = notJson(value)
        if (foreign !== undefined) return refuse("json", `${here(stack)} not JSON: ${foreign}`)
        if (stack.length >= limits.depth) {
          return tooMuch(stack, "depth", `The arguments are nested deeper than ${limits.depth} levels`, value)
        }
        const keys = Array.isArray(value) ? undefined : Object.keys(value)
        const length: unknown = keys === undefined ? (value as Array<unknown>).length : keys.length
        if (!Number.isSafeInteger(length)) return refuse("json", `${here(stack)} not JSON: a proxy`)
        items += length as number
        if (items > limits.items) {
          return tooMuch(
            stack,
            "items",
            `The arguments hold more than ${limits.items} elements and properties`,
            value
          )
        }
        bytes += 2
        frame = { node: value, keys, length: length as number, index: -1, written: 0 }
        stack.push(frame)
        break
      }
      default:
        return refuse("json", `${here(stack)} not JSON: a ${typeof value}`)
    }
    if (bytes > limits.bytes) {
      return tooMuch(stack, "bytes", `The arguments are larger than ${limits.bytes} bytes of JSON`)
    }

    // On to the next value that is there.
    for (;;) {
      if (frame === undefined) return { _tag: "Ok", bytes }
      if (++frame.index >= frame.length) {
        stack.pop()
        frame = stack[stack.length - 1]
        continue
      }
      const key: string | number = frame.keys === undefined ? frame.index : frame.keys[frame.index]!
      if (key === "__proto__") return refuse("json", `${here(stack)} not allowed as a name`)
      // The descriptor, not the property: reading an accessor would run foreign code.
      const property = Object.getOwnPropertyDescriptor(frame.node, key)
      if (property !== undefined && !("value" in property)) {
        return refuse("json", `${here(stack)} not JSON: a computed property`)
      }
      value = property?.value
      if (value === undefined) {
        if (frame.keys !== undefined) continue
        return refuse("json", `${here(stack)} not JSON: undefined`)
      }
      if (frame.written++ > 0) bytes++
      if (typeof key === "string") {
        if (key.length > limits.stringLength) {
          return tooMuch(stack, "stringLength", `A name is longer than ${limits.stringLength} characters`)
        }
        bytes += stringBytes(key) + 1
      }
      break
    }
  }
}

/** The place the walk has reached, as the beginning of a sentence. */
const here = (stack: ReadonlyArray<Frame>): string => `${place(stack)} ${stack.length === 0 ? "are" : "is"}`

const place = (stack: ReadonlyArray<Frame>): string =>
  ArgumentPath.subject(stack.map((frame) => frame.keys?.[frame.index] ?? frame.index))

const refuse = (limit: Refusal["limit"], message: string): Refusal => ({
  _tag: "ArgumentsRefused",
  limit,
  message
})

/**
 * A cyclic value exceeds some limit sooner or later, so only then is it looked
 * for, and the common call pays nothing. `entering` is the value about to be walked.
 */
const tooMuch = (
  stack: ReadonlyArray<Frame>,
  limit: Refusal["limit"],
  message: string,
  entering?: object
): Refusal => {
  const seen = new Set<object>()
  for (let depth = 0; depth <= stack.length; depth++) {
    const node = depth < stack.length ? stack[depth]!.node : entering
    if (node === undefined) break
    if (seen.has(node)) {
      return refuse("json", `${here(stack.slice(0, depth))} not JSON: it contains itself`)
    }
    seen.add(node)
  }
  return refuse(limit, message)
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
