/** What is kept as JSON text: its maker may change the value afterwards, and whoever is given it too, and nobody else sees it. */

export interface Json {
  readonly text: string
  /** In UTF-8. */
  readonly bytes: number
}

/** The value as JSON; `undefined` where that is larger than `maxBytes`, or the value is not JSON or too deep to be written. */
export const toJson = (value: unknown, maxBytes: number): Json | undefined => {
  let text: string | undefined
  try {
    text = JSON.stringify(value)
  } catch {
    return undefined
  }
  if (text === undefined || text.length > maxBytes) return undefined
  const bytes = utf8Length(text)
  return bytes > maxBytes ? undefined : { text, bytes }
}

const utf8Length = (text: string): number => {
  let bytes = text.length
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i)
    // A surrogate is half of a character of 4 bytes; JSON text has no lone ones.
    if (unit >= 0x80) bytes += unit < 0x800 || (unit >= 0xd800 && unit <= 0xdfff) ? 1 : 2
  }
  return bytes
}
