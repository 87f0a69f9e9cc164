/** Reading files: all of one, or a part by bytes or by lines. */
import type { FileHandle } from "node:fs/promises"
import { fileError } from "./FileError.ts"
import { shown } from "./names.ts"
import { brokenEnd, brokenStart, decode, endOfLines } from "./text.ts"
import { readBytes, type Tree, type Use } from "./tree.ts"

export interface ReadRequest {
  readonly path: string
  readonly encoding?: "text" | "base64" | undefined
  /** The first line, from 1. */
  readonly line?: number | undefined
  readonly lines?: number | undefined
  /** The first byte, from 0. */
  readonly offset?: number | undefined
  readonly length?: number | undefined
}

export interface Content {
  readonly content: string
  readonly encoding: "text" | "base64"
  /** Of the whole file, in bytes. */
  readonly size: number
  /** Where to go on, where this is not the end. */
  readonly nextOffset?: number
  readonly nextLine?: number
}

/** Reads at most `most` bytes. Text is read in whole characters. */
export const read = (
  tree: Tree,
  { encoding = "text", length, line, lines, offset, path }: ReadRequest,
  most: number,
  signal?: AbortSignal
): Promise<Content> =>
  tree.use(path, signal, async (use) => {
    const byLines = line !== undefined || lines !== undefined
    if (byLines && (encoding !== "text" || offset !== undefined || length !== undefined)) {
      throw fileError(
        "size",
        shown(path),
        "is read by lines of text, or by offset and length, and not by both"
      )
    }
    const [file, { size }] = await tree.openFile(use, (await tree.find(use)).entry)
    const start = byLines ? await startOfLine(tree, use, file, size, line ?? 1) : (offset ?? 0)
    if (start > size) throw fileError("size", shown(path), `has only ${size} bytes`)
    // A character has up to four bytes, and a part of one would lead nowhere.
    const all = await readBytes(file, start, Math.min(most, Math.max(length ?? most, 4), size - start))
    const { end = all.length, found } = endOfLines(all, lines ?? Number.POSITIVE_INFINITY)
    const bytes = all.subarray(0, end)
    const isLast = start + end >= size
    const [content, until] =
      encoding === "base64"
        ? [Buffer.from(bytes).toString("base64"), end]
        : textOf(use, bytes, start > 0, !isLast)
    return {
      content,
      encoding,
      size,
      ...(isLast ? {} : { nextOffset: start + until }),
      ...(isLast || found !== lines ? {} : { nextLine: (line ?? 1) + found })
    }
  })

/** The whole characters of a part, and where they end. */
const textOf = (use: Use, bytes: Uint8Array, cutBefore: boolean, cutAfter: boolean): [string, number] => {
  const from = cutBefore ? brokenStart(bytes) : 0
  const to = Math.max(from, bytes.length - (cutAfter ? brokenEnd(bytes) : 0))
  const text = decode(bytes.subarray(from, to))
  if (text === undefined)
    throw fileError("not_text", shown(use.path), 'is not UTF-8 text: read it as "base64"')
  return [text, to]
}

const chunk = 65_536

/** Where a line begins. */
const startOfLine = async (
  tree: Tree,
  { path, signal }: Use,
  file: FileHandle,
  size: number,
  line: number
): Promise<number> => {
  let missing = line - 1
  let at = 0
  while (missing > 0) {
    signal?.throwIfAborted()
    if (at >= tree.settings.maxFileBytes) {
      throw fileError("size", shown(path), `has line ${line} too far behind to look for: read it by offset`)
    }
    const bytes = await readBytes(file, at, Math.min(chunk, Math.max(0, size - at)))
    if (bytes.length === 0) throw fileError("size", shown(path), `has only ${line - missing} lines`)
    const { end = bytes.length, found } = endOfLines(bytes, missing)
    missing -= found
    at += end
  }
  return at
}
