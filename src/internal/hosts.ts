/**
 * The hosts that a string names, read as `fetch` would read them.
 *
 * **URLs**, anywhere in a string: `scheme://…` of any scheme of two letters or
 * more; `http`, `https`, `ws`, `wss` and `ftp` also with backslashes, one slash
 * or none; `//host` where something that could hold a URL begins (in running
 * text only where the host is unambiguous, so that a comment is no URL). Tabs
 * and line breaks inside a URL that fills the string or stands in quotes are
 * dropped, as WHATWG says. Percent-encoding is undone up to three times. What
 * looks like a URL and cannot be read is `unreadable`.
 *
 * Several readings of one URL are possible in text (does a quote end it, or
 * belong to the user name?): every host that some reading gives must pass. A
 * reading whose last label holds punctuation is dropped: no such domain exists.
 *
 * **Bare hosts** only as a whole string, and only where unambiguous: see
 * `bareHost`. A field annotated as a host is read by `fieldHost`.
 *
 * Not found: hosts in base64, in HTML entities, put together by the tool, or
 * behind a redirect or a DNS name.
 */
import { percentDecoded } from "./decoding.ts"
import { pattern } from "./lazily.ts"

/** Stands for a host where there is a URL but no way to read it. */
export const unreadable = "(unreadable)"

/** Longer than any name that resolves; not worth parsing. */
const maxHost = 1024

/** A scheme that is longer is no scheme. */
const maxScheme = 64

// --- One host --------------------------------------------------------------

/** A name whose WHATWG form is its lower case: no escapes, no IDN, no number at its end. */
const plain = /^(?!.*xn--)(?:[a-z0-9_-]+\.)*[a-z_-][a-z0-9_-]*\.?(?::\d*)?$/i

/** `host` or `host:port` in WHATWG's normal form, without port, brackets and trailing dots. */
export const normalize = (hostPort: string): string | undefined => {
  if (hostPort.length > maxHost) return undefined
  if (plain.test(hostPort)) return hostPort.replace(/\.?(?::\d*)?$/, "").toLowerCase()
  const host = URL.parse(`http://${hostPort}/`)?.hostname.replace(/^\[|\]$|(?<!\.)\.+$/g, "")
  return host === "" ? undefined : host
}

// --- URLs in a string ------------------------------------------------------

/** The first host of a URL in `text` that is refused; `unreadable` is always refused. */
export const firstRefused = (text: string, refused: (host: string) => boolean): string | undefined => {
  let current = trim(text)
  for (let round = 0; ; round++) {
    const host =
      (/[\t\n\r]/.test(current) ? scan(current.replace(/[\t\n\r]+/g, ""), refused, true) : undefined) ??
      scan(current, refused, false)
    if (host !== undefined || round === 3 || !escape.test(current)) return host
    current = trim(percentDecoded(current))
  }
}

/** Without the controls and spaces around it, as WHATWG drops them; by hand, because a pattern is not linear here. */
const trim = (text: string): string => {
  let start = 0
  let end = text.length
  while (start < end && text.charCodeAt(start) <= 0x20) start++
  while (end > start && text.charCodeAt(end - 1) <= 0x20) end--
  return text.slice(start, end)
}

const escape = /%[0-9a-f]{2}/i

/** Where a URL's host may begin. */
const marks = /:[/\\]*|[/\\]{2,}/g

/** How the authority after a mark is to be read. */
interface Reading {
  /** What closes the URL beside its own syntax: the string's end, a quote, or white space. */
  readonly within: "string" | '"' | "'" | "`" | "text"
  readonly special: boolean
  /** Which hosts count that fill the authority, as they are written. */
  readonly whole: (written: string, next: string | undefined, host: string) => boolean
  /** Which hosts count that only begin it. */
  readonly part: (written: string) => boolean
  /** Whether what cannot be read is refused. */
  readonly strict: boolean
}

