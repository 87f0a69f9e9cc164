/**
 * What holds of every address and every URL: an address that is refused is
 * refused in every spelling, and no text makes the reader see another host than
 * the one that is dialled. The ranges are written here once more, as numbers.
 */
import { assert, describe, it } from "@effect/vitest"
import { Result } from "effect"
import { IpNetwork, NetAddress } from "effect/net"
import * as fc from "fast-check"
import * as Addresses from "../src/toolbox/outbound/addresses.ts"
import * as Url from "../src/toolbox/outbound/url.ts"
import * as Attempts from "./support/ssrfAttempts.ts"

const rulesOf = (
  allowed: ReadonlyArray<string> = [],
  denied: ReadonlyArray<string> = [],
  own: ReadonlyArray<string> = []
): Addresses.Rules => ({
  allowed: allowed.map((text) => Result.getOrThrow(Addresses.rangeFromString(text))),
  denied: denied.map((text) => Result.getOrThrow(Addresses.rangeFromString(text))),
  own: new Set(own)
})
const strict = rulesOf()
const ip = NetAddress.ipFromStringUnsafe
const isPermitted = (text: string, rules = strict) => Addresses.isPermitted(rules, ip(text))

// --- The ranges, as numbers ------------------------------------------------------

/** First and last address of what is refused, and nothing else is. */
const refusedIpv4: ReadonlyArray<readonly [number, number]> = [
  [0x00000000, 0x00ffffff],
  [0x0a000000, 0x0affffff],
  [0x64400000, 0x647fffff],
  [0x7f000000, 0x7fffffff],
  [0xa83f8110, 0xa83f8110],
  [0xa9fe0000, 0xa9feffff],
  [0xac100000, 0xac1fffff],
  [0xc0000000, 0xc00000ff],
  [0xc0000200, 0xc00002ff],
  [0xc0586300, 0xc05863ff],
  [0xc0a80000, 0xc0a8ffff],
  [0xc6120000, 0xc613ffff],
  [0xc6336400, 0xc63364ff],
  [0xcb007100, 0xcb0071ff],
  [0xe0000000, 0xffffffff]
]
const isRefusedIpv4 = (value: number) => refusedIpv4.some(([first, last]) => value >= first && value <= last)

const dotted = (value: number) =>
  [value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255].join(".")

const anyIpv4 = fc.integer({ min: 0, max: 0xffffffff })
/** One that is refused, often at an edge. */
const refused = fc
  .constantFrom(...refusedIpv4)
  .chain(([first, last]) => fc.oneof(fc.constantFrom(first, last), fc.integer({ min: first, max: last })))
/** One near an edge, on either side of it. */
const atEdge = fc
  .tuple(fc.constantFrom(...refusedIpv4.flat()), fc.constantFrom(-1, 0, 1))
  .map(([value, step]) => Math.min(0xffffffff, Math.max(0, value + step)))

// --- Spellings -----------------------------------------------------------------------

const part = (value: number) =>
  fc.constantFrom(
    String(value),
    `0${value.toString(8)}`,
    `000${value.toString(8)}`,
    `0x${value.toString(16)}`,
    `0X${value.toString(16).toUpperCase()}`,
    `0x000${value.toString(16)}`
  )

/** An IPv4 address as some reader reads it: four parts or fewer, each in any base. */
const spelled = (value: number): fc.Arbitrary<string> => {
  const bytes = [value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255] as const
  const shapes = [bytes, [bytes[0], bytes[1], value & 0xffff], [bytes[0], value & 0xffffff], [value]]
  return fc.oneof(
    fc.constant(dotted(value)),
    ...shapes.map((shape) => fc.tuple(...shape.map(part)).map((parts) => parts.join(".")))
  )
}

const wide = (text: string) =>
  text.replace(/[\d.a-fx]/g, (letter) => String.fromCodePoint(letter.charCodeAt(0) + 0xfee0))
const circled = (text: string) =>
  text.replace(/[1-9]/g, (digit) => String.fromCodePoint(0x2460 + Number(digit) - 1))
const escaped = (text: string) => [...text].map((letter) => `%${letter.charCodeAt(0).toString(16)}`).join("")

