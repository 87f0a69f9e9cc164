/** What a rule is. */

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
