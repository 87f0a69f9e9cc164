/** Why something could not be done with a file. */
import * as Schema from "effect/Schema"
import type { Classification } from "../../ToolAnnotations.ts"

export const Reason = Schema.Literals([
  /** Not a relative path of names and slashes, or a name that no file may have. */
  "invalid_path",
  /** A link leads out of the root, or in circles. */
  "outside",
  "not_found",
  /** A folder, a device, a pipe or a socket where a file is wanted. */
  "not_a_file",
  "not_a_folder",
  /** The same file has another name, which may be outside of the root. */
  "hard_link",
  /** There is something of that name, and it was not to be replaced. */
  "exists",
  "not_empty",
  /** The system's permissions, a root that is only read, or a hidden name. */
  "denied",
  /** More bytes, entries or lines than there may be, or than there are. */
  "size",
  "not_text",
  /** The disk, or what the tools may add to it, is used up. */
  "no_space",
  /** It was replaced while it was being opened. */
  "changed",
  /** Too many files are open. */
  "busy",
  /** The disk failed. */
  "io"
])
export type Reason = typeof Reason.Type

/** Why something could not be done with a file. `path` is as it was given, and never one of the system. */
export class FileError extends Schema.TaggedError<FileError>("interlock/toolbox/FileError")("FileError", {
  reason: Reason,
  path: Schema.String,
  message: Schema.String
}) {}

export const fileError = (reason: Reason, path: string, why: string): FileError =>
  new FileError({ reason, path, message: `"${path}" ${why}` })

/** The same error of what is called otherwise where it is told. */
export const renamed = ({ message, path, reason }: FileError, name: string): FileError =>
  new FileError({ reason, path: name, message: message.replace(`"${path}"`, () => `"${name}"`) })

/** Whether to try again: what is only so for a moment. */
export const classify = (error: unknown): Classification | undefined => {
  if (!(error instanceof FileError)) return undefined
  if (error.reason === "busy") return { class: "Overload" }
  return error.reason === "changed" || error.reason === "io" ? { class: "Retryable" } : undefined
}

const byCode: Readonly<Record<string, readonly [Reason, string]>> = {
  ENOENT: ["not_found", "does not exist"],
  ENOTDIR: ["not_a_folder", "is not a folder"],
  EISDIR: ["not_a_file", "is a folder"],
  EEXIST: ["exists", "exists already"],
  ENOTEMPTY: ["not_empty", "is a folder that is not empty"],
  EACCES: ["denied", "may not be accessed"],
  EPERM: ["denied", "may not be accessed"],
  EROFS: ["denied", "can only be read"],
  ENOSPC: ["no_space", "has no room: the disk is full"],
  EDQUOT: ["no_space", "has no room: the disk is full"],
  EFBIG: ["size", "would be too large"],
  ENAMETOOLONG: ["invalid_path", "is too long"],
  EINVAL: ["invalid_path", "is no name for a file"],
  EILSEQ: ["invalid_path", "is no name for a file"],
  ELOOP: ["changed", "was replaced by something else meanwhile"],
  EMFILE: ["busy", "cannot be opened: too many files are"],
  ENFILE: ["busy", "cannot be opened: too many files are"],
  EBUSY: ["busy", "is in use by the system"]
}

/** What the system said, without what it names; what is no error of the system is left as it is. */
export const fromSystem = (path: string, error: unknown): unknown => {
  const code = codeOf(error)
  if (code === undefined) return error
  const [reason, why] = byCode[code] ?? ["io", `could not be accessed (${code})`]
  return fileError(reason, path, why)
}

/** The code of an error of the system. */
export const codeOf = (error: unknown): string | undefined =>
  error instanceof Error && "syscall" in error && "code" in error && typeof error.code === "string"
    ? error.code
    : undefined
