/** The tools that read and change files: what they take, give and say of themselves. */
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as Schema from "effect/Schema"
import type { Capability } from "../../Capability.ts"
import * as ToolAnnotations from "../../ToolAnnotations.ts"
import { classify, FileError } from "./FileError.ts"

const path = Schema.String.annotate({
  description: 'A relative path with / between names, such as "docs/plan.md".'
})
const folder = Schema.optionalKey(
  Schema.String.annotate({ description: "A relative path of a folder; everything by default." })
)
const counted = (most: number, description: string) =>
  Schema.optionalKey(
    Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: most })).annotate({ description })
  )
/** The most that is listed or found in one call. */
const mostResults = 1_000

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
    .annotate(ToolAnnotations.Capabilities, [capability, "file_system"])
    .annotate(ToolAnnotations.Classify, classify)
    .annotate(ToolAnnotations.Bulkhead, { maxConcurrent: 32, maxQueue: 1_000 }) as T

const reads = { readonly: true, destructive: false }
const destroys = { readonly: false, destructive: true }
const fails = { failure: FileError, failureMode: "return" } as const

export const toolkit = Toolkit.make(
  says(
    Tool.make("file_read", {
      description:
        "Reads a file, or a part of it: by lines of text, or by offset and length in bytes. Where it is cut, nextOffset and nextLine say where to go on.",
      parameters: Schema.Struct({
        path,
        encoding: Schema.optionalKey(
          Schema.Literals(["text", "base64"]).annotate({
            description: "text (UTF-8) by default; base64 for anything else."
          })
        ),
        line: counted(1e9, "The first line, from 1."),
        lines: counted(1e9, "How many lines."),
        offset: Schema.optionalKey(
          Schema.Int.check(Schema.isGreaterThanOrEqualTo(0)).annotate({
            description: "The first byte, from 0."
          })
        ),
        length: counted(1e9, "How many bytes.")
      }),
      success: Schema.Struct({
        content: Schema.String,
        encoding: Schema.Literals(["text", "base64"]),
        size: Schema.Int,
        nextOffset: Schema.optionalKey(Schema.Int),
        nextLine: Schema.optionalKey(Schema.Int)
      }),
      ...fails
    }),
    "read_data",
    reads
  ),
  says(
    Tool.make("file_list", {
      description: "Lists what is in a folder, by name. Where there is more, next is what to pass as after.",
      parameters: Schema.Struct({
        path: folder,
        after: Schema.optionalKey(Schema.String),
        limit: counted(mostResults, "How many at most; 200 by default.")
      }),
      success: Schema.Struct({
        entries: Schema.Array(
          Schema.Struct({
            name: Schema.String,
            type: Schema.Literals(["file", "folder", "link", "other"]),
            size: Schema.optionalKey(Schema.Int),
            modified: Schema.optionalKey(Schema.String)
          })
        ),
        next: Schema.optionalKey(Schema.String)
      }),
      ...fails
    }),
    "read_data",
    reads
  ),
  says(
    Tool.make("file_search", {
      description:
        'Finds files and folders by name with a glob ("*.md", or "src/**/*.ts" for a path), lines of files by a text in them, or both.',
      parameters: Schema.Struct({
        path: folder,
        glob: Schema.optionalKey(Schema.NonEmptyString),
        text: Schema.optionalKey(Schema.NonEmptyString.check(Schema.isMaxLength(1_000))),
        caseSensitive: Schema.optionalKey(
          Schema.Boolean.annotate({ description: "Of text; false by default." })
        ),
        limit: counted(mostResults, "How many at most; 100 by default.")
      }),
      success: Schema.Struct({
        matches: Schema.Array(
          Schema.Struct({
            path: Schema.String,
            type: Schema.optionalKey(Schema.Literals(["file", "folder"])),
            line: Schema.optionalKey(Schema.Int),
            text: Schema.optionalKey(Schema.String)
          })
        ),
        searched: Schema.Int,
        skipped: Schema.Int,
        truncated: Schema.Boolean
      }),
      ...fails
    }),
    "read_data",
    reads
  ),
  says(
    Tool.make("file_write", {
      description:
        "Writes a file as a whole. One that is there is replaced only with overwrite, and stays what it was until the new one is complete.",
      parameters: Schema.Struct({
        path,
        content: Schema.String,
        encoding: Schema.optionalKey(
          Schema.Literals(["text", "base64"]).annotate({ description: "Of content; text by default." })
        ),
        overwrite: Schema.optionalKey(
          Schema.Boolean.annotate({ description: "Whether to replace a file; false by default." })
        ),
        parents: Schema.optionalKey(
          Schema.Boolean.annotate({ description: "Whether to make missing folders; false by default." })
        )
      }),
      success: Schema.Struct({
        written: Schema.Literals(["created", "replaced", "unchanged"]),
        size: Schema.Int
      }),
      ...fails
    }),
    "write_data",
    destroys
  ),
  says(
    Tool.make("file_delete", {
      description:
        "Deletes a file, a link, or an empty folder. Of what is not there it says so, and fails not.",
      parameters: Schema.Struct({ path }),
      success: Schema.Struct({ deleted: Schema.Boolean }),
      ...fails
    }),
    "delete_data",
    destroys
  )
)
