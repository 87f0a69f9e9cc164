/**
 * Patterns of injected code and of paths that lead astray. All of them are
 * linear: what repeats is bounded, or cannot be read in two ways.
 *
 * They are patterns, and know no grammar: where a value becomes a part of a statement, of a page or of a
 * path, only the tool that puts it there can make it safe, with parameters, by escaping, by resolving. What
 * they are for is to stop what has no business in a field, and to show the rest to whoever looks.
 */
import { characterOf, percentDecoded } from "../decoding.ts"

/** A text as it came, and once more decoded where it was encoded. */
interface Views {
  readonly raw: string
  /**
   * Compatibility forms composed, percent-encoding undone up to three times; `raw` where nothing was to be
   * done.
   */
  readonly decoded: string
}

export const viewsOf = (raw: string): Views => {
  let decoded = /[^\0-\x7f]/.test(raw) ? raw.normalize("NFKC") : raw
  for (let round = 0; round < 3 && /%[0-9a-f]{2}/i.test(decoded); round++) {
    const before = decoded
    decoded = percentDecoded(decoded)
    if (decoded === before) break
  }
  return { raw, decoded }
}

const either = ({ decoded, raw }: Views, test: (text: string) => boolean): boolean =>
  test(raw) || (decoded !== raw && test(decoded))

// --- SQL -------------------------------------------------------------------

