/** Text in bytes: whole characters, whole lines. */

/** The text, or `undefined` where the bytes are none: not UTF-8, or with NUL characters, as binary files have. */
export const decode = (bytes: Uint8Array): string | undefined => {
  if (bytes.includes(0)) return undefined
  try {
    // What was read and is written again must not lose its mark.
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    return undefined
  }
}

const isContinuation = (byte: number | undefined): boolean => byte !== undefined && (byte & 0xc0) === 0x80

/** How many bytes at the beginning belong to a character that began before. */
export const brokenStart = (bytes: Uint8Array): number => {
  let count = 0
  while (count < 3 && isContinuation(bytes[count])) count++
  return count
}

/** How many bytes at the end belong to a character that goes on after. */
export const brokenEnd = (bytes: Uint8Array): number => {
  let count = 1
  while (count < 4 && isContinuation(bytes[bytes.length - count])) count++
  const first = bytes[bytes.length - count]
  if (first === undefined) return 0
  const length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : first >= 0xc0 ? 2 : 1
  return length > count ? count : 0
}

const newline = 0x0a

/** Where so many lines end, counted from `from`; `undefined` where there are fewer. The end is after the newline. */
export const endOfLines = (
  bytes: Uint8Array,
  count: number,
  from = 0
): { readonly end: number | undefined; readonly found: number } => {
  let end = from
  for (let found = 0; found < count; found++) {
    const next = bytes.indexOf(newline, end)
    if (next === -1) return { end: undefined, found }
    end = next + 1
  }
  return { end, found: count }
}

/** The part of a line that is shown around a place in it. */
export const excerpt = (line: string, at: number, length: number): string => {
  if (line.length <= length) return line
  const start = Math.max(0, Math.min(at - Math.floor(length / 4), line.length - length))
  const cut = line.slice(start, start + length).toWellFormed()
  return `${start > 0 ? "…" : ""}${cut}${start + length < line.length ? "…" : ""}`
}
