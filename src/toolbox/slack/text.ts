/**
 * Text as Slack reads it: `&`, `<` and `>` begin what is not text, such as mentions
 * of everyone and links that say one address and lead to another. Escaped, they
 * are shown as they are (Slack's "Formatting text for app surfaces").
 */

/** Slack cuts what is longer, of the text as it is sent. */
export const maxLength = 40_000

/** Which mentions stay mentions: none, those of people, or also those of groups and of everyone. */
export type Mentions = "none" | "users" | "all"

const users = "<@[UW][A-Z0-9]{2,20}>"
const groups = "<!(?:here|channel|everyone|subteam\\^S[A-Z0-9]{2,20})>"

const escaped = {
  none: /[&<>]/g,
  users: new RegExp(`${users}|[&<>]`, "g"),
  all: new RegExp(`${users}|${groups}|[&<>]`, "g")
} as const satisfies Record<Mentions, RegExp>

const entities = new Map([
  ["&", "&amp;"],
  ["<", "&lt;"],
  [">", "&gt;"]
])

/** The text with everything escaped but the mentions that are allowed. */
export const escape = (text: string, mentions: Mentions): string =>
  text.replace(escaped[mentions], (found) => entities.get(found) ?? found)