/** The host of a URL, disguised. */
const disguised = (host: string) =>
  fc.constantFrom(
    host,
    `${host}.`,
    wide(host),
    circled(host),
    escaped(host),
    host.replaceAll(".", "。"),
    host.replaceAll(".", "%2e"),
    `user@${host}`,
    `example.com@${host}`,
    `example.com\\@${host}`,
    `${host}\\@example.com`,
    `${host}\t`,
    ` ${host}`,
    `\u200b${host}`,
    `[${host}]`,
    `[::ffff:${host}]`
  )

const hex = (value: number) => value.toString(16)

/** An IPv6 address that leads to an IPv4 address. */
const carriers = (value: number): ReadonlyArray<string> => {
  const [high, low] = [hex(value >>> 16), hex(value & 0xffff)]
  const [turnedHigh, turnedLow] = [hex((~value >>> 16) & 0xffff), hex(~value & 0xffff)]
  return [
    `::ffff:${high}:${low}`,
    `::ffff:${dotted(value)}`,
    `::${high}:${low}`,
    `::ffff:0:${high}:${low}`,
    `64:ff9b::${high}:${low}`,
    `64:ff9b:1::${high}:${low}`,
    `2002:${high}:${low}::1`,
    `2001:0:${high}:${low}::1`,
    `2001:0:808:808:0:0:${turnedHigh}:${turnedLow}`,
    `2606:4700::5efe:${high}:${low}`,
    `2606:4700::200:5efe:${high}:${low}`
  ]
}

/** `::` and `::1` look like two that hold an IPv4 address, and are IPv6's own. */
const isCarrier = (text: string) => !/^::1?$/.test(NetAddress.formatIp(ip(text)))

/** The same IPv6 address, written otherwise. */
const rewritten = (text: string) => {
  const octets = NetAddress.ipv6ToOctets(NetAddress.ipFromStringUnsafe(text) as NetAddress.Ipv6Address)
  const groups = Array.from({ length: 8 }, (_, at) => (octets[at * 2]! << 8) | octets[at * 2 + 1]!)
  const padded = groups.map((group) => hex(group).padStart(4, "0")).join(":")
  const last = groups.slice(6).flatMap((group) => [group >> 8, group & 255])
  return fc.constantFrom(
    text,
    text.toUpperCase(),
    padded,
    padded.toUpperCase(),
    groups.map(hex).join(":"),
    `${groups.slice(0, 6).map(hex).join(":")}:${last.join(".")}`
  )
}

/** Whether a request to this URL would be dialled without a lookup. */
const dials = (url: string, rules = strict): boolean =>
  Result.match(Url.read(url), {
    onFailure: () => false,
    onSuccess: ({ address }) => address !== undefined && Addresses.isPermitted(rules, address)
  })

// --- Laws --------------------------------------------------------------------------

describe("an IPv4 address", () => {
  it("may be dialled where it is in none of the refused ranges, and only there", () => {
    fc.assert(
      fc.property(fc.oneof(anyIpv4, atEdge), (value) => {
        assert.strictEqual(isPermitted(dotted(value)), !isRefusedIpv4(value), dotted(value))
      }),
      { numRuns: 5000 }
    )
  })

  it("that is refused is refused in every spelling and disguise", () => {
    fc.assert(
      fc.property(
        refused.chain(spelled).chain(disguised),
        fc.constantFrom("http", "https"),
        fc.constantFrom("", ":80", ":8080"),
        (host, scheme, port) => {
          assert.isFalse(dials(`${scheme}://${host}${port}/`), host)
        }
      ),
      { numRuns: 5000 }
    )
  })

  it("that may be dialled is read in its usual spelling, and in no other", () => {
    fc.assert(
      fc.property(
        anyIpv4.filter((value) => !isRefusedIpv4(value)),
        fc.context(),
        (value, context) => {
          const usual = dotted(value)
          assert.isTrue(dials(`http://${usual}/`), usual)
          const [other] = fc.sample(spelled(value).chain(disguised), 1)
          context.log(other!)
          if (other !== usual) assert.isFalse(dials(`http://${other}/`), other)
        }
      ),
      { numRuns: 1000 }
    )
  })
})

