/**
 * Characters that text holds to be read wrongly, or to hide something.
 *
 * - `control`: General_Category Cc but tab, line feed and carriage return.
 * - `bidi`: the embeddings, overrides and isolates of UAX #9 (U+202A–202E, U+2066–2069), which reorder what
 *   is shown; and its implicit marks (U+200E, U+200F, U+061C), which are let through one by one in text that
 *   has letters written from right to left, because there they do what they are for (UAX #9, 2.6; UTS #55).
 * - `invisible`: Default_Ignorable_Code_Point (UAX #44) and the interlinear annotation characters, as UTS #39
 *   and UTR #36 have it for identifiers, but for what ordinary writing needs:
 *   - joiner and non-joiner next to a letter of a cursive or an Indic script (UAX #31, 2.3; RFC 5892, A.1 and A.2,
 *     are stricter), and joiners inside emoji sequences (UTS #51, ED-16);
 *   - zero width spaces next to a letter of a script that puts no spaces between words (UAX #14, SA);
 *   - one variation selector after a character that has variants (UTS #51, ED-8 and ED-9a; UTS #37 for
 *     ideographs; StandardizedVariants.txt), and Mongolian's own after Mongolian;
 *   - tags in the three flags of UTS #51 that are made of them;
 *   - the grapheme joiner next to a combining mark, and Hangul fillers next to a jamo.
 *
 *   Two of them in a row are never ordinary, except in emoji: bytes are smuggled so.
 *   Soft hyphens and byte order marks are refused: nothing tells an ordinary one from one that splits a word.
 */

import { pattern } from "../lazily.ts"

type CharacterRule = "control" | "bidi" | "invisible"

/** The first such character, by rule. */
export type Hits = { readonly [Rule in CharacterRule]?: number }

const none: Hits = {}

const suspect = String.raw`(?![\t\n\r])\p{Cc}|\p{Default_Ignorable_Code_Point}|[\ufff9-\ufffb]`
const suspects = pattern(suspect, "gu")
const suspicious = pattern(suspect, "u")

/** What a text holds of them. Linear. */
export const find = (text: string): Hits => {
  if (!suspicious().test(text)) return none
  const hits: { [Rule in CharacterRule]?: number } = {}
  let rightToLeft: boolean | undefined
  const clean = withoutFlags(text)
  for (const { 0: character, index } of clean.matchAll(suspects())) {
    const code = character.codePointAt(0)!
    const rule = ruleOf(code)
    if (hits[rule] !== undefined) continue
    const before = codeBefore(clean, index)
    const after = clean.codePointAt(index + character.length)
    if (rule === "bidi" && isMark(code)) {
      rightToLeft ??= rightToLeftLetter().test(clean)
      if (rightToLeft && !isUnseen(before) && !isUnseen(after)) continue
    }
    if (rule === "invisible" && isOrdinary(code, before, after)) continue
    hits[rule] = code
  }
  return hits
}

const ruleOf = (code: number): CharacterRule => {
  if (code < 0x20 || (code >= 0x7f && code < 0xa0)) return "control"
  const reorders = (code >= 0x202a && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069)
  return reorders || isMark(code) ? "bidi" : "invisible"
}

const isMark = (code: number): boolean => code === 0x200e || code === 0x200f || code === 0x061c

/** England, Scotland and Wales: a black flag, tags, and the tag that ends them. */
const flags =
  /\u{1f3f4}\u{e0067}\u{e0062}(?:\u{e0065}\u{e006e}\u{e0067}|\u{e0073}\u{e0063}\u{e0074}|\u{e0077}\u{e006c}\u{e0073})\u{e007f}/gu

const withoutFlags = (text: string): string =>
  text.includes("\u{1f3f4}") ? text.replace(flags, "\u{1f3f4}") : text

const codeBefore = (text: string, index: number): number | undefined => {
  if (index === 0) return undefined
  const low = text.charCodeAt(index - 1)
  return (low & 0xfc00) === 0xdc00 && index > 1 ? text.codePointAt(index - 2) : low
}

// --- Ordinary uses ---------------------------------------------------------