const statements = [
  /\bunion (?:(?:all|distinct) )?\(? ?select\b/i,
  /\b(?:drop|truncate) (?:table|database|schema) (?:if exists )?["'`[\w]/i,
  /\balter table ["'`[\].\w]{1,128} (?:add|drop|modify|alter|rename)\b/i,
  /\bdelete from ["'`[\].\w]{1,128} ?(?:where\b|;|$|--)/i,
  /\binsert into ["'`[\].\w]{1,128} ?(?:\(|values\b|select\b)/i,
  /\bselect (?:\*|[\w"'`[\].()@]{1,64}(?: ?, ?[\w"'`[\].()@]{1,64}){0,20}) from ["'`[\].\w]{1,128} ?(?:where\b|limit\b|join\b|order by\b|union\b|;|\)|--|$)/i,
  /\bupdate ["'`[\w]{1,64} set ["'`[\w]{1,64} ?=/i
]

const injections = [
  // A quote that ends a string, and a condition after it.
  /['"`)] ?(?:or|and|xor|\|\||&&) ?[\w'"`(@-]{1,64} ?(?:=|<>|!=|<|>|like ?['"`])/i,
  // A condition that always holds.
  /\b(?:or|and|having|where) ?\(?(['"`]?)(\w{1,32})\1 ?= ?\(?['"`]?\2(?!\w)/i,
  // A quote and the comment that swallows the rest.
  /['"`]\)* ?;?--(?: |$|\+|-)|['"`]\)* ?;? ?#$|['"`]\)* ?;? ?--[ +-]?$/,
  // A second statement.
  /['"`)] ?; ?(?:drop|delete|insert|update|alter|create|truncate|exec|execute|shutdown|grant|select|declare|waitfor|merge|call)\b/i,
  /; ?(?:exec(?:ute)? (?:master|xp_|sp_|immediate\b|\()|shutdown ?(?:;|--|$)|declare @\w)/i,
  // What only whoever explores a database calls.
  /(?:\b(?:and|or|select|if|case)\b|[,('"|]) ?\(?(?:sleep|pg_sleep) ?\( ?\d/i,
  /\b(?:benchmark ?\( ?\d+ ?,|waitfor delay ['"]|xp_cmdshell\b|load_file ?\(|(?:extractvalue|updatexml) ?\(|into (?:out|dump)file ['"]|information_schema[. ]|pg_sleep ?\(|utl_http\.|dbms_pipe\.)/i
]

/** Of a text in ASCII that encodes nothing: none of these patterns does without one of these signs. Linear, and one look. */
const sqlSigns =
  /[=;#]|--|\/\*|['"`)]\s*(?:or|and|xor|\|\||&&)|\b(?:union\s|(?:drop|truncate)\s+(?:table|database|schema)\s|alter\s+table\s|delete\s+from\s|insert\s+into\s|select\s)|sleep|benchmark|load_file|extractvalue|updatexml|waitfor|(?:out|dump)file|utl_http|dbms_pipe|xp_cmdshell|information_schema/i

export const mayBeSql = (text: string): boolean => sqlSigns.test(text)

const isSql = (text: string): boolean => {
  const plain = plainSql(text)
  return (
    statements.some((pattern) => pattern.test(plain)) || injections.some((pattern) => pattern.test(plain))
  )
}

export const sql = (views: Views): boolean =>
  isSql(views.raw) || (views.decoded !== views.raw && isSql(views.decoded.replaceAll("+", " ")))

/** Without comments, and with one space for each run of them. */
const plainSql = (text: string): string => {
  if (!text.includes("/*")) return collapse(text)
  let plain = ""
  let from = 0
  // What MySQL runs though it stands in a comment.
  const executed = text.replace(/\/\*!\d{0,6}/g, " ")
  for (;;) {
    const start = executed.indexOf("/*", from)
    const end = start === -1 ? -1 : executed.indexOf("*/", start + 2)
    if (end === -1) return collapse(plain + executed.slice(from).replaceAll("*/", " "))
    plain += `${executed.slice(from, start)} `
    from = end + 2
  }
}

const collapse = (text: string): string => (/\s\s|[\t\n\r\v\f]/.test(text) ? text.replace(/\s+/g, " ") : text)

// --- HTML and scripts ------------------------------------------------------

const knownTag =
  /<(?:\/?(?:a|abbr|applet|article|audio|b|base|blockquote|body|br|button|canvas|center|code|details|dialog|div|embed|fieldset|font|footer|form|frame|frameset|h[1-6]|head|header|hr|html|i|iframe|image|img|input|isindex|label|li|link|main|marquee|math|meta|nav|noscript|object|ol|option|p|picture|pre|script|section|select|source|span|strong|style|svg|table|tbody|td|template|textarea|th|title|tr|u|ul|video)(?=[\s/>])|!--|!doctype\b|\?xml\b)/i

export const html = (views: Views): boolean => either(views, (text) => knownTag.test(text))

/** Whatever a parser takes for the beginning of a tag (WHATWG HTML, 13.2.5.6). */
export const anyTag = (views: Views): boolean => either(views, (text) => /<[a-z!/?]/i.test(text))

const scripts = [
  /<\/?script[\s/>]/i,
  // Attributes that run what they hold, in a tag or after the quote that ends another.
  /<[a-z][^<>]{0,500}[\s/"'](?:on[a-z]{3,24}|srcdoc|formaction)\s?=/i,
  /["'`]\s{0,4}on[a-z]{3,24}\s?=\s?["'`\w]/i,
  /\bdata:\s?(?:text\/html|application\/xhtml\+xml|image\/svg\+xml|text\/javascript|application\/javascript)\b/i,
  /\bdocument\.(?:cookie|write|domain)\b|\beval\s?\(|\bString\.fromCharCode\b|\bnew Function\s?\(|\bexpression\s?\(/i
]

/** The same of scripts in a text without the beginning of a tag. */
const scriptSigns =
  /&(?:#|[a-z]{2})|[\t\n\r]|on[a-z]{3,24}\s?=|data:|document\.|eval\s?\(|fromcharcode|new function|expression\s?\(|script:/i

export const mayBeScript = (text: string): boolean => scriptSigns.test(text)

/** A book may be called so; then a blank follows, and no call. */
const scheme = /\b(?:java|vb|live)script:(?:\S|\s[^\n]{0,200}(?:\w\(|=|`))/i

export const script = (views: Views): boolean =>
  either(views, (text) => {
    const plain = unentity(text)
    if (scripts.some((pattern) => pattern.test(plain))) return true
    // Browsers read a URL without its tabs and line breaks.
    return scheme.test(plain) || (/[\t\n\r]/.test(plain) && scheme.test(plain.replace(/[\t\n\r]+/g, "")))
  })

const entities = new Map([
  ["lt", "<"],
  ["gt", ">"],
  ["quot", '"'],
  ["apos", "'"],
  ["colon", ":"],
  ["tab", ""],
  ["newline", ""],
  ["lpar", "("]
])

/** As an attribute's value is read. */
const unentity = (text: string): string =>
  text.includes("&")
    ? text.replace(
        /&(?:#(x[0-9a-f]{1,6}|\d{1,7})|([a-z]{2,7}));?/gi,
        (entity, code: string, name: string) => {
          if (name !== undefined) return entities.get(name.toLowerCase()) ?? entity
          return characterOf(code) ?? entity
        }
      )
    : text

// --- Paths -----------------------------------------------------------------

/** What is wrong with a text as a path; `absolute` says only that it is not relative. */
type PathProblem = "traversal" | "nul" | "absolute"

/** Of a field that is said to be a path. */
export const path = (raw: string): PathProblem | undefined => {
  const plain = plainPath(raw)
  if (plain.includes("\0")) return "nul"
  if (climbs(plain)) return "traversal"
  return /^ *(?:\/|~|[a-z]:|file:|[a-z][a-z0-9+.-]{0,30}:\/\/)/i.test(plain) ? "absolute" : undefined
}

/** Of any other text, where it looks like a path: one that leads upwards, or into the system. */
export const strayPath = (raw: string): boolean => {
  if (raw.length > maxStray || /[\n\r"'<>|]/.test(raw)) return false
  const plain = plainPath(raw)
  const first = plain.indexOf("/")
  if (first === -1) return /^ *\.\. *$/.test(plain)
  if (/\s/.test(plain.slice(0, first).trim())) return false
  return climbs(plain) || system.test(plain)
}

const maxStray = 4096

const system =
  /^(?:\/(?:etc|proc|sys|dev|root|boot|var\/(?:run|log|lib)|private\/etc)(?:\/|$)|[a-z]:\/(?:windows|users|program files)|~[a-z0-9_-]{0,32}\/\.|\/\/[\w.-]{1,64}\/[a-z]\$)/i

/**
 * Whether a segment is two dots, or what some reader takes for them: more dots, blanks between, a parameter
 * behind.
 */
const climbs = (plain: string): boolean =>
  /\.[. ]*\./.test(plain)
    ? plain.split(/[/?#&=:]/).some((segment) => {
        const name = segment.replace(/;.*$/s, "")
        return /^[. ]+$/.test(name) && name.indexOf(".") !== name.lastIndexOf(".")
      })
    : false

/**
 * Encodings of a dot and of the slashes that are longer than need be (CVE-2000-0884), and those that never
 * were any.
 */
const overlong: ReadonlyArray<readonly [RegExp, string]> = [
  [/%(?:c0%[26]e|c0%ae|e0%80%ae|f0%80%80%ae|uff0e|u002e|u2024)|\xc0\xae/gi, "."],
  [/%(?:c0%[26]f|c0%af|e0%80%af|f0%80%80%af|uff0f|u002f|u2215|u2044)|\xc0\xaf/gi, "/"],
  [/%(?:c0%5c|c1%9c|c1%1c|uff3c|u005c|u2216)|\xc1\x9c/gi, "\\"]
]

const plainPath = (raw: string): string => {
  let plain = raw
  for (let round = 0; round < 4; round++) {
    const before = plain
    if (/%|[\xc0\xc1]/.test(plain)) {
      for (const [pattern, character] of overlong) plain = plain.replace(pattern, character)
      plain = percentDecoded(plain.replace(/%25/g, "%"))
    }
    if (plain === before) break
  }
  // An ellipsis is no path, though it becomes three dots.
  if (/[^\0-\x7f]/.test(plain)) plain = plain.replaceAll("\u2026", "_").normalize("NFKC")
  return plain.replace(/[\\\u2215\u2044\u2216\u29f5]/g, "/").replace(/[\t\n\r]/g, "")
}