const any = () => true
const isDotted = (host: string): boolean =>
  /[^.。．｡][.。．｡][^.。．｡]|^\[|^localhost(?::|$)|:\d+$/i.test(host)
const isBare = (host: string): boolean => bareHost(host) !== undefined
/** A short number is a port, or somebody's arithmetic; a long or hexadecimal one is an address. */
const isDottedOrAddress = (written: string, _: string | undefined, host: string): boolean =>
  isDotted(written) || (/^[\d.]+$/.test(host) && !/^[1-9]\d{0,4}$/.test(written))
const isBareOrFollowed = (host: string, next: string | undefined): boolean =>
  isDotted(host) && (next === "/" || isBare(host))

/**
 * One pass over the text. With `joined` the text has lost its line breaks, so
 * only URLs with a definite beginning and end count.
 */
const scan = (text: string, refused: (host: string) => boolean, joined: boolean): string | undefined => {
  for (const match of text.matchAll(marks)) {
    const reading = match[0].startsWith(":")
      ? atScheme(text, match.index, match[0])
      : atSlashes(text, match.index)
    if (reading === undefined || (joined && reading.within === "text")) continue
    const start = match.index + match[0].length
    const host = joined
      ? readJoined(text, start, reading, refused)
      : readAuthority(text, start, reading, refused)
    if (host !== undefined) return host
  }
  return undefined
}

const schemeCharacter = /[a-z0-9+.-]/i

const atScheme = (text: string, colon: number, mark: string): Reading | undefined => {
  let start = colon
  while (start > 0 && colon - start < maxScheme && schemeCharacter.test(text[start - 1]!)) start--
  const bounded = start === 0 || !schemeCharacter.test(text[start - 1]!)
  const scheme = text.slice(start, colon).replace(/^[^a-z]+/i, "")
  const within = enclosure(text, colon - scheme.length)
  const slashes = mark.length - 1
  // The end of the word decides, because whoever cuts a URL out of a text may begin there.
  const special = /(https?|wss?|ftp|file)$/i.exec(scheme)?.[1]
  const url = { within, special: special !== undefined, whole: any, part: any, strict: scheme !== "" }
  if (special === undefined) {
    // `c://` is a drive; a third slash leaves the host empty.
    return mark === "://" && scheme.length !== 1 ? url : undefined
  }
  if (special.toLowerCase() === "file") {
    // A drive, and this machine, are no hosts.
    const local = /^(?:[a-z][:|]|localhost(?:[/\\]|$))/i.test(text.slice(colon + 3, colon + 13))
    return slashes === 2 && !local ? url : undefined
  }
  if (slashes > 0) return url
  if (!bounded || special.length !== scheme.length) return undefined
  return { ...url, whole: within === "string" ? any : isDottedOrAddress, part: isDotted, strict: false }
}

const atSlashes = (text: string, at: number): Reading | undefined => {
  const before = at === 0 ? "" : text[at - 1]!
  if (!/^[\s"'`(<=,;|[{]?$/.test(before)) return undefined
  const within = enclosure(text, at)
  const url = { within, special: true, strict: false }
  // `\\server\share` is a network path, whose host need not have a dot.
  if (within === "string" && /^\\\\[\w.-]+[\\/][^\\/]/.test(text.slice(at, at + 300))) {
    return { ...url, whole: any, part: any }
  }
  // In running text and at a line's beginning two slashes more often begin a comment.
  if (/^\s$/.test(before)) return { ...url, whole: isBareOrFollowed, part: isBare }
  return { ...url, whole: isDottedOrAddress, part: within === "text" ? isDotted : isBare }
}

const enclosure = (text: string, start: number): Reading["within"] => {
  if (start === 0) return "string"
  const before = text[start - 1]
  return before === '"' || before === "'" || before === "`" ? before : "text"
}

/** An authority ends where WHATWG ends it, or where the text around it does. */
const runs = {
  string: /[^/\\?#]*/y,
  '"': /[^/\\?#"]*/y,
  "'": /[^/\\?#']*/y,
  "`": /[^/\\?#`]*/y,
  text: /[^/\\?#\s]*/y,
  /** After a scheme without slashes, where nothing keeps the runs of several marks apart. */
  bare: /[^/\\?#\s]{0,128}/y,
  /** For schemes that know no backslash, and for readers that do not know WHATWG. */
  slashed: /[^/?#\s]{0,256}/y
} as const

const take = (run: RegExp, text: string, start: number): string => {
  run.lastIndex = start
  return run.exec(text)![0]
}

const readAuthority = (
  text: string,
  start: number,
  reading: Reading,
  refused: (host: string) => boolean
): string | undefined => {
  const bare = reading.within === "text" && text[start - 1] === ":"
  const wide = take(bare ? runs.bare : runs[reading.within], text, start)
  const space = reading.within === "text" ? -1 : wide.search(/\s/)
  const narrow = space === -1 ? wide : wide.slice(0, space)
  const wideHost =
    space !== -1 && !/[\t\n\r]/.test(wide) && isClosed(text, start + wide.length, reading)
      ? readWhole(trim(wide), undefined, reading, refused)
      : undefined
  if (typeof wideHost === "string") return wideHost
  const host = readHosts(narrow, text[start + narrow.length], reading, refused)
  if (host !== undefined || text[start + narrow.length] !== "\\") return host
  const slashed = take(runs.slashed, text, start)
  return slashed.includes("@")
    ? readHosts(slashed, undefined, { ...reading, strict: false }, refused)
    : undefined
}

const readJoined = (
  text: string,
  start: number,
  reading: Reading,
  refused: (host: string) => boolean
): string | undefined => {
  const wide = take(runs[reading.within], text, start)
  // URLs line by line are no single URL.
  if (!isClosed(text, start + wide.length, reading) || /.(?:https?|wss?|ftp):$/i.test(wide)) return undefined
  const host = readWhole(trim(wide), text[start + wide.length], reading, refused)
  return typeof host === "string" ? host : undefined
}

/** Whether a URL that began with a quote can end with it. */
const isClosed = (text: string, end: number, reading: Reading): boolean =>
  reading.within === "string" || end < text.length

/** What a text extractor stops at, though WHATWG lets a user name contain it. */
const hard = /(?![[\]])["'<>`,|^\p{Ps}\p{Pe}\p{Pi}\p{Pf}]/u
/** The longest beginning that looks like a host and a port. */
const tight = pattern(String.raw`^(?:\[[^\]]*\]|[\p{L}\p{M}\p{N}\p{Cf}._%\-。]*)(?::\d*)?`, "u")
/** An authority without any of these names nothing. */
const content = /[a-z0-9[%]|[^\0-\x7f]/i

const readHosts = (
  authority: string,
  next: string | undefined,
  reading: Reading,
  refused: (host: string) => boolean
): string | undefined => {
  if (!content.test(authority)) return undefined
  const whole = readWhole(authority, next, reading, refused)
  if (typeof whole === "string") return whole
  // In the form that WHATWG maps to, so that a circled letter is a letter and not the text's end.
  const mapped = authority.normalize("NFKC")
  const cut = mapped.search(hard)
  const part = tight().exec(afterUser(cut === -1 ? mapped : mapped.slice(0, cut)))![0]
  const host = part === "" ? undefined : normalize(part)
  if (host === undefined) return reading.strict && !whole ? unreadable : undefined
  return reading.part(part) && refused(host) ? host : undefined
}

/** The refused host of an authority taken as WHATWG takes it, or whether it could be read at all. */
const readWhole = (
  authority: string,
  next: string | undefined,
  { special, whole }: Reading,
  refused: (host: string) => boolean
): string | boolean => {
  const full = afterUser(authority)
  let read = false
  // Some schemes list several hosts.
  for (const part of special ? [full] : full.split(",")) {
    const host = part === "" ? undefined : normalize(part)
    if (host === undefined || !hasRealEnd(host, part)) continue
    if (whole(part, next, host) && refused(host)) return host
    read = true
  }
  return read
}

/** Whether the last label could be a domain's: one with punctuation is the text around the URL. */
const hasRealEnd = (host: string, written: string): boolean => {
  if (host.includes(":")) return true
  const last = host.slice(host.lastIndexOf(".") + 1)
  if (!/^[a-z0-9_-]+$/.test(last)) return false
  if (!last.startsWith("xn--")) return true
  // What WHATWG has not mapped to ASCII is a letter of a domain, or a quote that ends the text.
  const labels = percentDecoded(written)
    .replace(/:\d*$/, "")
    .normalize("NFKC")
    .split(/[.。]+/)
  const label = labels.at(-1) || labels.at(-2) || ""
  return !/(?![_-])[\p{P}\p{S}]/u.test(label)
}

const afterUser = (authority: string): string => authority.slice(authority.lastIndexOf("@") + 1)

// --- Bare hosts ------------------------------------------------------------

/**
 * The host that a whole string is, where nothing else is meant by such a string:
 *
 * - four numbers with dots (so the version `1.2.3.4` is an address),
 * - IPv6 in brackets, or with two colons or more inside a range that is in use,
 * - `localhost`, names under it, and `www.` names,
 * - dotted names under a `common` domain, and with three labels or a port under a
 *   `guarded` one.
 *
 * A port may follow. Domains that are also file types, languages or words
 * (`zip`, `md`, `py`, `sh`, `info`, most countries) do not count: annotate the field.
 */
export const bareHost = (text: string): string | undefined => {
  // The shapes below are costly to tell apart, and few strings come near any of them.
  if (text.length > longestBare || !/[.:。．｡]|localhost/i.test(text)) return undefined
  const value = text.trim()
  if (value.includes(" ")) return undefined
  if (/^\[[0-9a-f:.]+\](?::\d+)?$/i.test(value)) return normalize(value)
  if (/^[0-9a-f:]*:[0-9a-f:]*:[0-9a-f:.]*$/i.test(value)) {
    const host = normalize(`[${value}]`)
    return host !== undefined && inUse.test(host) ? host : undefined
  }
  if (/^(?:(?:0x[0-9a-f]{1,8}|\d{1,4})\.){3}(?:0x[0-9a-f]{1,8}|\d{1,4})\.?(?::\d{1,5})?$/i.test(value)) {
    return normalize(value)
  }
  const name = dotted().exec(value)
  if (name === null) return undefined
  const host = normalize(name[1]!)
  return host !== undefined && isHostName(host.split("."), name[2] !== undefined) ? host : undefined
}

const dotted = pattern(
  String.raw`^(?!-)((?:[\p{L}\p{M}\p{N}_-]+[.。．｡])*[\p{L}\p{N}][\p{L}\p{M}\p{N}-]*)[.。．｡]?(:\d{1,5})?$`,
  "u"
)

/** Global, unique local, link-local, multicast, mapped and translated addresses, and the loopback. */
const inUse = /^(?:[23][0-9a-f]{3}:|f[cd][0-9a-f]{2}:|fe[89ab][0-9a-f]:|ff[0-9a-f]{2}:|::ffff:|64:ff9b:|::1$)/

/** A longer text is no bare host, with its port and the space around it. */
export const longestBare = 270

const common = new Set(["com", "org", "net", "edu", "gov", "mil", "io"])
const guarded = new Set(["dev", "app", "ai", "cloud", "internal", "local"])
/** `co.uk` and its like. */
const countries = new Set("uk au nz jp br za kr cn tw hk sg mx ar tr il th ke ng eg sa ae co".split(" "))
const secondLevel = new Set(["co", "com", "org", "net", "gov", "edu", "ac"])
/** How names of packages and of settings begin; hosts seldom do. */
const packages = new Set("com org net io edu gov java javax kotlin scala".split(" "))
const settings = new Set(
  "app application config settings env spring server service services feature features dev".split(" ")
)
/** Names of software that are domains too. */
const products = new Set("asp.net ado.net vb.net ml.net socket.io engine.io".split(" "))

const isHostName = (labels: ReadonlyArray<string>, hasPort: boolean): boolean => {
  const last = labels.at(-1)!
  if (last === "localhost") return true
  if (labels.length < 2) return false
  const first = labels[0]!
  if (first === "www" && labels.length > 2) return true
  if (common.has(last)) {
    return hasPort || last === "com" || !(packages.has(first) || products.has(labels.join(".")))
  }
  if (guarded.has(last)) {
    return hasPort || (labels.length > 2 && !packages.has(first) && !settings.has(first))
  }
  return labels.length > 2 && countries.has(last) && secondLevel.has(labels.at(-2)!)
}

// --- Annotated fields ------------------------------------------------------

/** The host of a value that is said to be a host or a URL; `undefined` where the URLs in it say it already. */
export const fieldHost = (text: string): string | undefined => {
  const value = trim(text).replace(/[\t\n\r]+/g, "")
  if (value === "" || /^(?:[a-z][a-z0-9+.-]*:\/\/|(?:https?|wss?|ftp):)/i.test(value)) return undefined
  const host = afterUser(/^[/\\]*([^/\\?#]*)/.exec(value)![1]!)
  return normalize(/^[^[\]]*:[^[\]]*:/.test(host) ? `[${host}]` : host) ?? unreadable
}
