import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import * as Domains from "../src/internal/domains.ts"

const good = { allowed: ["good.com", "*.good.com"] }

/** The host that is refused, `undefined` when nothing is. */
const refused = (
  params: unknown,
  options: Parameters<typeof Domains.compile>[0] = good,
  hostPaths: ReadonlyArray<Domains.HostPath> = []
): string | undefined => Domains.compile(options)(params, hostPaths)?.host

describe("patterns", () => {
  const allows = (pattern: string, url: string) => refused(url, { allowed: [pattern] }) === undefined

  it("matches a host exactly, and a wildcard every name below but not the apex", () => {
    assert.isTrue(allows("example.com", "https://example.com/x"))
    assert.isFalse(allows("example.com", "https://www.example.com/x"))
    assert.isTrue(allows("*.example.com", "https://a.b.example.com/x"))
    assert.isFalse(allows("*.example.com", "https://example.com/x"))
    assert.isFalse(allows("*.example.com", "https://evilexample.com/x"))
    assert.isFalse(allows("*.example.com", "https://example.com.evil.org/x"))
    assert.isTrue(allows("*", "https://anything.org/x"))
  })

  it("ignores case, trailing dots, ports and the spelling of IDN", () => {
    assert.isTrue(allows("EXAMPLE.com.", "https://Example.COM.:8443/x"))
    assert.isTrue(allows("bücher.example", "https://xn--bcher-kva.example/"))
    assert.isTrue(allows("*.xn--bcher-kva.example", "https://shop.BÜCHER.example/"))
  })

  it("matches addresses and ranges in every spelling that WHATWG knows", () => {
    for (const spelling of [
      "127.0.0.1",
      "2130706433",
      "0x7f000001",
      "0x7f.1",
      "0177.0.0.1",
      "127.1",
      "１２７。0。0。1"
    ]) {
      assert.isTrue(allows("127.0.0.1", `http://${spelling}/`), spelling)
      assert.isTrue(allows("127.0.0.0/8", `http://${spelling}/`), spelling)
      assert.strictEqual(refused(`http://${spelling}/`, { denied: ["127.0.0.0/8"] }), "127.0.0.1", spelling)
    }
    assert.isTrue(allows("127.0.0.1", "http://[::ffff:127.0.0.1]/"))
    assert.isTrue(allows("127.0.0.0/8", "http://[::ffff:7f00:1]/"))
    assert.isTrue(allows("::ffff:127.0.0.1", "http://127.0.0.1/"))
    assert.isTrue(allows("2001:DB8:0::1", "http://[2001:db8::1]:80/"))
    assert.isTrue(allows("fd00::/8", "http://[fd12::1]/"))
    assert.isFalse(allows("10.0.0.0/8", "http://11.0.0.1/"))
    assert.isFalse(allows("*.0.0.1", "http://127.0.0.1/"))
  })

  it("lets a denial win over an allowance", () => {
    const options = { allowed: ["*.good.com"], denied: ["secret.good.com"] }
    assert.isUndefined(refused("https://api.good.com/", options))
    assert.deepStrictEqual(Domains.compile(options)({ url: "https://secret.good.com/" }, []), {
      rule: "deniedDomains",
      path: "url",
      host: "secret.good.com"
    })
    assert.strictEqual(refused("https://any.org", { allowed: [] }), "any.org")
  })

  it.each([
    "10.0.0.1/8",
    "10.0.0.0/33",
    "",
    "*.",
    "a*b.com",
    "*.*.com",
    "https://a.com",
    "a.com:80",
    "a.com/x",
    "u@a.com",
    "a b.com",
    "http:",
    "*.1.2.3.4",
    "*.10.0.0.0/8",
    "[bad"
  ])("says what is wrong with %j", (pattern) => {
    assert.isString(Domains.problem(pattern))
  })

  it.each([
    "a.com",
    "*.a.com",
    "*",
    "localhost",
    "1.2.3.4",
    "::1",
    "10.0.0.0/8",
    "fd00::/8",
    "bücher.example",
    "a.com.",
    "my_host"
  ])("accepts %j", (pattern) => {
    assert.isUndefined(Domains.problem(pattern))
  })
})

