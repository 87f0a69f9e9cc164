/** Characters that a text only spells. */

/** One layer of percent-encoding undone. */
export const percentDecoded = (text: string): string =>
  text.replace(/(?:%[0-9a-f]{2})+/gi, (run) => {
    try {
      return decodeURIComponent(run)
    } catch {
      // Not UTF-8: the ASCII in it is still what another decoder would see.
      return run.replace(/%([0-7][0-9a-f])/gi, (_, hex: string) =>
        String.fromCharCode(Number.parseInt(hex, 16))
      )
    }
  })

/** The character of a numeric HTML entity, by its digits (`65`, `x41`); `undefined` where there is none. */
export const characterOf = (code: string): string | undefined => {
  const point = /^x/i.test(code) ? Number.parseInt(code.slice(1), 16) : Number.parseInt(code, 10)
  return point < 0x110000 ? String.fromCodePoint(point) : undefined
}
