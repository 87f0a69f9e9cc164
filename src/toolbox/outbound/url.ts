/**
 * Reads URLs as strictly as a URL can be read. Browsers guess what may be
 * meant: every guess is a way to write a host so that one reader sees another
 * one. So what is written must be what WHATWG's parser makes of it, but for
 * upper case and for the Unicode form of a domain.
 */
import { domainToUnicode } from "node:url"
import * as Host from "effect/net/Host"
import * as NetAddress from "effect/net/NetAddress"
import * as Result from "effect/Result"
import { type OutboundError, problem } from "./error.ts"

/** Where a request goes. */
export interface Target {
  /** Without user, password and fragment. */
  readonly url: URL
  readonly secure: boolean
  /** A domain in its ASCII form, or an address without brackets. */
  readonly host: string
  readonly port: number
  /** What the host is where it is no name. */
  readonly address: NetAddress.IpAddress | undefined
}

const maxLength = 8192

/** Reads an absolute http or https URL. */
export const read = (input: string | URL): Result.Result<Target, OutboundError> => {
  const text = typeof input === "string" ? input : input.href
  const invalid = (what: string) => Result.fail(problem("invalid_url", `The URL ${what}.`))
  if (text.length > maxLength) return invalid("is longer than 8,192 characters")
  if (!/^https?:\/\//i.test(text)) return invalid('must begin with "http://" or "https://"')
  if (unsafe.test(text) || !text.isWellFormed()) {
    return invalid("must not contain spaces, control characters, backslashes or broken characters")
  }
  const authority = /^https?:\/\/([^/?#]*)/i.exec(text)![1]!
  if (authority.includes("@")) return invalid("must not contain a user name or a password")
  const written = /^(\[[0-9a-f:.]+\]|[^[\]:%]+)(?::([1-9]\d{0,4}))?$/i.exec(authority)
  if (written === null) {
    return invalid("must name a host as it is, without escapes, and a port only as a plain number")
  }
  const url = URL.parse(text)
  if (url === null) return invalid("has no host that could be one, or no port that could be one")
  const found = hostOf(written[1]!, url.hostname)
  if (found === undefined) {
    return invalid(
      "must name its host in the usual spelling: a domain without a dot at its end, or an address"
    )
  }
  url.hash = ""
  const secure = url.protocol === "https:"
  return Result.succeed({
    ...found,
    url,
    secure,
    port: url.port === "" ? (secure ? 443 : 80) : Number(url.port)
  })
}

const unsafe = /[\p{Cc} \\]/u

/** The host, where its spelling is the usual one of what the parser has found. */
const hostOf = (written: string, parsed: string): Pick<Target, "host" | "address"> | undefined => {
  if (written.startsWith("[")) {
    const address = Result.getOrUndefined(NetAddress.ipv6FromString(written.slice(1, -1)))
    return address === undefined ? undefined : { host: NetAddress.formatIp(address), address }
  }
  const ipv4 = Result.getOrUndefined(NetAddress.ipv4FromString(parsed))
  if (ipv4 !== undefined) return written === parsed ? { host: parsed, address: ipv4 } : undefined
  const labels = parsed.split(".")
  const spelled = written.split(".")
  const isUsual =
    Result.isSuccess(Host.domainNameFromString(parsed)) &&
    labels.length === spelled.length &&
    labels.every((label, index) => isSpelling(spelled[index]!, label))
  return isUsual && !parsed.endsWith(".") ? { host: parsed, address: undefined } : undefined
}

/** Whether a label is written in ASCII as it is, or in the Unicode that it stands for. */
const isSpelling = (written: string, label: string): boolean => {
  const unicode = label.startsWith("xn--") ? domainToUnicode(label) : label
  // What says that it is encoded, and is not, is read differently by everyone.
  if (label.startsWith("xn--") && unicode.startsWith("xn--")) return false
  return lowerCase(written) === label || lowerCase(written) === unicode
}

/** Lower case, but for the few letters that would become ASCII by it, as the Kelvin sign. */
const lowerCase = (text: string): string =>
  text.replace(/[A-Z]|[^\0-\x7f]/gu, (letter) => {
    const lower = letter.toLowerCase()
    return letter > "\x7f" && /[\0-\x7f]/.test(lower) ? letter : lower
  })
