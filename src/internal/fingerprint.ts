/**
 * Whether two values are equal, without keeping them: numbers of 53 bits that are
 * equal for equal values, whatever the order of keys, and else as good as never.
 *
 * For what stays in this process and harms nobody when somebody makes two values
 * collide on purpose: a keyed hash that holds against that costs a call more than
 * all its other checks.
 */
import { randomBytesUnsafe } from "effect/crypto/SecureRandom"
import { canonicalJson } from "./argumentsView.ts"

/** Of values that are acyclic. Different each time it is made, so that a number says nothing elsewhere. */
export const make = (): ((value: unknown) => number) => {
  const [a, b] = new Int32Array(randomBytesUnsafe(8).buffer) as unknown as readonly [number, number]
  return (value) => new Reader(a, b).read(value)
}

// What a value is, so that `1` and `"1"` differ, and `["a"]` and `"a"`.
const text = 1
const integer = 2
const number = 3
const nothing = 4
const no = 5
const yes = 6
const list = 7
const record = 8
const other = 9

/** Two hashes of 32 bits over the same words, each of its own multiplier. */
class Reader {
  #a: number
  #b: number

  constructor(a: number, b: number) {
    this.#a = a
    this.#b = b
  }

  read(value: unknown): number {
    this.#value(value)
    const a = Math.imul(this.#a ^ (this.#a >>> 15), 0x85ebca6b)
    const b = Math.imul(this.#b ^ (this.#b >>> 13), 0xc2b2ae35)
    return ((a ^ (a >>> 16)) >>> 11) * 0x1_0000_0000 + ((b ^ (b >>> 16)) >>> 0)
  }

  #word(word: number): void {
    const a = Math.imul(this.#a ^ word, 0x9e3779b1)
    const b = Math.imul(this.#b ^ word, 0x5f356495)
    // A product carries upwards only, so what is above is brought down.
    this.#a = a ^ (a >>> 16)
    this.#b = b ^ (b >>> 17)
  }

  #text(kind: number, value: string): void {
    this.#word(kind)
    this.#word(value.length)
    // As `#word` does, in variables of its own: texts are most of what there is.
    let a = this.#a
    let b = this.#b
    for (let i = 0; i < value.length; i++) {
      const word = value.charCodeAt(i)
      a = Math.imul(a ^ word, 0x9e3779b1)
      a ^= a >>> 16
      b = Math.imul(b ^ word, 0x5f356495)
      b ^= b >>> 17
    }
    this.#a = a
    this.#b = b
  }

  #number(value: number): void {
    if ((value | 0) === value) {
      this.#word(integer)
      this.#word(value)
    } else if (Number.isFinite(value)) this.#text(number, String(value))
    else this.#word(nothing)
  }

  #value(value: unknown): void {
    if (typeof value === "string") this.#text(text, value)
    else if (typeof value === "number") this.#number(value)
    else if (typeof value === "boolean") this.#word(value ? yes : no)
    else if (typeof value === "bigint") this.#text(other, `${value}`)
    // What has no word in JSON is nothing there.
    else if (typeof value !== "object" || value === null) this.#word(nothing)
    else if (Array.isArray(value)) this.#list(value)
    else if (isPlain(value)) this.#record(value as Record<string, unknown>)
    else this.#text(other, canonicalJson(value))
  }

  #list(values: ReadonlyArray<unknown>): void {
    this.#word(list)
    this.#word(values.length)
    for (let i = 0; i < values.length; i++) this.#value(values[i])
  }

  #record(values: Record<string, unknown>): void {
    this.#word(record)
    for (const key of Object.keys(values).sort()) {
      const value = values[key]
      if (value === undefined) continue
      this.#text(text, key)
      this.#value(value)
    }
    this.#word(record)
  }
}

const isPlain = (value: object): boolean => {
  const prototype = Object.getPrototypeOf(value)
  return (prototype === Object.prototype || prototype === null) && !("toJSON" in value)
}