describe("an IPv6 address", () => {
  const anyIpv6 = fc
    .tuple(
      fc.constantFrom(
        0x2000,
        0x2001,
        0x2002,
        0x2606,
        0x3ffe,
        0x3fff,
        0xfc00,
        0xfe80,
        0xff02,
        0,
        0x64,
        0x4000
      ),
      fc.array(fc.integer({ min: 0, max: 0xffff }), { minLength: 7, maxLength: 7 })
    )
    .map(([first, rest]) => [first, ...rest])

  it("may be dialled inside 2000::/3, and not in the blocks for special purposes", () => {
    fc.assert(
      fc.property(anyIpv6, (groups) => {
        const [first, second] = groups as [number, number]
        const special =
          (first === 0x2001 && (second < 0x200 || second === 0xdb8)) ||
          first === 0x2002 ||
          first === 0x3ffe ||
          (first === 0x3fff && second < 0x1000)
        const isatap = (groups[4] === 0 || groups[4] === 0x200) && groups[5] === 0x5efe
        fc.pre(!isatap)
        const isPublic = first >= 0x2000 && first < 0x4000 && !special
        assert.strictEqual(isPermitted(groups.map(hex).join(":")), isPublic)
      }),
      { numRuns: 3000 }
    )
  })

  it("that leads to a refused IPv4 address is refused, however it is written", () => {
    fc.assert(
      fc.property(refused.chain((value) => fc.constantFrom(...carriers(value))).chain(rewritten), (text) => {
        assert.isFalse(isPermitted(text), text)
        assert.isFalse(dials(`http://[${text}]/`), text)
      }),
      { numRuns: 3000 }
    )
  })

  it("that leads to a refused IPv4 address is refused even where its own range is allowed", () => {
    const rules = rulesOf(["::/0"])
    fc.assert(
      fc.property(
        refused.chain((value) => fc.constantFrom(...carriers(value).filter(isCarrier))),
        (text) => {
          assert.isFalse(isPermitted(text, rules), text)
        }
      ),
      { numRuns: 2000 }
    )
  })
})

describe("options", () => {
  it("allow what they name and nothing else", () => {
    fc.assert(
      fc.property(refused, refused, (allowed, value) => {
        const rules = rulesOf([dotted(allowed)])
        assert.strictEqual(isPermitted(dotted(value), rules), value === allowed)
        assert.isTrue(isPermitted(dotted(allowed), rules))
      }),
      { numRuns: 1000 }
    )
  })

  it("deny what they name, allowed or not, and what leads there", () => {
    fc.assert(
      fc.property(anyIpv4, (value) => {
        const rules = rulesOf(["0.0.0.0/0", "::/0"], [dotted(value)])
        for (const text of [dotted(value), ...carriers(value).filter(isCarrier)])
          assert.isFalse(isPermitted(text, rules), text)
      }),
      { numRuns: 500 }
    )
  })

  it("open a metadata service only by its own address", () => {
    for (const address of ["169.254.169.254", "168.63.129.16", "100.100.100.200", "fd00:ec2::254"]) {
      const width = address.includes(":") ? 128 : 32
      assert.isFalse(isPermitted(address, rulesOf(["0.0.0.0/0", "::/0", "169.254.0.0/16", "fd00::/8"])))
      assert.isTrue(isPermitted(address, rulesOf([address])))
      assert.isTrue(isPermitted(address, rulesOf([`${address}/${width}`])))
    }
  })

  it("open this machine's own public addresses only where they are named", () => {
    const own = ["93.184.216.34", "2606:2800:220:1::1"]
    for (const address of own) {
      assert.isTrue(isPermitted(address))
      assert.isFalse(isPermitted(address, rulesOf([], [], own)))
      assert.isTrue(isPermitted(address, rulesOf([address], [], own)))
    }
  })

  it("are ranges or addresses, and nothing that is nearly one", () => {
    for (const text of ["10.0.0.0/8", "::/0", "fd00::/8", "10.0.0.1", "::1"]) {
      assert.isTrue(Result.isSuccess(Addresses.rangeFromString(text)), text)
    }
    for (const text of [
      "",
      "10.0.0.1/8",
      "10.0.0.0/33",
      "10.0.0/8",
      "127.1",
      "::1%lo",
      "localhost",
      "0x7f.0.0.1",
      "*"
    ]) {
      assert.isTrue(Result.isFailure(Addresses.rangeFromString(text)), text)
    }
  })
})

