/**
 * Notes that a model keeps for somebody: saving, reading, listing, searching,
 * deleting. Each is a file of Markdown, named by what it says: saving the same
 * title and content again changes nothing, however often a call is repeated.
 *
 * Everybody has notes of their own unless `by` says otherwise. An id is 32
 * hexadecimal digits, so nothing that a call names is a path, and files are held as
 * those of `Files` are. A note that somebody has rewritten keeps its id; what was
 * saved as it is then not saved again.
 */
import { mkdir } from "node:fs/promises"
import type * as Tool from "effect/ai/Tool"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Handlers from "../Handlers.ts"
import { whole } from "../internal/options.ts"
import { CurrentPrincipal } from "../Principal.ts"
import { FileError, fromSystem } from "./files/FileError.ts"
import { openTree } from "./files/open.ts"
import type { Tree } from "./files/tree.ts"
import { folderOf } from "./notes/note.ts"
import { Notebook } from "./notes/notebook.ts"
import { toolkit } from "./notes/toolkit.ts"

export { FileError } from "./files/FileError.ts"
export { toolkit } from "./notes/toolkit.ts"

const amount = Schema.optionalKey(Schema.Int.check(Schema.isGreaterThanOrEqualTo(0)))

/** Where notes are, whose, and how many. */
export const Options = Schema.Struct({
  /** The folder; made, with mode 0700, where it is not there yet. */
  directory: Schema.NonEmptyString,
  /** Who has notes in common: nobody (`principal`, the default), those of a `tenant`, or `everyone`. */
  by: Schema.optionalKey(Schema.Literals(["principal", "tenant", "everyone"])),
  /** The most bytes of one note with its title; 65,536. */
  maxNoteBytes: amount,
  /** The most bytes, in blocks of 4 KiB, by which the notes may grow while the layer lives; 100 MiB. */
  quota: amount
})
export type Options = typeof Options.Type

/**
 * Handlers of the five tools. It fails where the folder cannot be made or opened; an option that makes no sense is a
 * `RangeError`.
 */
export const layer = (options: Options): Layer.Layer<Tool.HandlersFor<typeof toolkit.tools>, FileError> => {
  const { by = "principal", directory } = options
  const settings = {
    roots: { path: directory },
    hidden: false,
    hardLinks: false,
    maxFileBytes: whole("Notes: maxNoteBytes", options.maxNoteBytes ?? 65_536, 0),
    quota: whole("Notes: quota", options.quota ?? 100 * 1_048_576, 0)
  }
  const made = attempt(directory, () => mkdir(directory, { recursive: true, mode: 0o700 }))
  return Handlers.toLayer(
    toolkit,
    Effect.map(Effect.andThen(made, openTree(settings)), (tree): Handlers.Handlers<typeof toolkit.tools> => {
      const on = withNotebook(tree, by)
      return {
        note_save: ({ content, title }) => on((notebook) => notebook.save({ title: title.trim(), content })),
        note_read: ({ id }) => on((notebook) => notebook.read(id)),
        note_list: ({ limit = 50, offset = 0 }) => on((notebook) => notebook.list(offset, limit)),
        note_search: ({ limit = 20, text }) => on((notebook) => notebook.search(text, limit)),
        note_delete: ({ id }) => on(async (notebook) => ({ deleted: await notebook.delete(id) }))
      }
    })
  )
}

/** The notes of whoever calls. */
const withNotebook =
  (tree: Tree, by: NonNullable<Options["by"]>) =>
  <A>(use: (notebook: Notebook) => Promise<A>): Effect.Effect<A, FileError> =>
    Effect.flatMap(CurrentPrincipal, (principal) =>
      attempt("notes", (signal) => use(new Notebook(tree, folderOf(by, principal), signal)))
    )

const attempt = <A>(path: string, run: (signal: AbortSignal) => Promise<A>): Effect.Effect<A, FileError> =>
  Effect.catch(Effect.tryPromise({ try: run, catch: (error) => fromSystem(path, error) }), (error) =>
    error instanceof FileError ? Effect.fail(error) : Effect.die(error)
  )
