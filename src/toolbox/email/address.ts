/**
 * One e-mail address, as strictly as one can be written: `ada@example.com`, or a
 * name before it as `Ada Lovelace <ada@example.com>` or `"Lovelace, Ada" <ada@example.com>`.
 *
 * RFC 5322 allows more: comments, groups, routes, quoted local parts, folded
 * lines. Each is a way to write an address that one reader takes for another, or
 * for several. Domains are in ASCII; an internationalised one is written as its
 * `xn--` form, which looks like what it is.
 */
import * as Result from "effect/Result"
import * as Text from "./text.ts"

export interface Address {
  /** Empty where there is none. */
  readonly name: string
  readonly address: string
  /** In lower case. */
  readonly domain: string
}

/** What is wrong with a text that is none; holds nothing of the text. */
export const problems = {
  one: 'it must be one address, such as "ada@example.com" or "Ada <ada@example.com>"',
  local:
    'before its "@" an address must have ASCII letters, digits and signs, at most 64, without quotes, spaces and commas',
  domain: 'behind its "@" an address must have a domain in ASCII, such as "example.com"',
  // A name that holds an address shows people another one than the mail goes to.
  name: 'the name before an address must not have "@", "<" or ">"',
  quotes: "the name before an address must be in double quotes where it has one of , ; : ( ) [ ]"
} as const

// RFC 5322, 3.2.3: a dot-atom; RFC 5321, 4.5.3.1: its length.
const local = /^[a-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[a-z0-9!#$%&'*+/=?^_`{|}~-]+)*$/i
const label = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/i

/** Reads one address, of one line, or says why a text is none. */
export const read = (text: string): Result.Result<Address, string> => {
  const unfit = text.length > 400 ? problems.one : Text.lineProblem(text)
  if (unfit !== undefined) return Result.fail(unfit)
  const named = /^(?:"([^"\\]*)"|([^"<>]*)) ?<([^<>]*)>$/.exec(text)
  const address = named?.[3] ?? text
  const at = address.lastIndexOf("@")
  if (at < 1) return Result.fail(problems.one)
  const mailbox = address.slice(0, at)
  const domain = address.slice(at + 1)
  if (!local.test(mailbox) || mailbox.length > 64) return Result.fail(problems.local)
  if (!isDomain(domain)) return Result.fail(problems.domain)
  const name = (named?.[1] ?? named?.[2] ?? "").trim()
  if (/[@\uff20\ufe6b<>]/.test(name)) return Result.fail(problems.name)
  if (named?.[2] !== undefined && /[,;:()[\]\\]/.test(name)) return Result.fail(problems.quotes)
  return Result.succeed({ name, address, domain: domain.toLowerCase() })
}

const isDomain = (text: string): boolean => {
  const labels = text.split(".")
  // A last label of digits would make it an address of IPv4 (RFC 3696, 2).
  return (
    labels.length > 1 &&
    text.length <= 253 &&
    labels.every((each) => label.test(each)) &&
    !/\.\d+$/.test(text)
  )
}

/** An address as text. */
export const AddressText = Text.line(
  'One address: "ada@example.com" or "Ada Lovelace <ada@example.com>".'
).check(...Text.checks((text) => Result.getOrUndefined(Result.flip(read(text))), Object.values(problems)))
