/** What people write down of a server: the shape of it, its variables and its secrets. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Redacted, Result, Schema } from "effect"
import { Gateway } from "effect-interlock/mcp"
import * as fc from "fast-check"
import {
  describe as describeServer,
  isWanted,
  prefixOf,
  resolve,
  sendsData
} from "../src/mcp/gateway/config.ts"
import { expand, inherited } from "../src/mcp/gateway/variables.ts"

/** A variable as configurations name it. */
const variable = (inside: string) => `\${${inside}}`

const decode = Schema.decodeUnknownResult(Gateway.Servers, { errors: "all", onExcessProperty: "error" })

const problemOf = (servers: unknown): string =>
  Result.match(decode(servers), { onFailure: (error) => String(error.message), onSuccess: () => "" })

describe("servers as people write them", () => {
  it("are taken as other clients have them", () => {
    const servers = {
      filesystem: {
        command: "npx",
        args: ["-y", "@modelcontextprotocol/server-filesystem", "/srv"],
        env: { A: "b" }
      },
      github: {
        type: "http",
        url: "https://api.githubcopilot.com/mcp/",
        headers: { Authorization: "Bearer x" }
      },
      events: { type: "sse", url: "https://example.com/sse" },
      local: { type: "stdio", command: "uvx", args: ["server"], cwd: "/srv" },
      ours: {
        command: "server",
        disabled: true,
        prefix: "",
        timeout: "20 seconds",
        startTimeout: 5000,
        stopWhenIdle: "10 minutes",
        tools: { allow: ["read_*"], deny: ["*_all"] },
        trustAnnotations: true,
        trustResults: true,
        sendsData: false,
        capabilities: ["read_data", "own"],
        env: { TOKEN: { credential: "theirs" } }
      }
    }
    const decoded = decode(servers)
    assert.isTrue(Result.isSuccess(decoded), problemOf(servers))
  })

  it("are refused with the place and the reason where they are none", () => {
    assert.include(problemOf({ a: {} }), 'must have either a "command" or a "url"')
    assert.include(
      problemOf({ a: { command: "x", url: "https://x" } }),
      'must have either a "command" or a "url"'
    )
    assert.include(problemOf({ a: { command: "x", args: "y" } }), '["a"]["args"]')
    assert.include(problemOf({ a: { url: "https://x", type: "websocket" } }), '["a"]["type"]')
    assert.include(problemOf({ a: { command: "x", prefix: "with space" } }), '["a"]["prefix"]')
    assert.include(problemOf({ a: { command: "x", timeout: "soon" } }), "must be a time longer than 0")
    assert.include(problemOf({ a: { command: "x", tols: {} } }), '["a"]["tols"]')
  })

  it("have the prefix that they say, or one made of their name", () => {
    const server = { command: "x" }
    assert.strictEqual(prefixOf("github", server), "github__")
    assert.strictEqual(prefixOf("My Server (2)", server), "My_Server_2___")
    assert.strictEqual(prefixOf("github", { ...server, prefix: "gh" }), "gh__")
    assert.strictEqual(prefixOf("github", { ...server, prefix: "" }), "")
  })

  it("offer what is allowed and not denied, by any name", () => {
    const wanted = (tools: NonNullable<Gateway.Servers[string]["tools"]>) =>
      isWanted({ command: "x", tools }, ["gh__read", "read"])
    assert.isTrue(isWanted({ command: "x" }, ["gh__read", "read"]))
    assert.isTrue(wanted({ allow: ["read"] }))
    assert.isTrue(wanted({ allow: ["GH__*"] }))
    assert.isFalse(wanted({ allow: ["write"] }))
    assert.isFalse(wanted({ allow: ["read"], deny: ["gh__*"] }))
    assert.isFalse(wanted({ allow: [] }))
  })

  it("send data where they are another machine's, unless their operator knows better", () => {
    assert.isTrue(sendsData({ url: "https://example.com/mcp" }))
    assert.isUndefined(sendsData({ url: "http://localhost:3000/mcp" }))
    assert.isUndefined(sendsData({ url: "http://127.0.0.1/mcp" }))
    assert.isUndefined(sendsData({ command: "x" }))
    assert.isFalse(sendsData({ url: "https://example.com", sendsData: false }))
    assert.isTrue(sendsData({ command: "x", sendsData: true }))
  })

  it("are described without arguments, queries and secrets", () => {
    assert.strictEqual(describeServer({ command: "npx", args: ["--token", "s3cret"] }), "npx")
    assert.strictEqual(
      describeServer({ url: "https://example.com/mcp?key=s3cret#x" }),
      "https://example.com/mcp"
    )
    assert.strictEqual(describeServer({ url: variable("URL") }), "")
  })
})

