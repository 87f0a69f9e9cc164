/**
 * Secrets by name: a model, a document or a configuration says which one a
 * request is to be sent with, and only what sends the request sees it.
 *
 * A credential names the hosts that it may be sent to. It goes nowhere else,
 * whatever URL it is asked for with, and not in clear text over a network
 * unless it says `overHttp`.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Domains from "../internal/domains.ts"
import * as Headers from "./outbound/headers.ts"

// --- Models ----------------------------------------------------------------

const Secret = Schema.RedactedFromValue(Schema.NonEmptyString)

/** Whoever may see the secret is named: every host is no answer. */
const hostProblem = (pattern: string): string | undefined =>
  pattern === "*" ? "must name the hosts that may see the secret" : Domains.problem(pattern)

const common = {
  /** Where it may be sent: `api.example.com`, `*.example.com` (not the apex), addresses, ranges. `*` alone is refused. */
  hosts: Schema.Array(Schema.String.check(Schema.makeFilter(hostProblem))),
  /** Whether it may be sent without TLS to another machine; by default only to this one's loopback. */
  overHttp: Schema.optionalKey(Schema.Boolean)
}

/** A secret, how it is sent, and to whom. Decoded from data in which the secrets are plain texts. */
export const Credential = Schema.Union([
  /** `Authorization: Bearer` (RFC 6750). */
  Schema.Struct({ ...common, type: Schema.Literal("bearer"), token: Secret }),
  /** `Authorization: Basic` (RFC 7617), in UTF-8. */
  Schema.Struct({ ...common, type: Schema.Literal("basic"), username: Schema.String, password: Secret }),
  /** A header of any name. */
  Schema.Struct({ ...common, type: Schema.Literal("header"), name: Schema.NonEmptyString, value: Secret }),
  /** A parameter of the query. */
  Schema.Struct({ ...common, type: Schema.Literal("query"), name: Schema.NonEmptyString, value: Secret })
])
export type Credential = typeof Credential.Type

// --- Errors ----------------------------------------------------------------

/** There is no credential of this name. */
export class CredentialError extends Schema.TaggedError<CredentialError>("interlock/toolbox/CredentialError")(
  "CredentialError",
  {
    reason: Schema.Literal("unknown"),
    name: Schema.String,
    /** The names that there are. */
    known: Schema.Array(Schema.String)
  }
) {
  override get message(): string {
    return this.known.length === 0
      ? "There are no credentials."
      : `There is no credential of this name; there are: ${this.known.join(", ")}.`
  }
}

// --- Rules -----------------------------------------------------------------

/** Why a credential cannot be sent as it is; never tells the secret. */
const problemOf = (credential: Credential): string | undefined => {
  if (credential.hosts.length === 0) return "it names no hosts"
  for (const pattern of credential.hosts) {
    const problem = hostProblem(pattern)
    if (problem !== undefined) return `the host "${pattern}" ${problem}`
  }
  switch (credential.type) {
    case "bearer":
      return isSendable(credential.token) ? undefined : "the token cannot stand in a header"
    case "basic":
      if (/[:\p{Cc}]/u.test(credential.username)) {
        return "the user name must not have colons or control characters"
      }
      return /\p{Cc}/u.test(Redacted.value(credential.password))
        ? "the password must not have control characters"
        : undefined
    case "header":
      return (
        Headers.nameProblem(credential.name) ??
        (isSendable(credential.value) ? undefined : "the value cannot stand in a header")
      )
    case "query":
      return credential.name === "" ? "the parameter needs a name" : undefined
  }
}

const isSendable = (secret: Redacted.Redacted): boolean => {
  const value = Redacted.value(secret)
  return value !== "" && Headers.isValue(value)
}

// --- Service ---------------------------------------------------------------

/** The credentials that there are. */
export class Credentials extends Context.Service<
  Credentials,
  {
    readonly get: (name: string) => Effect.Effect<Credential, CredentialError>
    readonly names: ReadonlyArray<string>
  }
>()("interlock/toolbox/Credentials") {}

/** Credentials held in memory. Dies with a `RangeError` where one cannot be sent as it is. */
export const make = (record: Readonly<Record<string, Credential>>): Effect.Effect<Credentials["Service"]> =>
  Effect.sync(() => {
    const byName = new Map(Object.entries(record))
    for (const [name, credential] of byName) {
      const problem = problemOf(credential)
      if (problem !== undefined) throw new RangeError(`Credentials: ${name}: ${problem}`)
    }
    const names = [...byName.keys()]
    return Credentials.of({
      names,
      get: (name) => {
        const credential = byName.get(name)
        return credential === undefined
          ? Effect.fail(new CredentialError({ reason: "unknown", name, known: names }))
          : Effect.succeed(credential)
      }
    })
  })

/** Provides these credentials. */
export const layer = (record: Readonly<Record<string, Credential>>): Layer.Layer<Credentials> =>
  Layer.effect(Credentials, make(record))

/** No credentials. */
export const layerNone: Layer.Layer<Credentials> = layer({})
