/**
 * Paths as tools are given them: names with slashes between them, relative to a
 * root, and nothing else. Whatever some system reads as more than a name is
 * refused everywhere, so that a path means the same wherever it is used.
 */
import { fileError } from "./FileError.ts"

const maxLength = 4_096
/** In bytes: what almost every file system has. */
const maxNameBytes = 255
const maxNames = 64

/** The names of a path; none at all for the root. What is no such path is a `FileError`. */
export const namesOf = (path: string, windows = process.platform === "win32"): ReadonlyArray<string> => {
  const refuse = (why: string) => {
    throw fileError("invalid_path", shown(path), why)
  }
  if (path.length > maxLength) refuse(`is longer than ${maxLength} characters`)
  if (path.includes("\0")) refuse("has a NUL character")
  if (!path.isWellFormed()) refuse("is not well-formed Unicode")
  if (path.includes("\\")) refuse("has a backslash: names are separated by /")
  if (path.startsWith("/")) refuse("is absolute: paths are relative to the root and begin with a name")
  if (/^[a-z]:/i.test(path)) refuse("names a drive: paths are relative to the root and begin with a name")
  const names = path.split("/").filter((name) => name !== "" && name !== ".")
  if (names.includes("..")) refuse('leads upwards: ".." is not part of a path')
  if (names.length > maxNames) refuse(`has more than ${maxNames} names`)
  for (const name of names) {
    if (Buffer.byteLength(name) > maxNameBytes) refuse(`has a name of more than ${maxNameBytes} bytes`)
    if (windows && isOddOnWindows(name)) refuse("has a name that Windows reads as something else")
  }
  return names
}

/** Devices, streams, and names that lose their end. */
const isOddOnWindows = (name: string): boolean =>
  /[<>:"|?*\p{Cc}]|[. ]$/u.test(name) ||
  /^(?:con|prn|aux|nul|com[\d¹²³]|lpt[\d¹²³]|conin\$|conout\$) *(?:\..*)?$/i.test(name)

/** Names that no tool gives to what it creates: those that people cannot see, type or tell from others. */
export const checkNew = (path: string, name: string): void => {
  const odd = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cn}\p{Co}]|^\s|\s$/u.test(name) || name !== name.normalize("NFC")
  if (odd) {
    throw fileError(
      "invalid_path",
      shown(path),
      "has a new name with characters that are invisible, at its ends blank, or not composed (NFC)"
    )
  }
}

/** Names that are not there for tools: those that begin with a dot unless they are shown, and our own in any case. */
export const isHidden = (name: string, dots: boolean): boolean =>
  name.startsWith(".") && (!dots || isTemporary(name))

/** What a file is called before it has its name. */
export const temporary = (id: string): string => `.interlock-${id}.tmp`
const isTemporary = (name: string): boolean => /^\.interlock-[\da-f-]{36}\.tmp$/.test(name)

/** A path in a message: short, and well-formed. */
export const shown = (path: string): string =>
  path.length > 200 ? `${path.slice(0, 200).toWellFormed()}…` : path.toWellFormed()
