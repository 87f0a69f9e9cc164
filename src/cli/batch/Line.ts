/**
 * JSON Lines as they are read: numbered, decoded as UTF-8, one at a time, so that
 * neither a long file nor a long line takes memory. Empty lines count and are left
 * out; the last one need not end.
 */
import * as Stream from "effect/Stream"
import { whole } from "../../internal/options.ts"

export interface Line {
  /** From 1 on. */
  readonly number: number
  /** Without its end; of a line that is too long only the beginning. */
  readonly text: string
  /** Bytes of the input up to where it ends. */
  readonly end: number
  /** Why it cannot be read, for a person. */
  readonly problem: string | undefined
}

/** Bytes of a line; 4 MiB. A longer one is read past, and told of. */
export const defaultMaxBytes = 4_194_304

/** Splits bytes into lines at `\n` and `\r\n`. Throws a `RangeError` for a `maxBytes` that makes no sense. */
export const fromBytes = <E, R>(
  bytes: Stream.Stream<Uint8Array, E, R>,
  options: { readonly maxBytes?: number } = {}
): Stream.Stream<Line, E, R> => {
  const maxBytes = whole("Line: maxBytes", options.maxBytes ?? defaultMaxBytes)
  return Stream.mapAccumArray(
    bytes,
    () => new Splitter(maxBytes),
    (splitter, chunks) => [splitter, chunks.flatMap((chunk) => splitter.push(chunk))] as const,
    { onHalt: (splitter) => splitter.end() }
  )
}

class Splitter {
  readonly #maxBytes: number
  // A text that is not UTF-8 is no text: put right, it would be another call.
  readonly #decoder = new TextDecoder("utf-8", { fatal: true })
  readonly #lossy = new TextDecoder()
  #number = 0
  /** The beginning of a line whose end has not come. */
  #parts: Array<Uint8Array> = []
  #kept = 0
  #bytes = 0
  #end = 0

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes
  }

  push(chunk: Uint8Array): ReadonlyArray<Line> {
    const lines: Array<Line> = []
    let from = 0
    while (true) {
      const at = chunk.indexOf(newline, from)
      if (at < 0) break
      const line = this.#take(chunk.subarray(from, at), at - from + 1)
      if (line !== undefined) lines.push(line)
      from = at + 1
    }
    if (from < chunk.length) this.#keep(chunk.subarray(from))
    return lines
  }

  end(): ReadonlyArray<Line> {
    const line = this.#bytes === 0 ? undefined : this.#take(nothing, 0)
    return line === undefined ? [] : [line]
  }

  #keep(part: Uint8Array): void {
    this.#bytes += part.length
    const room = this.#maxBytes - this.#kept
    if (room <= 0) return
    // A copy: a piece of a chunk would keep all of it.
    this.#parts.push(part.slice(0, room))
    this.#kept += Math.min(room, part.length)
  }

  #take(last: Uint8Array, bytes: number): Line | undefined {
    const number = ++this.#number
    const length = this.#bytes + last.length
    this.#end += this.#bytes + bytes
    const end = this.#end
    const whole = this.#parts.length === 0 && length <= this.#maxBytes ? last : this.#join(last)
    this.#parts = []
    this.#kept = this.#bytes = 0
    const content = whole.at(-1) === carriageReturn ? whole.subarray(0, -1) : whole
    if (length > this.#maxBytes) {
      const problem = `it has ${length} bytes, and may have ${this.#maxBytes}`
      return { number, text: this.#lossy.decode(content), end, problem }
    }
    try {
      const text = this.#decoder.decode(content)
      return text.trim() === "" ? undefined : { number, text, end, problem: undefined }
    } catch {
      return { number, text: this.#lossy.decode(content), end, problem: "it is not UTF-8" }
    }
  }

  #join(last: Uint8Array): Uint8Array {
    this.#keep(last)
    const joined = new Uint8Array(this.#kept)
    let at = 0
    for (const part of this.#parts) {
      joined.set(part, at)
      at += part.length
    }
    return joined
  }
}

const newline = 10
const carriageReturn = 13
const nothing = new Uint8Array(0)
