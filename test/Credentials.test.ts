/** Secrets by name: found, refused where they make no sense, and shown nowhere. */
import { inspect } from "node:util"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Layer, Redacted, Schema } from "effect"
import { Credentials } from "effect-interlock/toolbox"

const secret = Redacted.make("s3cr3t-token")

const build = (record: Readonly<Record<string, Credentials.Credential>>) =>
  Effect.scoped(Effect.exit(Layer.build(Credentials.layer(record))))

describe("Credentials", () => {
  it.effect("finds a credential by its name, and says which ones there are where there is none", () =>
    Effect.gen(function* () {
      const { get, names } = yield* Credentials.Credentials
      assert.deepStrictEqual(names, ["github", "mail"])
      assert.strictEqual((yield* get("github")).type, "bearer")
      for (const name of ["gitlab", "", "__proto__", "constructor", "toString"]) {
        const error = yield* Effect.flip(get(name))
        assert.strictEqual(error.reason, "unknown")
        assert.strictEqual(error.message, "There is no credential of this name; there are: github, mail.")
      }
    }).pipe(
      Effect.provide(
        Credentials.layer({
          github: { type: "bearer", token: secret, hosts: ["api.github.com"] },
          mail: { type: "basic", username: "me", password: secret, hosts: ["*.example.com"] }
        })
      )
    )
  )

  it.effect("can be none at all", () =>
    Effect.gen(function* () {
      const { get, names } = yield* Credentials.Credentials
      assert.deepStrictEqual(names, [])
      assert.strictEqual((yield* Effect.flip(get("x"))).message, "There are no credentials.")
    }).pipe(Effect.provide(Credentials.layerNone))
  )

  it.effect("refuses what cannot be sent or names no hosts, and does not say the secret", () =>
    Effect.gen(function* () {
      const hosts = ["a.test"]
      const bad = Redacted.make("s3cr3t\r\nX-Injected: yes")
      const wrong: ReadonlyArray<readonly [Credentials.Credential, string]> = [
        [{ type: "bearer", token: secret, hosts: [] }, "it names no hosts"],
        [{ type: "bearer", token: secret, hosts: ["*"] }, "must name the hosts that may see the secret"],
        [{ type: "bearer", token: secret, hosts: ["https://a.test"] }, "host without scheme"],
        [{ type: "bearer", token: secret, hosts: ["a.test", "a.*.test"] }, "wildcard"],
        [{ type: "bearer", token: bad, hosts }, "the token cannot stand in a header"],
        [{ type: "bearer", token: Redacted.make(""), hosts }, "the token cannot stand in a header"],
        [{ type: "bearer", token: Redacted.make("s3cr3t "), hosts }, "the token cannot stand in a header"],
        [{ type: "header", name: "X-Key", value: bad, hosts }, "the value cannot stand in a header"],
        [{ type: "header", name: "X Key", value: secret, hosts }, "a header's name must be made of"],
        [{ type: "header", name: "Host", value: secret, hosts }, "the header host cannot be set"],
        [{ type: "header", name: "Transfer-Encoding", value: secret, hosts }, "cannot be set"],
        [{ type: "basic", username: "a:b", password: secret, hosts }, "colons"],
        [{ type: "basic", username: "a\n", password: secret, hosts }, "control characters"],
        [{ type: "basic", username: "a", password: bad, hosts }, "the password must not have control"],
        [{ type: "query", name: "", value: secret, hosts }, "the parameter needs a name"]
      ]
      for (const [credential, expected] of wrong) {
        const exit = yield* build({ mine: credential })
        assert.isTrue(Exit.isFailure(exit), expected)
        const shown = Exit.isFailure(exit) ? String(exit.cause) : ""
        assert.include(shown, "Credentials: mine: ")
        assert.include(shown, expected)
        assert.notInclude(shown, "s3cr3t")
      }
    })
  )

  it.effect("is read from data in which the secrets are plain texts, and shown without them", () =>
    Effect.gen(function* () {
      const decode = Schema.decodeUnknownEffect(Credentials.Credential)
      const credential = yield* decode({ type: "bearer", token: "s3cr3t-token", hosts: ["a.test"] })
      assert.strictEqual(credential.type === "bearer" && Redacted.value(credential.token), "s3cr3t-token")
      assert.notInclude(`${inspect(credential, { depth: 9 })}${JSON.stringify(credential)}`, "s3cr3t")
      const wrong = [
        { type: "bearer", token: "s3cr3t-token", hosts: ["*"] },
        { type: "bearer", token: "", hosts: ["a.test"] },
        { type: "basic", token: "s3cr3t-token", hosts: ["a.test"] },
        { type: "cookie", value: "s3cr3t-token", hosts: ["a.test"] }
      ]
      for (const each of wrong) {
        const error = yield* Effect.flip(decode(each))
        assert.notInclude(error.message, "s3cr3t")
      }
    })
  )
})
