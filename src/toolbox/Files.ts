/**
 * Files inside of roots: reading, listing, searching, writing, deleting.
 *
 * No path, link or race leaves a root. Paths are relative, are walked name by name
 * from the folder that was opened when the layer was built, and never follow a link
 * out of it; only files and folders are opened, so that no device answers and no
 * pipe waits. On Linux that is held by the kernel, whatever anybody exchanges
 * meanwhile (see `files/directory.ts`). Where there is no `/proc` it is checked
 * before and after, and a warning is logged when the layer is built: there nobody
 * else should be able to change the roots.
 *
 * What is not kept out: whoever may move a folder of a root to another place moves
 * what is written into it at that moment, too; and a root is what its path led to
 * when the layer was built, whatever that path leads to later.
 */
import type * as Tool from "effect/ai/Tool"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Handlers from "../Handlers.ts"
import { whole } from "../internal/options.ts"
import { type FileError, fileError } from "./files/FileError.ts"
import { list } from "./files/list.ts"
import { shown } from "./files/names.ts"
import { openTree } from "./files/open.ts"
import { read } from "./files/read.ts"
import { search } from "./files/search.ts"
import { toolkit } from "./files/toolkit.ts"
import type { RootOptions, Settings } from "./files/tree.ts"
import { remove, write } from "./files/write.ts"

export { FileError } from "./files/FileError.ts"
export { toolkit } from "./files/toolkit.ts"

// --- Options ---------------------------------------------------------------

const Root = Schema.Union([
  Schema.NonEmptyString,
  Schema.Struct({
    path: Schema.NonEmptyString,
    /** Whether its files can only be read; `false`. */
    readonly: Schema.optionalKey(Schema.Boolean)
  })
])

const amount = Schema.optionalKey(Schema.Int.check(Schema.isGreaterThanOrEqualTo(0)))

/** Which folders, and how much. */
export const Options = Schema.Struct({
  /**
   * One folder, in which paths begin; or several by name, whose name paths begin with. A name is one word of letters,
   * digits, `_` and `-`.
   */
  roots: Schema.Union([Root, Schema.Record(Schema.String, Root)]),
  /** Whether names that begin with a dot are there for the tools; `false`. */
  hidden: Schema.optionalKey(Schema.Boolean),
  /** Whether files with more than one name are read, of which one may be outside of the root; `false`. */
  hardLinks: Schema.optionalKey(Schema.Boolean),
  /** The most bytes that one call reads; 262,144. */
  maxReadBytes: amount,
  /** The most bytes of a file that is written, or looked through for text or lines; 8 MiB. */
  maxFileBytes: amount,
  /** The most bytes, in blocks of 4 KiB, by which the tools may make the roots grow while the layer lives; 100 MiB. */
  quota: amount
})
export type Options = typeof Options.Type

const settingsOf = (options: Options): Settings => ({
  roots: rootsOf(options.roots),
  hidden: options.hidden ?? false,
  hardLinks: options.hardLinks ?? false,
  maxFileBytes: whole("Files: maxFileBytes", options.maxFileBytes ?? 8 * 1_048_576, 0),
  quota: whole("Files: quota", options.quota ?? 100 * 1_048_576, 0)
})

const rootsOf = (roots: Options["roots"]): Settings["roots"] => {
  if (isRoot(roots)) return rootOf(roots)
  const named = Object.entries(roots)
  if (named.length === 0) throw new RangeError("Files: roots must name a folder")
  for (const [name] of named) {
    if (!/^[\w-]{1,64}$/.test(name)) {
      throw new RangeError(
        `Files: the name of a root must be a word of letters, digits, _ and -, got ${JSON.stringify(name)}`
      )
    }
  }
  return new Map(named.map(([name, root]) => [name, rootOf(root)]))
}

export type Root = typeof Root.Type

/** Whether it is one folder, and not several by name. */
export const isRoot = (roots: Options["roots"]): roots is Root =>
  typeof roots === "string" ||
  (typeof roots.path === "string" && Object.keys(roots).every((key) => key === "path" || key === "readonly"))
const rootOf = (root: Root): RootOptions => (typeof root === "string" ? { path: root } : root)

// --- Layer -----------------------------------------------------------------

/**
 * Handlers of the five tools. It fails where a root is not a folder, or may not be opened; an option that makes no sense
 * is a `RangeError`.
 */
export const layer = (options: Options): Layer.Layer<Tool.HandlersFor<typeof toolkit.tools>, FileError> => {
  const settings = settingsOf(options)
  const most = whole("Files: maxReadBytes", options.maxReadBytes ?? 262_144, 4)
  return Handlers.toLayer(
    toolkit,
    Effect.map(
      openTree(settings),
      (tree): Handlers.Handlers<typeof toolkit.tools> => ({
        file_read: (request, { signal }) => read(tree, request, most, signal),
        file_list: ({ after, limit = 200, path = "" }, { signal }) =>
          list(tree, { path, after, limit }, signal),
        file_search: ({ caseSensitive = false, limit = 100, path = "", ...request }, { signal }) =>
          search(tree, { ...request, path, caseSensitive, limit }, signal),
        file_write: async ({ content, encoding, overwrite = false, parents = false, path }, { signal }) => {
          const bytes = bytesOf(path, content, encoding)
          const written = await write(tree, { path, bytes, overwrite, parents }, signal)
          return { written, size: bytes.length }
        },
        file_delete: async ({ path }, { signal }) => ({ deleted: await remove(tree, path, signal) })
      })
    )
  )
}

const bytesOf = (path: string, content: string, encoding: "text" | "base64" = "text"): Uint8Array => {
  const bytes = Buffer.from(content, encoding === "text" ? "utf8" : "base64")
  // Node makes something of anything.
  if (encoding === "text" ? content.isWellFormed() : bytes.toString("base64") === content) return bytes
  const wanted = encoding === "text" ? "well-formed Unicode" : "base64 with its padding"
  throw fileError("not_text", shown(path), `was given content that is not ${wanted}`)
}
