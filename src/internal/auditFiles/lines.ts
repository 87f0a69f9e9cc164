/** The lines of a file, from its start, and the last of them, from its end. */
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import type { PlatformError } from "effect/PlatformError"
import * as Stream from "effect/Stream"

export interface Line {
  readonly text: string
  /** Where it begins, in bytes. */
  readonly start: number
  /** Where the next one begins. */
  readonly end: number
}

const newline = 0x0a
const chunkSize = 256 * 1024

/** The lines among the first `length` bytes; what follows the last newline is a line too. */
export const lines = (file: FileSystem.File, length: number): Stream.Stream<Line, PlatformError> =>
  Stream.suspend(() => {
    const decoder = new TextDecoder()
    let rest = new Uint8Array(0)
    return Stream.paginate(
      0,
      Effect.fnUntraced(function* (position: number) {
        const chunk = yield* readAt(file, position, Math.min(chunkSize, length - position))
        const start = position - rest.length
        const bytes = rest.length === 0 ? chunk : concat(rest, chunk)
        const found: Array<Line> = []
        let from = 0
        for (let at = bytes.indexOf(newline); at >= 0; at = bytes.indexOf(newline, from)) {
          found.push({
            text: decoder.decode(bytes.subarray(from, at)),
            start: start + from,
            end: start + at + 1
          })
          from = at + 1
        }
        rest = bytes.subarray(from)
        const next = position + chunk.length
        if (chunk.length > 0 && next < length) return [found, Option.some(next)] as const
        if (rest.length > 0) found.push({ text: decoder.decode(rest), start: start + from, end: next })
        return [found, Option.none<number>()] as const
      })
    )
  })

/** Where the last whole line among the first `length` bytes ends; 0 where there is none. */
export const wholeEnd = (file: FileSystem.File, length: number): Effect.Effect<number, PlatformError> =>
  Effect.map(newlineBefore(file, length), (at) => at + 1)

/** The last line of a file that ends with a whole one. */
export const lastLine = Effect.fnUntraced(function* (file: FileSystem.File, length: number) {
  const start = (yield* newlineBefore(file, length - 1)) + 1
  return new TextDecoder().decode(yield* readAt(file, start, length - 1 - start))
})

/** Where a line says that it stands; `undefined` for what is no record. */
export const decode = (text: string): { readonly sequence: number; readonly time: number } | undefined => {
  const head = /^\{"v":\d+,"sequence":(\d{1,15}),"time":(-?\d{1,15})[,}]/.exec(text)
  return head === null ? undefined : { sequence: Number(head[1]), time: Number(head[2]) }
}

const newlineBefore = Effect.fnUntraced(function* (file: FileSystem.File, before: number) {
  for (let end = before; end > 0; ) {
    const start = Math.max(0, end - 64 * 1024)
    const at = (yield* readAt(file, start, end - start)).lastIndexOf(newline)
    if (at >= 0) return start + at
    end = start
  }
  return -1
})

/** So many bytes from there on, or fewer where the file ends. */
export const readAt = Effect.fnUntraced(function* (file: FileSystem.File, position: number, size: number) {
  const bytes = new Uint8Array(size)
  let filled = 0
  while (filled < size) {
    const read = yield* file.read(bytes.subarray(filled), { position: BigInt(position + filled) })
    if (read === 0) break
    filled += read
  }
  return filled === size ? bytes : bytes.subarray(0, filled)
})

const concat = (a: Uint8Array, b: Uint8Array): Uint8Array<ArrayBuffer> => {
  const joined = new Uint8Array(a.length + b.length)
  joined.set(a)
  joined.set(b, a.length)
  return joined
}