const evil: ReadonlyArray<readonly [string, string]> = [
  // Plain, and inside text.
  ["https://evil.com", "evil.com"],
  ["see https://evil.com/path, please", "evil.com"],
  ["(https://evil.com)", "evil.com"],
  ["<a href='https://evil.com'>x</a>", "evil.com"],
  [`{"url":"https://evil.com","mail":"a@good.com"}`, "evil.com"],
  ["https://good.com and https://evil.com", "evil.com"],
  ["https://good.com,https://evil.com/", "evil.com"],
  ["https://good.com/?next=https://evil.com", "evil.com"],
  ["HTTPS://EVIL.COM", "evil.com"],
  ["wss://evil.com/socket", "evil.com"],
  ["ftp://evil.com/file", "evil.com"],
  ["gopher://evil.com:70/_x", "evil.com"],
  ["postgres://user:p@ss@evil.com:5432/db", "evil.com"],
  ["jdbc:postgresql://evil.com/db", "evil.com"],
  ["mongodb://good.com:1,evil.com:2/db", "evil.com"],
  ["git+ssh://git@evil.com/x", "evil.com"],
  ["file://evil.com/share", "evil.com"],
  ["view-source:https://evil.com", "evil.com"],
  ["javascript:fetch('//evil.com/x')", "evil.com"],
  ["xhttps://evil.com", "evil.com"],
  // Without a scheme, with other slashes.
  ["//evil.com/x", "evil.com"],
  ["///evil.com", "evil.com"],
  ["<img src=//evil.xyz/p.png>", "evil.xyz"],
  ["background: url(//evil.xyz/p.png)", "evil.xyz"],
  ["load //evil.com/x now", "evil.com"],
  ["\\\\evil.com\\share", "evil.com"],
  ["\\\\fileserver\\share\\x", "fileserver"],
  ["http:\\\\evil.com", "evil.com"],
  ["https:/\\evil.com", "evil.com"],
  ["https:\\/evil.com/x", "evil.com"],
  ["https:/evil.com", "evil.com"],
  ["https:////evil.com", "evil.com"],
  ["https:evil.com", "evil.com"],
  ["https:evil", "evil"],
  ["go to https:evil.com now", "evil.com"],
  // Tabs, line breaks and leading controls.
  ["ht\ttps://ev\nil.com/", "evil.com"],
  ["https:\n//evil.com", "evil.com"],
  ["/\t/evil.com", "evil.com"],
  ["\u0000 \u001fhttps://evil.com", "evil.com"],
  ["https://good.com\n.evil.com/", "good.com.evil.com"],
  [`<a href="https://good.com\n.evil.com/">`, "good.com.evil.com"],
  [`<a href="ht\ntps://evil.com">`, "evil.com"],
  [`<a href="https:\n//evil.com ">`, "evil.com"],
  // Percent-encoding.
  ["https://good.com/?u=https%3A%2F%2Fevil.com", "evil.com"],
  ["https://good.com/?u=https%253A%252F%252Fevil.com", "evil.com"],
  ["https%25253A%25252F%25252Fevil.com", "evil.com"],
  ["https://ev%69l.com", "evil.com"],
  ["https://%65%76%69%6c%2e%63%6f%6d/", "evil.com"],
  ["x%ff https%3A%2F%2Fevil.com", "evil.com"],
  // User names.
  ["https://good.com@evil.com", "evil.com"],
  ["https://good.com:443@evil.com/", "evil.com"],
  ["https://good.com%2f@evil.com", "evil.com"],
  ["https://good.com\\@evil.com", "evil.com"],
  ["https://good.com%00@evil.com/", "evil.com"],
  ["https://good.com @evil.com/", "evil.com"],
  [`go https://good.com"@evil.com/`, "evil.com"],
  ["go https://good.com,x@evil.com/", "evil.com"],
  ["https://a@good.com@evil.com", "evil.com"],
  ["https://good.com,.evil.com/", "good.com,.evil.com"],
  ["go https://good.com,.evil.com/x", "good.com,.evil.com"],
  ["https://good.com.evil.com", "good.com.evil.com"],
  ["https://evil.com#.good.com", "evil.com"],
  ["https://evil.com?.good.com", "evil.com"],
  ["https://evil.com\\.good.com", "evil.com"],
  // Addresses.
  ["http://2130706433/", "127.0.0.1"],
  ["http://0x7f.0.0.1/", "127.0.0.1"],
  ["http://0177.1/", "127.0.0.1"],
  ["http://[::1]:80/", "::1"],
  ["http://[::ffff:169.254.169.254]/", "::ffff:a9fe:a9fe"],
  ["http://169.254.169.254/latest", "169.254.169.254"],
  // Unicode.
  ["https://ｅｖｉｌ．ｃｏｍ", "evil.com"],
  ["https://evil。com", "evil.com"],
  ["https://good.com。evil.com", "good.com.evil.com"],
  ["https://xn--vil-bma.com", "xn--vil-bma.com"],
  ["https://ⓔⓥⓘⓛ.com", "evil.com"],
  // Characters that WHATWG drops or maps must not end the host early.
  ["https://good.com\u00ad.evil.com", "good.com.evil.com"],
  ["https://good.com\u00admunity", "good.community"],
  ["go https://good.com\u00admunity, now", "good.community"],
  ["go https://good.comⓜunity, now", "good.community"],
  ["https://good.com﹒evil﹒com", "good.com.evil.com"],
  ["go https://good.com﹒evil﹒com, now", "good.com.evil.com"],
  ["https://good.com＠evil.com", "evil.com"],
  ["//2130706433/x", "127.0.0.1"],
  // Single labels.
  ["http://metadata/x", "metadata"],
  ["http://localhost:3000", "localhost"],
  // What cannot be read.
  ["http://[bad", "(unreadable)"],
  ["go to http://[::bad::]/x", "(unreadable)"],
  ["http://a:99999999999999x/", "a"],
  [`http://${"a.".repeat(2000)}com`, "(unreadable)"],
  // Whole values.
  ["evil.com", "evil.com"],
  [" EVIL.com. ", "evil.com"],
  ["api.evil.io:8443", "api.evil.io"],
  ["www.evil.xyz", "www.evil.xyz"],
  ["evil.dev:443", "evil.dev"],
  ["a.b.workers.dev", "a.b.workers.dev"],
  ["metadata.google.internal", "metadata.google.internal"],
  ["shop.evil.co.uk", "shop.evil.co.uk"],
  ["bücher.com", "xn--bcher-kva.com"],
  ["localhost", "localhost"],
  ["LOCALHOST:8080", "localhost"],
  ["169.254.169.254", "169.254.169.254"],
  ["10.0.0.1:8080", "10.0.0.1"],
  ["0x7f.0.0.1", "127.0.0.1"],
  // A version of four numbers is an address.
  ["1.2.3.4", "1.2.3.4"],
  ["[::1]:80", "::1"],
  ["::1", "::1"],
  ["fe80::1", "fe80::1"],
  ["2001:4860:4860::8888", "2001:4860:4860::8888"],
  ["::ffff:10.0.0.1", "::ffff:a00:1"]
]