describe("a URL", () => {
  const known = Object.values(Attempts)
    .flatMap((each) => (Array.isArray(each) ? (each as ReadonlyArray<unknown>) : []))
    .filter((each): each is string => typeof each === "string")
  const piece = fc.oneof(
    fc.constantFrom(
      "http://",
      "https://",
      "http:",
      "//",
      "\\",
      "@",
      ":",
      "/",
      "?",
      "#",
      "%",
      ".",
      "[",
      "]",
      "。"
    ),
    fc.constantFrom(
      "127.0.0.1",
      "example.com",
      "localhost",
      "::1",
      "::ffff:7f00:1",
      "0x7f",
      "80",
      "xn--",
      "ⓛ"
    ),
    fc.string({ unit: "binary", maxLength: 4 })
  )
  const anyUrl = fc.oneof(
    fc.array(piece, { maxLength: 12 }).map((pieces) => pieces.join("")),
    fc.array(piece, { maxLength: 8 }).map((pieces) => `http://${pieces.join("")}`),
    fc
      .tuple(fc.constantFrom(...known), fc.nat(), fc.string({ unit: "binary", maxLength: 2 }))
      .map(([text, at, more]) => text.slice(0, at % text.length) + more + text.slice(at % text.length)),
    fc.webUrl()
  )

  it("that is read is the same when it is read again, and names its host plainly", () => {
    fc.assert(
      fc.property(anyUrl, (text) => {
        const result = Url.read(text)
        if (Result.isFailure(result)) return
        const { address, host, port, secure, url } = result.success
        const again = Result.getOrThrow(Url.read(url.href))
        assert.strictEqual(again.url.href, url.href)
        assert.strictEqual(again.host, host)
        assert.match(host, address === undefined ? /^[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?$/ : /^[0-9a-f:.]+$/)
        assert.strictEqual(url.username + url.password + url.hash, "")
        assert.strictEqual(url.protocol, secure ? "https:" : "http:")
        assert.isTrue(port >= 1 && port <= 65535)
        // No reader sees another host: what is between the slashes is the host, and nothing is left of it.
        assert.isFalse(/[@\\\s%]/.test(text.split("/")[2]!.split(/[?#]/)[0]!), text)
      }),
      { numRuns: 10_000 }
    )
  })

  it("that is not read is refused with what is wrong with it", () => {
    const wrong: Readonly<Record<string, string>> = {
      [`http://example.com/${"a".repeat(8192)}`]: "is longer than 8,192 characters",
      "ftp://example.com/": 'must begin with "http://" or "https://"',
      "http:/example.com/": 'must begin with "http://" or "https://"',
      "http://example.com/a b": "must not contain spaces",
      "http://example.com\\@127.0.0.1/": "backslashes",
      "http://example.com/\ud800": "broken characters",
      "http://user@example.com/": "must not contain a user name",
      "http://:@example.com/": "must not contain a user name",
      "http://example.com:/": "a port only as a plain number",
      "http://example%2ecom/": "without escapes",
      "http://[::1%25lo]/": "without escapes",
      "http://example.com:65536/": "no port that could be one",
      "http://1.2.3.256/": "no host that could be one",
      "http://0x7f.1/": "in the usual spelling",
      "http://example.com./": "without a dot at its end",
      "http://xn--a/": "in the usual spelling",
      "http://xn--example-.com/": "in the usual spelling",
      "http://ⓔxample.com/": "in the usual spelling",
      "http://-a-/": "in the usual spelling"
    }
    for (const [text, expected] of Object.entries(wrong)) {
      const result = Url.read(text)
      assert.isTrue(Result.isFailure(result), text)
      if (Result.isFailure(result)) {
        assert.strictEqual(result.failure.reason, "invalid_url")
        assert.include(result.failure.message, expected)
      }
    }
  })

  it("of a path cannot leave its host", () => {
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 8 }), (pieces) => {
        const result = Url.read(`http://example.com/${pieces.join("")}`)
        if (Result.isSuccess(result)) assert.strictEqual(result.success.host, "example.com")
      }),
      { numRuns: 3000 }
    )
  })
})

describe("the ranges", () => {
  it("are those of effect/net where it names them", () => {
    fc.assert(
      fc.property(anyIpv4, (value) => {
        const address = ip(dotted(value)) as NetAddress.Ipv4Address
        const named =
          NetAddress.isLoopback(address) ||
          NetAddress.isPrivate(address) ||
          NetAddress.isLinkLocal(address) ||
          NetAddress.isMulticast(address) ||
          NetAddress.isBroadcast(address)
        if (named) assert.isFalse(Addresses.isPermitted(strict, address))
      })
    )
    assert.isTrue(IpNetwork.contains(IpNetwork.fromStringUnsafe("2000::/3"), ip("3fff:ffff::1")))
  })
})
