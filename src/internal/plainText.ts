/** Text that came from elsewhere, as a person at a terminal may be shown it. */

/** Control, formatting and unassigned characters, and separators of lines, are shown as what they are. */
export const plain = (text: string): string =>
  text.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, (character) => `\\u{${character.codePointAt(0)!.toString(16)}}`)

/** JSON on which a terminal acts no more than on any text: what it would act upon is escaped, which means the same. */
export const plainJson = (value: unknown, space?: number): string | undefined =>
  JSON.stringify(value, null, space)?.replace(/(?!\n)[\p{C}\p{Zl}\p{Zp}]/gu, (character) =>
    Array.from(
      { length: character.length },
      (_, index) => `\\u${character.charCodeAt(index).toString(16).padStart(4, "0")}`
    ).join("")
  )
