/** The tools that keep notes: what they take, give and say of themselves. */
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as Schema from "effect/Schema"
import type { Capability } from "../../Capability.ts"
import * as ToolAnnotations from "../../ToolAnnotations.ts"
import { classify, FileError } from "../files/FileError.ts"
import { isId } from "./note.ts"

const id = Schema.String.check(
  Schema.isPattern(isId, { message: "it is no id of a note, which has 32 hexadecimal digits" })
)
const title = Schema.String.check(
  Schema.isMaxLength(200),
  Schema.isPattern(/^[^\p{Cc}\p{Zl}\p{Zp}]*[^\s\p{Cc}\p{Zl}\p{Zp}][^\p{Cc}\p{Zl}\p{Zp}]*$/u, {
    message: "it is no title, which is one line and not blank"
  })
).annotate({ description: "One line, of at most 200 characters." })
const counted = (minimum: number, maximum: number, description: string) =>
  Schema.optionalKey(Schema.Int.check(Schema.isBetween({ minimum, maximum })).annotate({ description }))

const listed = { id, title: Schema.String, modified: Schema.String }

const says = <T extends Tool.Any>(
  tool: T,
  capability: Capability,
  { destructive, readonly }: { readonly readonly: boolean; readonly destructive: boolean }
): T =>
  tool
    .annotate(Tool.Readonly, readonly)
    .annotate(Tool.Destructive, destructive)
    .annotate(Tool.Idempotent, true)
    .annotate(Tool.OpenWorld, false)
    .annotate(ToolAnnotations.Capabilities, [capability])
    .annotate(ToolAnnotations.Classify, classify)
    .annotate(ToolAnnotations.Bulkhead, { maxConcurrent: 32, maxQueue: 1_000 }) as T

const reads = { readonly: true, destructive: false }
const fails = { failure: FileError, failureMode: "return" } as const

export const toolkit = Toolkit.make(
  says(
    Tool.make("note_save", {
      description:
        "Saves a note for later. Saving the same title and content again changes nothing; anything else is another note.",
      parameters: Schema.Struct({
        title,
        content: Schema.String.annotate({ description: "Markdown, or any text." })
      }),
      success: Schema.Struct({ id, saved: Schema.Literals(["created", "unchanged"]) }),
      ...fails
    }),
    "write_data",
    { readonly: false, destructive: false }
  ),
  says(
    Tool.make("note_read", {
      description: "Reads a note by the id that saving, listing or searching gave.",
      parameters: Schema.Struct({ id }),
      success: Schema.Struct({ ...listed, content: Schema.String }),
      ...fails
    }),
    "read_data",
    reads
  ),
  says(
    Tool.make("note_list", {
      description: "Lists notes, the one saved last first.",
      parameters: Schema.Struct({
        limit: counted(1, 200, "How many at most; 50 by default."),
        offset: counted(0, 1e9, "How many to pass over; 0 by default.")
      }),
      success: Schema.Struct({ notes: Schema.Array(Schema.Struct(listed)), total: Schema.Int }),
      ...fails
    }),
    "read_data",
    reads
  ),
  says(
    Tool.make("note_search", {
      description: "Finds notes in which all words are, in the title or the content, whatever their case.",
      parameters: Schema.Struct({
        text: Schema.NonEmptyString.check(Schema.isMaxLength(200)),
        limit: counted(1, 200, "How many at most; 20 by default.")
      }),
      success: Schema.Struct({
        notes: Schema.Array(Schema.Struct({ ...listed, excerpt: Schema.String })),
        more: Schema.Boolean
      }),
      ...fails
    }),
    "read_data",
    reads
  ),
  says(
    Tool.make("note_delete", {
      description: "Deletes a note. Of what is not there it says so, and does not fail.",
      parameters: Schema.Struct({ id }),
      success: Schema.Struct({ deleted: Schema.Boolean }),
      ...fails
    }),
    "delete_data",
    { readonly: false, destructive: true }
  )
)