describe("hosts in arguments", () => {
  it.each(evil)("finds the host in %j", (text, host) => {
    assert.strictEqual(refused(text), host)
    assert.strictEqual(refused({ a: [{ b: text }] }), host)
  })

  it("finds URLs in keys, and bare hosts only in values", () => {
    assert.deepStrictEqual(Domains.compile(good)({ a: { "https://evil.com": 1 } }, []), {
      rule: "allowedDomains",
      path: "a",
      host: "evil.com"
    })
    assert.isUndefined(refused({ "evil.com": 1 }))
  })

  it("names the field by its path, with long keys and hosts cut", () => {
    const violation = Domains.compile(good)(
      { list: [{}, { [`k${"x".repeat(99)}`]: `https://${"a".repeat(300)}.com` }] },
      []
    )
    assert.match(violation!.path, /^list\[1\]\.kx{63}…$/)
    assert.strictEqual(violation!.host, `${"a".repeat(100)}…`)
  })

  it("fails closed on a URL it cannot read even where domains are only denied", () => {
    assert.strictEqual(refused("http://[bad", { denied: ["evil.com"] }), "(unreadable)")
    assert.isUndefined(refused("http://other.com", { denied: ["evil.com"] }))
  })

  it.each([
    "https://good.com",
    "https://good.com.",
    "https://GOOD.com:8443/a?b=c#d",
    "see https://api.good.com, https://good.com; and (https://good.com).",
    "**https://good.com**",
    "[docs](https://good.com)",
    "<https://good.com|docs>",
    "“https://good.com”",
    "https://good.com，谢谢",
    `{"url":"https://good.com","mail":"a@b.com"}`,
    `{\\"url\\":\\"https://good.com\\"}`,
    "https://user:pa!ss@good.com/",
    "//good.com/x",
    "https:good.com",
    "https://good.com/?u=https%3A%2F%2Fapi.good.com%2Fx",
    "https://good.com/a%20b%zz",
    "https://good.com/@user/x",
    "https://good.com/?q=a@evil.com",
    "https://good.com\nhttps://api.good.com\n",
    "Read https://good.com\nThen answer.",
    "https://good.com\nThen answer at once",
    "file:///etc/hosts",
    "file://localhost/x",
    "C:\\Users\\x",
    "C://Users/x",
    "mailto:me@evil.com",
    "data:text/plain,hi",
    "about:blank",
    "urn:isbn:123",
    "http://",
    "URLs begin with http:// or https://.",
    "`http://`",
    "mongodb://good.com:1,api.good.com:2/db"
  ])("lets %j pass", (text) => {
    assert.isUndefined(refused(text))
  })

  it("finds an encoded host however it is wrapped", () => {
    const wrap: ReadonlyArray<(url: string) => unknown> = [
      (url) => ({ url }),
      (url) => [[url]],
      (url) => `text ${url} text`,
      (url) => `"${url}"`,
      (url) => `https://good.com/?u=${encodeURIComponent(url)}`,
      (url) => encodeURIComponent(encodeURIComponent(url)),
      (url) => url.replace("https", "HtTpS"),
      (url) => ({ [url]: true }),
      (url) => url.replace("//", "\\\\"),
      (url) => JSON.stringify({ url })
    ]
    fc.assert(
      fc.property(fc.constantFrom(...wrap), fc.webUrl({ validSchemes: ["https"] }), (f, url) => {
        const host = new URL(url).hostname
        // A path may hold another URL, or something that looks like one.
        fc.pre(!host.endsWith("good.com") && !/:|%|\/\//.test(url.slice(8)))
        assert.strictEqual(refused(f(url)), host)
        assert.isUndefined(refused(f(url), { allowed: [host, "good.com"] }))
      }),
      { numRuns: 500 }
    )
  })

  it("reads every URL that fetch reads, and finds the same host", () => {
    const piece = fc.constantFrom(
      "http",
      "https",
      ":",
      "/",
      "\\",
      "@",
      "good.com",
      ".",
      "evil.com",
      "%2f",
      "%40",
      "\t",
      "\n",
      " ",
      "?",
      "#",
      "[",
      "]",
      "::1",
      "127.1",
      ",",
      `"`,
      "'",
      "x"
    )
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 10 }), (pieces) => {
        const text = pieces.join("")
        const url = URL.canParse(text) ? new URL(text) : undefined
        const host =
          url === undefined || !/^https?:$/.test(url.protocol) ? "good.com" : url.hostname.replace(/\.+$/, "")
        fc.pre(host !== "")
        // A list of URLs line by line is read as one, not as `good.comhttps`.
        fc.pre(!/[\t\n]/.test(text) || !/https?$/.test(host))
        // A last label with punctuation is no domain; there the text around the URL is read instead.
        if (host !== "good.com" && !host.endsWith(".good.com") && /^(.*[.[])?[\w-]+$|\]$/.test(host)) {
          assert.isDefined(refused(text), JSON.stringify(text))
        }
      }),
      { numRuns: 1000 }
    )
  })
})

