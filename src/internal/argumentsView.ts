/**
 * What may be said of a call's arguments without saying them: a keyed hash, a
 * shape, and the arguments with every secret masked. All are worked out when
 * first read, so that a call pays next to nothing; the arguments are let go of then.
 * Large ones are viewed at once, so that records kept in memory stay small.
 */
import { hmac } from "@noble/hashes/hmac.js"
import { sha256 } from "@noble/hashes/sha2.js"
import { bytesToHex, utf8ToBytes } from "@noble/hashes/utils.js"
import * as Redacted from "effect/Redacted"
import type { View } from "../Redaction.ts"
import type { Measured } from "./argumentLimits.ts"

/** Above this many bytes of JSON the view is worked out at once. */
const keepBelow = 2048

/**
 * JSON with the keys of every object in one order, so that equal arguments hash
 * alike. For acyclic values of bounded depth; what JSON cannot say is named.
 */
export const canonicalJson = (value: unknown): string => {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(",")}]`
  if (value === null || typeof value !== "object") {
    return typeof value === "bigint" ? `"${value}n"` : (JSON.stringify(value) ?? "null")
  }
  // What was decoded may be of a class whose JSON does not tell one value from another.
  if (Redacted.isRedacted(value)) return canonicalJson(Redacted.value(value))
  if (value instanceof Map || value instanceof Set) return canonicalJson([...value])
  if ("toJSON" in value && typeof value.toJSON === "function") return canonicalJson(value.toJSON())
  const record = value as Record<string, unknown>
  const parts = Object.keys(record)
    .filter((key) => record[key] !== undefined)
    .sort()
    .map((key) => `${JSON.stringify(key)}:${canonicalJson(record[key])}`)
  return `{${parts.join(",")}}`
}

/** HMAC-SHA-256 of the canonical JSON, in hexadecimal. */
export const keyedHash = (key: Uint8Array, value: unknown): string =>
  bytesToHex(hmac(sha256, key, utf8ToBytes(canonicalJson(value))))

/** The shape of a value: kinds and sizes, and only those keys that the tool's schema names itself. */
const shapeOf = (value: unknown, names: ReadonlySet<string>, depth = 0): string => {
  if (value === null) return "null"
  if (Array.isArray(value)) {
    return value.length === 0 ? "[]" : `[${value.length} × ${shapeOf(value[0], names, depth + 1)}]`
  }
  if (typeof value !== "object") return typeof value
  if (depth > 4) return "{…}"
  const parts: Array<string> = []
  let others = 0
  for (const key of Object.keys(value)) {
    if (names.has(key) && parts.length < 20) {
      parts.push(`${key}: ${shapeOf((value as Record<string, unknown>)[key], names, depth + 1)}`)
    } else others++
  }
  if (others > 0) parts.push(`${others} other`)
  return `{ ${parts.join(", ")} }`
}

/** What turns raw arguments into what may be said of them. */
export interface Viewer {
  readonly hashKey: Uint8Array
  /** The property names that the tool's schema uses itself. */
  readonly names: ReadonlySet<string>
  /** Decoding hands parts of the arguments on, to a handler that may change them. */
  readonly sharesInput: boolean
  readonly redact: (raw: unknown) => View
}

const nothing: View = { value: undefined, masked: [] }

export class ArgumentsView {
  /** The arguments, or their JSON where whoever has them may change them. */
  #kept: unknown
  #viewer: Viewer | undefined
  #hash: string | undefined
  #shape: string
  #view: View = nothing

  private constructor(viewer: Viewer | undefined, kept: unknown, shape: string) {
    this.#viewer = viewer
    this.#kept = kept
    this.#shape = shape
  }

  /** The view of arguments that were found to be JSON. */
  static of(viewer: Viewer, { bytes, copy = {} }: Measured): ArgumentsView {
    const view = new ArgumentsView(viewer, viewer.sharesInput ? JSON.stringify(copy) : copy, "")
    if (bytes > keepBelow) view.#read()
    return view
  }

  /** The view of arguments that were never looked into. */
  static refused(why: string): ArgumentsView {
    return new ArgumentsView(undefined, undefined, why)
  }

  /** Of a call that ended before anything looked at its arguments. */
  static readonly unseen: ArgumentsView = ArgumentsView.refused("not looked into")

  /** Keyed; `undefined` where the arguments were refused before anything walked them. */
  get hash(): string | undefined {
    this.#read()
    return this.#hash
  }

  get shape(): string {
    this.#read()
    return this.#shape
  }

  /** The arguments with every secret masked; `undefined` where they were refused before anything walked them. */
  get view(): View {
    this.#read()
    return this.#view
  }

  toJSON(): { readonly hash: string | undefined; readonly shape: string } {
    return { hash: this.hash, shape: this.shape }
  }

  #read(): void {
    if (this.#viewer === undefined) return
    const { hashKey, names, redact, sharesInput } = this.#viewer
    const value: unknown = sharesInput ? JSON.parse(this.#kept as string) : this.#kept
    this.#kept = undefined
    this.#viewer = undefined
    this.#hash = keyedHash(hashKey, value)
    this.#shape = shapeOf(value, names)
    this.#view = redact(value)
  }
}
