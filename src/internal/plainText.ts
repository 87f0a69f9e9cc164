/** Text that came from elsewhere, as a person at a terminal may be shown it. */

/** Control, formatting and unassigned characters, and separators of lines, are shown as what they are. */
export const plain = (text: string): string =>
  text.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, (character) => `\\u{${character.codePointAt(0)!.toString(16)}}`)