describe("annotated fields", () => {
  const field = (value: unknown, options = good) =>
    refused({ target: value }, options, [["target"], ["hosts", "*"], ["deep", "**", "host"]])

  it("reads the whole value as a host", () => {
    for (const text of [
      "evil",
      "evil.zip",
      "node.js",
      "evil.xyz:80",
      "evil.xyz/path",
      "u@evil.xyz",
      "//evil",
      "2130706433",
      "fd00::1"
    ]) {
      assert.isDefined(field(text), text)
      assert.isUndefined(field(text, { allowed: ["*"] }), text)
    }
    assert.isUndefined(field("good.com"))
    assert.isUndefined(field(" api.good.com:443/x"))
    assert.isUndefined(field("https://good.com/x"))
    assert.isUndefined(field(""))
    assert.strictEqual(field("evil.xyz/?u=https://good.com"), "evil.xyz")
    assert.strictEqual(field("not a host"), "(unreadable)")
  })

  it("follows lists and any number of levels, and nothing else", () => {
    const at = (params: unknown) =>
      refused(params, good, [
        ["hosts", "*"],
        ["deep", "**", "host"]
      ])
    assert.strictEqual(at({ hosts: ["good.com", "evil"] }), "evil")
    assert.strictEqual(at({ deep: { host: "evil" } }), "evil")
    assert.strictEqual(at({ deep: { a: [{ host: "evil" }] } }), "evil")
    assert.isUndefined(at({ host: "evil", hosts: { a: { b: "evil" } }, deep: { hostess: "evil" } }))
  })
})