const rightToLeftLetter = pattern(
  String.raw`(?=\p{L})[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\u{10800}-\u{10fff}\u{1e800}-\u{1efff}]`,
  "u"
)
/** Cursive scripts, and those whose letters form conjuncts. */
const joining = pattern(
  String.raw`[\p{scx=Arab}\p{scx=Syrc}\p{scx=Mand}\p{scx=Mong}\p{scx=Nkoo}\p{scx=Adlm}\p{scx=Rohg}\p{scx=Phag}\p{scx=Deva}\p{scx=Beng}\p{scx=Guru}\p{scx=Gujr}\p{scx=Orya}\p{scx=Taml}\p{scx=Telu}\p{scx=Knda}\p{scx=Mlym}\p{scx=Sinh}\p{scx=Khmr}\p{scx=Mymr}\p{scx=Tibt}\p{scx=Bali}\p{scx=Java}\p{scx=Sund}\p{scx=Newa}\p{scx=Gran}\p{scx=Tirh}\p{scx=Limb}\p{scx=Mtei}\p{scx=Sylo}]`,
  "u"
)
/** Scripts that put no spaces between words. */
const unspaced = pattern(
  String.raw`[\p{scx=Thai}\p{scx=Laoo}\p{scx=Khmr}\p{scx=Mymr}\p{scx=Tale}\p{scx=Talu}\p{scx=Lana}\p{scx=Tavt}]`,
  "u"
)
const mongolian = pattern(String.raw`[\p{scx=Mong}\p{scx=Phag}]`, "u")
const ideograph = pattern(String.raw`\p{Ideographic}`, "u")
/**
 * Characters with standardized variants: ideographs, their punctuation, mathematical signs, a few scripts,
 * zero.
 */
const variant = pattern(
  String.raw`[\p{Ideographic}\p{Sm}\p{scx=Mymr}\p{scx=Phag}\p{scx=Mani}\u3001\u3002\uff01-\uff1f0]`,
  "u"
)
const emoji = pattern(String.raw`\p{Emoji}`, "u")
const pictograph = pattern(String.raw`\p{Extended_Pictographic}`, "u")
const mark = pattern(String.raw`\p{M}`, "u")
const unseen = pattern(String.raw`\p{Default_Ignorable_Code_Point}`, "u")

const is = (kind: () => RegExp, code: number | undefined): boolean =>
  code !== undefined && kind().test(String.fromCodePoint(code))

const isUnseen = (code: number | undefined): boolean => is(unseen, code)

/** Whether what is not seen does there what it is for. */
const isOrdinary = (code: number, before: number | undefined, after: number | undefined): boolean => {
  const near = (kind: () => RegExp): boolean =>
    !isUnseen(before) && !isUnseen(after) && (is(kind, before) || is(kind, after))
  switch (true) {
    case code === 0x200d:
      return joinsEmoji(before, after) || near(joining)
    case code === 0x200c:
      return near(joining)
    case code === 0x200b:
      return near(unspaced)
    case code === 0xfe0e || code === 0xfe0f:
      // Digits are emoji only as keycaps.
      return is(emoji, before) && (!isKeycapBase(before!) || after === 0x20e3)
    case code >= 0xfe00 && code <= 0xfe0d:
      return is(variant, before)
    case code >= 0xe0100 && code <= 0xe01ef:
      return is(ideograph, before)
    case code >= 0x180b && code <= 0x180f:
      return is(mongolian, before)
    case code === 0x034f:
      return near(mark)
    case code === 0x115f || code === 0x1160:
      return isJamo(before) || isJamo(after)
    default:
      return false
  }
}

const joinsEmoji = (before: number | undefined, after: number | undefined): boolean =>
  is(pictograph, after) &&
  (is(pictograph, before) ||
    before === 0xfe0f ||
    (before !== undefined && before >= 0x1f3fb && before <= 0x1f3ff))

const isKeycapBase = (code: number): boolean => code < 0x80

const isJamo = (code: number | undefined): boolean =>
  code !== undefined &&
  ((code >= 0x1100 && code <= 0x11ff && code !== 0x115f && code !== 0x1160) ||
    (code >= 0xa960 && code <= 0xa97f) ||
    (code >= 0xd7b0 && code <= 0xd7ff))

/** As people write code points. */
export const name = (code: number): string => `U+${code.toString(16).toUpperCase().padStart(4, "0")}`