describe("variables", () => {
  const environment = { HOME: "/home/ada", EMPTY: "" }

  it("are put in where they are named", () => {
    const put = (text: string) => expand(text, environment)
    assert.deepEqual(
      put(`a ${variable("HOME")} b ${variable("env:HOME")}`),
      Result.succeed("a /home/ada b /home/ada")
    )
    assert.deepEqual(put(variable("NONE:-other: value")), Result.succeed("other: value"))
    assert.deepEqual(put(variable("EMPTY:-other")), Result.succeed("other"))
    assert.deepEqual(put(variable("EMPTY")), Result.succeed(""))
    assert.deepEqual(put("$HOME {HOME} $$"), Result.succeed("$HOME {HOME} $$"))
  })

  it("that are not set, or are none, are problems that name them", () => {
    const problem = (text: string) =>
      Result.match(expand(text, environment), { onFailure: (problem) => problem, onSuccess: () => "" })
    assert.strictEqual(problem(variable("NONE")), "needs the environment variable NONE, which is not set")
    assert.include(problem(variable("input:token")), "input:token")
    assert.include(problem(variable("")), "not the name of a variable")
    assert.include(problem(variable("toString")), "toString")
  })

  it("are put in once: what they hold is no variable", () => {
    const words = fc.string({ unit: fc.constantFrom("$", "{", "}", "A", "B", ":", "-") })
    fc.assert(
      fc.property(words, words, words, (before, value, after) => {
        fc.pre(!/\$\{/.test(before + after) && !before.endsWith("$"))
        assert.deepEqual(
          expand(`${before}${variable("VALUE")}${after}`, { VALUE: value }),
          Result.succeed(before + value + after)
        )
      })
    )
  })

  it("of the environment reach a process only where programs need them", () => {
    assert.deepEqual(
      inherited({
        PATH: "/bin",
        HOME: "/",
        LANG: "C",
        AWS_SECRET_ACCESS_KEY: "x",
        SHELL: "() { :; }",
        NODE_OPTIONS: "-r x"
      }),
      { PATH: "/bin", HOME: "/", LANG: "C" }
    )
  })
})

describe("what a server is given", () => {
  const token = Redacted.make("s3cret-token")
  const credentials: Readonly<Record<string, Gateway.Credential>> = {
    bearer: { type: "bearer", hosts: ["api.example.com"], token },
    basic: { type: "basic", hosts: ["*.example.com"], username: "ada", password: token },
    header: { type: "header", hosts: ["api.example.com"], name: "x-key", value: token },
    query: { type: "query", hosts: ["api.example.com"], name: "key", value: token },
    plain: { type: "bearer", hosts: ["127.0.0.1", "10.0.0.1"], token },
    overHttp: { type: "bearer", hosts: ["10.0.0.1"], overHttp: true, token }
  }
  const find: Gateway.FindCredential = (name) =>
    Object.hasOwn(credentials, name)
      ? Effect.succeed(credentials[name] as Gateway.Credential)
      : Effect.fail({ message: `there is no credential "${name}"` })
  const resolved = (config: Gateway.Servers[string]) => resolve("one", config, { KEY: "s3cret-key" }, find)
  const why = (config: Gateway.Servers[string]) =>
    Effect.map(Effect.flip(resolved(config)), ({ message }) => message)
  const url = "https://api.example.com/mcp"

  it.effect("has its secrets in headers or the query, and no text shows them", () =>
    Effect.gen(function* () {
      const headers = (credential: string) =>
        Effect.map(resolved({ url, credential }), ({ secrets, target }) => {
          assert.include(secrets, "s3cret-token")
          if (target._tag !== "Url") throw new Error("no url")
          return { headers: target.headers, url: target.url.href }
        })
      assert.deepEqual((yield* headers("bearer")).headers, { authorization: "Bearer s3cret-token" })
      assert.deepEqual((yield* headers("basic")).headers, {
        authorization: `Basic ${Buffer.from("ada:s3cret-token").toString("base64")}`
      })
      assert.deepEqual((yield* headers("header")).headers, { "x-key": "s3cret-token" })
      assert.strictEqual((yield* headers("query")).url, `${url}?key=s3cret-token`)
      const { target } = yield* resolved({
        url: `${url}?a=${variable("KEY")}`,
        headers: { "X-A": `k ${variable("KEY")}` }
      })
      assert.deepInclude(target, { headers: { "X-A": "k s3cret-key" } })
    })
  )

  it.effect("goes nowhere that its secret may not go", () =>
    Effect.gen(function* () {
      assert.include(
        yield* why({ url: "https://evil.example.org/", credential: "bearer" }),
        "may not be sent to evil.example.org"
      )
      assert.include(
        yield* why({ url: "https://api.example.com.evil.org/", credential: "bearer" }),
        "may not be sent"
      )
      assert.include(
        yield* why({ url: "http://api.example.com/", credential: "bearer" }),
        "may not be sent without TLS"
      )
      assert.include(
        yield* why({ url: "http://10.0.0.1/", credential: "plain" }),
        "may not be sent without TLS"
      )
      yield* resolved({ url: "http://127.0.0.1:3000/", credential: "plain" })
      yield* resolved({ url: "http://10.0.0.1/", credential: "overHttp" })
    })
  )

  it.effect("is said to be wrong with the field, and never with a value", () =>
    Effect.gen(function* () {
      assert.include(yield* why({ url, credential: "none" }), 'there is no credential "none"')
      assert.include(yield* why({ url: "ftp://example.com" }), "url is none of http or https")
      assert.include(yield* why({ url: "https://ada:s3cret@example.com/" }), "url holds a name or a password")
      assert.notInclude(yield* why({ url: "https://ada:s3cret@example.com/" }), "s3cret")
      assert.include(
        yield* why({ url, headers: { A: variable("UNSET") } }),
        "headers.A needs the environment variable UNSET"
      )
      assert.include(yield* why({ command: "x", args: ["a", variable("UNSET")] }), "args[1] needs")
      assert.include(yield* why({ command: "x", env: { A: variable("UNSET") } }), "env.A needs")
      assert.include(
        yield* why({ command: "x", env: { A: { credential: "none" } } }),
        'there is no credential "none"'
      )
    })
  )
})