describe("ordinary strings", () => {
  const words = ["report", "index", "John", "config", "data", "alpha", "user", "final", "main", "order"]
  const each = (...families: ReadonlyArray<(word: string, n: number) => string>) =>
    families.flatMap((family) => words.map((word, n) => family(word, n)))
  const extensions =
    "zip js ts md py rs sh pl so cc mov txt pdf csv json yaml html css tsx java go rb php c h cpp xml png jpg mp4 tar.gz d.ts test.ts exe dll log ini lock sql ps1 cs vue".split(
      " "
    )

  const ordinary: Record<string, ReadonlyArray<string>> = {
    files: extensions.flatMap((extension) => words.map((word) => `${word}.${extension}`)),
    paths: each(
      (w) => `/usr/local/lib/${w}.so`,
      (w) => `./src/${w}/index.ts`,
      (w) => `../${w}.md:12:4`,
      (w) => `C:\\Users\\${w}\\x.txt`,
      (w) => `~/${w}//x.txt`,
      (w) => `a/${w}.com/b`
    ),
    libraries: each(
      (w) => `${w}.js`,
      () => "node.js",
      () => "Next.js",
      () => "ASP.NET",
      () => "socket.io",
      () => "vue.config.js"
    ),
    versions: each(
      (_, n) => `v1.${n}.3`,
      (_, n) => `${n}.0.0-beta.${n}`,
      (_, n) => `^${n}.2.0`,
      (_, n) => `>=1.${n} <2`,
      (_, n) => `1.${n}`,
      (_, n) => `10.0.1904${n}.1`
    ),
    abbreviations: each(
      () => "e.g.",
      () => "i.e.",
      () => "etc.",
      () => "U.S.A.",
      () => "a.m.",
      () => "Dr. No"
    ),
    names: each(
      (w) => `${w}.Smith`,
      (w) => `J. ${w}`,
      (w) => `${w} B. Jones, Ph.D.`
    ),
    mail: each(
      (w) => `${w}@evil.com`,
      (w) => `${w} <${w}@mail.evil.org>`,
      (w) => `mailto:${w}@evil.io`
    ),
    sentences: each(
      (w) => `The ${w} is ready. Read it.`,
      (w) => `No ${w}.Please wait...`,
      (w) => `Is it ${w}? Yes: 100%.`,
      (w) => `${w} and/or more; see section 3.2.`
    ),
    prose: each(
      (w) => `Write to me@evil.com about evil.com and ${w}.`,
      (w) => `node.js runs ${w}.ts // quickly`
    ),
    dates: each(
      (_, n) => `2024-01-0${n}`,
      (_, n) => `0${n}.12.2024`,
      (_, n) => `2024-01-0${n}T12:30:00.000Z`,
      (_, n) => `1/${n}/24`
    ),
    times: each(
      (_, n) => `12:3${n}`,
      (_, n) => `12:30:4${n}`,
      (_, n) => `00:01:02:0${n}`,
      (_, n) => `1${n}:00-18:00`
    ),
    numbers: each(
      (_, n) => `${n}.5`,
      (_, n) => `1,00${n}.25`,
      (_, n) => `-${n}e10`,
      (_, n) => `0x7f00000${n}`,
      (_, n) => `213070643${n}`,
      (_, n) => `$${n}.99`,
      (_, n) => `${n}:1`
    ),
    keys: each(
      (w) => `foo.bar.${w}`,
      (w) => `${w}.name`,
      (w) => `server.${w}.port`,
      (w) => `spring.${w}.dev`,
      (w) => `app.${w}.local`,
      (w) => `${w}.internal`
    ),
    packages: each(
      (w) => `com.example.${w}`,
      (w) => `org.apache.${w}.io`,
      () => "java.net",
      (w) => `@scope/${w}`,
      (w) => `lodash.${w}`,
      (w) => `github.com/x/${w}`
    ),
    code: each(
      (w) => `console.log(${w})`,
      (w) => `//${w}.log(1) and more`,
      (w) => `  // ${w} comment`,
      (w) => `std::${w}`,
      () => "a::b",
      (w) => `x = ${w} //2`,
      (w) => `this.${w}.map((x) => x.y)`,
      (w) => `/* ${w} */`
    ),
    xpaths: each(
      (w) => `//div/${w}`,
      (w) => `//a[@href='${w}.com']`,
      (w) => `//*[contains(text(),"${w}.x")]`
    ),
    patterns: each(
      (w) => `^${w}\\.com$`,
      (w) => `*.${w}`,
      (w) => `\\d+\\.\\d+ ${w}`,
      () => "\\\\d+\\\\.\\\\d+"
    ),
    identifiers: each(
      (w, n) => `${w}_${n}:1`,
      (_, n) => `00:1a:2b:3c:4d:5${n}`,
      (_, n) => `50:06:01:60:3b:e0:12:3${n}`,
      (_, n) => `3f2504e0-4f89-11d3-9a0c-0305e82c330${n}`,
      (w) => `arn:aws:s3:::${w}`,
      (w) => `urn:${w}:1`
    ),
    labels: each(
      (w) => `key:${w}`,
      (w) => `${w}: value`,
      (w) => `note:${w}.x`,
      (w) => `redis:6379 ${w}`,
      (w) => `#${w}`,
      (w) => `@${w}`
    ),
    applications: each(
      (w) => `${w}.app`,
      (w) => `${w}.ai`,
      (w) => `notes.${w}`,
      (w) => `.env.local ${w}`,
      () => "settings.local",
      () => "webpack.dev"
    ),
    percent: each(
      (_, n) => `${n}0%`,
      (_, n) => `100%25 ${n}`,
      (w) => `${w}%20name`,
      (w) => `%${w}`
    ),
    other: each(
      (w) => `${w}…`,
      (w) => `(${w}.)`,
      (w) => `请看${w}。谢谢`,
      (w) => `:) ${w} :/`,
      (w) => `${w}\n\nline`,
      (w) => `1::2 ${w}`,
      () => "::",
      () => "1::2",
      () => `x://`,
      () => "://"
    )
  }

  it("are more than a thousand, of more than twenty families", () => {
    assert.isAtLeast(Object.keys(ordinary).length, 20)
    assert.isAtLeast(new Set(Object.values(ordinary).flat()).size, 1000)
  })

  it.each(Object.entries(ordinary))("are never refused: %s", (_, strings) => {
    const check = Domains.compile({ allowed: ["good.com"] })
    const wrong = strings.flatMap((text) => {
      const violation = check({ a: text, [text]: [text] }, [])
      return violation === undefined ? [] : [`${JSON.stringify(text)} names ${violation.host}`]
    })
    assert.deepStrictEqual(wrong, [])
  })
})

