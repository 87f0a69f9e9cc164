/**
 * What a rule is, the rules that ship, and those among them for shapes that
 * standards gave. Each says where its shape is written down. Patterns take linear
 * time: every repetition is bounded, or cannot begin inside of what it repeats.
 */
import { ibanAt, isCard, isInternationalPhone, isTokenLike, isUnlikeWord } from "./checks.ts"
import { issued } from "./issued.ts"
import { names } from "./names.ts"

/** What one kind of secret looks like; by names, by values, or by both. */
export interface Rule {
  /** Stands in the mask. */
  readonly name: string
  /** Where the shape is written down. */
  readonly source?: string
  /** Personal data rather than a secret: left readable by `pii: false`. */
  readonly pii?: boolean
  /**
   * Names of fields: tested on the name's words, in lower case with one space between them, so that `apiKey`,
   * `API_KEY` and `x-api-key` end in `api key`.
   */
  readonly keys?: RegExp
  /** Whether what such a field holds is secret; any text but the empty one by default. Numbers are tested as text. */
  readonly holds?: (value: string) => boolean
  /** The value begins with one of these, not in the middle of a word; `value` is then what follows. */
  readonly starts?: ReadonlyArray<string>
  /** Found anywhere in a text. Must take linear time on hostile text. */
  readonly value?: RegExp
  /** What a text must have for `value` to be tried, which saves time: digits, a run of letters, digits, `_` and `-`, an `@`. */
  readonly needs?: { readonly digits?: number; readonly run?: number; readonly at?: boolean }
  /** Whether what was found is secret; a number says that only its first so many characters are, 0 that none is. */
  readonly check?: (found: string) => boolean | number
}

/** Shapes that standards gave. */
const standard: ReadonlyArray<Rule> = [
  {
    name: "jwt",
    source: "RFC 7519; RFC 7516 for the five parts of an encrypted one",
    needs: { run: 13 },
    starts: ["eyJ"],
    value: /[\w-]{10,}(?:\.[\w-]*){2,4}/
  },
  {
    name: "private-key",
    source: "RFC 7468; openssh PROTOCOL.key; RFC 9580, section 6",
    needs: { run: 8 },
    // What is cut off before its end is as secret.
    value:
      /-{4,5} ?BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-{4,5}(?:(?!---- ?END)[\s\S])*(?:-{4,5} ?END [A-Z0-9 ]{0,40}KEY(?: BLOCK)?-{4,5})?/
  },
  {
    name: "authorization",
    needs: { run: 5 },
    source: "RFC 6750 and RFC 7617",
    value: /(?<![A-Za-z0-9_])(?:bearer|basic)[ \t]{1,8}[A-Za-z0-9._~+/-]{8,}={0,2}/i,
    check: (found) => isTokenLike(found.slice(6).trim()) && isUnlikeWord(found.slice(6).trim())
  },
  {
    name: "card",
    needs: { digits: 14 },
    source: "ISO/IEC 7812-1",
    value:
      /(?<![0-9A-Za-z]|\d[.,])(?:\d{14,19}|\d{4}([ -])\d{4}\1\d{4}\1\d{4}(?:\1\d{3})?|\d{4}([ -])\d{6}\2\d{4,5})(?![0-9A-Za-z]|[.,]\d)/,
    check: isCard
  },
  {
    name: "iban",
    needs: { digits: 7 },
    source: "ISO 13616",
    value: /(?<![A-Za-z0-9])[A-Za-z]{2}\d{2}(?:[ -]?[A-Za-z0-9]){11,40}/,
    check: ibanAt
  },
  {
    name: "national-id",
    needs: { digits: 9 },
    source: "20 CFR 422.103: the social security number of the USA",
    value: /(?<![\w-])(?!000|666|9)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\w-])/
  },
  {
    name: "email",
    needs: { at: true },
    pii: true,
    source: "RFC 5321",
    value:
      /(?<![\w.+%-])[\p{L}\p{N}_.+%'-]{1,64}@(?:[\p{L}\p{N}-]{1,63}\.){1,8}\p{L}[\p{L}\p{N}-]{1,62}(?![\p{L}\p{N}_-]|:[^\d\s])/u,
    // `icon@2x.png` and `react@18.2.0-beta` are not addresses.
    check: (found) => !/@\d+(?:x\.|\.\d)/.test(found)
  },
  {
    name: "phone",
    needs: { digits: 8 },
    pii: true,
    source: "ITU-T E.164 and E.123",
    value: /(?<![\w+.,-])(?:\+|00(?=[1-9]\d{0,2}[ -]))[1-9](?:[ .()/-]{0,2}\d){6,14}(?![\w]|[.,:]\d)/,
    check: isInternationalPhone
  },
  {
    name: "phone",
    needs: { digits: 8 },
    pii: true,
    source: "the North American Numbering Plan",
    value: /(?<![\w.,/-])(?:\([2-9]\d{2}\) ?|[2-9]\d{2}([-.]))[2-9]\d{2}(?:\1|[-.])\d{4}(?![\w-]|[.,]\d)/
  }
]

/** A URL that carries a name and a password, or a token in the place of the name (RFC 3986, section 3.2.1). */
export const urlCredentials = "url-credentials"

/** Whatever the tool's own schemas declare. */
export const declared = "declared"

/** In the order in which they are tried. */
export const rules: ReadonlyArray<Rule> = [
  ...names,
  // The shortest is `xoxb-` and ten more.
  ...issued.map((rule) => ({ needs: { run: 15 }, ...rule })),
  ...standard
]