describe("the first look", () => {
  it("lets nothing pass that the walk would refuse", () => {
    const piece = fc.constantFrom(
      ..."a b9 - . : / \\ % 2e // : localhost LOCALHOST evil.com 。 ．com ｡ \t \n [ ] @ ? 1 127 ::1 www. http:".split(
        " "
      ),
      " ",
      "\t"
    )
    const text = fc.array(piece, { maxLength: 8 }).map((pieces) => pieces.join(""))
    const long = fc.tuple(text, fc.nat(300)).map(([text, length]) => text + "x".repeat(length))
    const leaf = fc.oneof(
      text,
      long,
      fc.integer(),
      fc.constant(null),
      fc.webUrl().map((url) => new URL(url))
    )
    const { tree } = fc.letrec((tie) => ({
      tree: fc.oneof(
        { depthSize: "small" },
        leaf,
        fc.array(tie("tree"), { maxLength: 3 }),
        fc.dictionary(text, tie("tree"), { maxKeys: 3 })
      )
    }))
    const check = Domains.compile(good)
    fc.assert(
      // A host field that no argument has leaves everything to the walk.
      fc.property(tree, (params) =>
        assert.deepStrictEqual(check(params, []), check(params, [["nowhere", "to", "be"]]))
      ),
      { numRuns: 5000 }
    )
  })

  it("sees the shortest hosts", () => {
    for (const host of [
      "a.io",
      "a。io",
      "a．io",
      "a｡io",
      "\\\\a\\b",
      "//a.b",
      "w:1",
      "::1",
      "[::1]",
      "1%2e2.3.4"
    ]) {
      assert.strictEqual(refused(host), refused({ a: [host] }, good, [["nowhere"]]), host)
    }
  })

  it("leaves to the walk what it cannot see through", () => {
    const deep = (levels: number): unknown => (levels === 0 ? "https://evil.com" : [deep(levels - 1)])
    assert.strictEqual(refused(deep(40)), "evil.com")
    assert.strictEqual(
      refused({
        get a() {
          throw new Error("no")
        },
        b: "https://evil.com"
      }),
      "evil.com"
    )
    const circle: Record<string, unknown> = { a: "EUR" }
    circle["b"] = [circle]
    assert.isUndefined(refused(circle))
    circle["c"] = "https://evil.com"
    assert.strictEqual(refused(circle), "evil.com")
  })
})

describe("the walk", () => {
  class Link {
    readonly url: string
    readonly self = this
    constructor(url: string) {
      this.url = url
    }
    get never(): string {
      throw new Error("computed")
    }
  }

  it("reads decoded values: URLs and instances of classes, cycles included", () => {
    assert.strictEqual(refused({ a: new URL("https://evil.com/x") }), "evil.com")
    assert.strictEqual(refused([new Link("https://evil.com")]), "evil.com")
    assert.isUndefined(
      refused([
        new Link("https://good.com"),
        new Date(),
        new Uint8Array(10),
        1n,
        Symbol("x"),
        null,
        undefined,
        () => 1
      ])
    )
    const cyclic: Record<string, unknown> = {}
    cyclic["self"] = { cyclic, url: "https://evil.com" }
    assert.strictEqual(refused(cyclic), "evil.com")
  })

  it("looks at shared values at each of their places", () => {
    const shared = { host: "evil" }
    assert.strictEqual(refused({ a: shared, b: shared }, good, [["b", "host"]]), "evil")
  })

  it("walks a hundred thousand levels", () => {
    let value: unknown = "https://evil.com"
    for (let i = 0; i < 100_000; i++) value = i % 2 === 0 ? [value] : { a: value }
    assert.strictEqual(refused(value), "evil.com")
  })

  const mega = 1 << 20
  it.each([
    "://",
    "%25",
    "@",
    "a://",
    "ab://",
    "http:",
    "http:\\\\",
    "//",
    "\\\\",
    `"http:`,
    "https://good.com ",
    "https://good.com@",
    "%25https://good.com ",
    "https:good.com,",
    "http:a.b\\",
    "'//a.b",
    ":",
    "a",
    "a.",
    "%3A%2F%2F",
    "<",
    "[",
    "\n",
    "\t//",
    "http:/\n",
    "https://good.com,",
    "xn--",
    "x:",
    `\t//${"a-".repeat(130)} `,
    `http://a${".".repeat(1000)}b `,
    `"http://'http://\`http:`,
    " "
  ])("takes linear time over a megabyte of %j", (piece) => {
    {
      const check = Domains.compile({ allowed: ["*"], denied: ["evil.com"] })
      for (const text of [
        piece.repeat(mega / piece.length),
        `https://${piece.repeat(mega / piece.length)}`
      ]) {
        const before = process.cpuUsage()
        check({ text }, [["text"]])
        const { user, system } = process.cpuUsage(before)
        assert.isBelow((user + system) / 1000, 1000, piece)
      }
    }
  })
})
