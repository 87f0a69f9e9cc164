/**
 * Servers as people write them down: the shape of `mcpServers` that other
 * clients have, and what the gateway adds to it.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { Capability } from "../../Capability.ts"
import * as Domains from "../../internal/domains.ts"
import * as Glob from "../../internal/glob.ts"
import { Period } from "../../internal/period.ts"
import { UpstreamError } from "./errors.ts"
import { type Environment, expand, inherited } from "./variables.ts"

// --- Models ----------------------------------------------------------------

const optional = Schema.optionalKey
const Globs = Schema.Array(Schema.NonEmptyString)

/** A text, in which `${NAME}` stands for a variable; or a named secret. */
const Value = Schema.Union([Schema.String, Schema.Struct({ credential: Schema.NonEmptyString })])

const common = {
  /** Leaves the server out. */
  disabled: optional(Schema.Boolean),
  /** What its tools' names begin with, before `__`: the server's name by default, nothing for `""`. */
  prefix: optional(Schema.String.check(Schema.isPattern(/^[A-Za-z0-9_-]{0,64}$/))),
  /** How long a call may take; the deployment's default otherwise. */
  timeout: optional(Period),
  /** How long it may take to start; 60 seconds. */
  startTimeout: optional(Period),
  /** Ends the connection when it was not used for so long; by default it stays. */
  stopWhenIdle: optional(Period),
  /** Globs over its tools' names, theirs or as they are offered; what `allow` does not name is left out. */
  tools: optional(Schema.Struct({ allow: optional(Globs), deny: optional(Globs) })),
  /** Believes what the server says of its tools (read-only, idempotent). Default false: hints then only make things stricter. */
  trustAnnotations: optional(Schema.Boolean),
  /** Believes what its tools return: by default it taints the run that has read it. */
  trustResults: optional(Schema.Boolean),
  /** Whether data leaves by its calls; by default where its URL is another machine's, and unknown for a command. */
  sendsData: optional(Schema.Boolean),
  /** What its tools need; without it they say nothing of it. */
  capabilities: optional(Schema.Array(Capability))
}

const isRight = Schema.makeFilter(
  (server: { readonly command?: string; readonly url?: string }): string | undefined =>
    (server.command === undefined) === (server.url === undefined)
      ? 'must have either a "command" or a "url"'
      : undefined
)

/** A server: a command that speaks over its standard input and output, or a URL. */
export const ServerConfig = Schema.Struct({
  /** `stdio`, or for a URL which transport it speaks; without it the newer one is tried first. */
  type: optional(Schema.Literals(["stdio", "http", "streamable-http", "streamableHttp", "sse"])),
  command: optional(Schema.NonEmptyString),
  args: optional(Schema.Array(Schema.String)),
  /** All that the process sees of the environment, beside PATH, HOME and the like. */
  env: optional(Schema.Record(Schema.String, Value)),
  cwd: optional(Schema.NonEmptyString),
  url: optional(Schema.NonEmptyString),
  headers: optional(Schema.Record(Schema.String, Schema.String)),
  /** The named secret that is sent to the URL. */
  credential: optional(Schema.NonEmptyString),
  ...common
}).check(isRight)
export type ServerConfig = typeof ServerConfig.Type

/** Servers by name. */
export const Servers = Schema.Record(Schema.NonEmptyString, ServerConfig)
export type Servers = typeof Servers.Type

/** A named secret, as the toolbox's credentials have it: where it may be sent, and how. */
export type Credential = {
  readonly hosts: ReadonlyArray<string>
  readonly overHttp?: boolean | undefined
} & (
  | { readonly type: "bearer"; readonly token: Redacted.Redacted }
  | { readonly type: "basic"; readonly username: string; readonly password: Redacted.Redacted }
  | { readonly type: "header"; readonly name: string; readonly value: Redacted.Redacted }
  | { readonly type: "query"; readonly name: string; readonly value: Redacted.Redacted }
)

/** Finds a secret by its name; its error's message is shown to operators. */
export type FindCredential = (name: string) => Effect.Effect<Credential, { readonly message: string }>

// --- As it is used ---------------------------------------------------------

/** Where a server is, with its variables and secrets in place. */
export type Target =
  | {
      readonly _tag: "Process"
      readonly command: string
      readonly args: ReadonlyArray<string>
      readonly env: Readonly<Record<string, string>>
      readonly cwd: string | undefined
    }
  | {
      readonly _tag: "Url"
      readonly url: URL
      readonly headers: Readonly<Record<string, string>>
      /** `undefined`: the newer transport, else the older. */
      readonly kind: "streamable" | "sse" | undefined
    }

export interface Resolved {
  readonly target: Target
  /** Values that no text may show. */
  readonly secrets: ReadonlyArray<string>
}

/** What the tools' names begin with. */
export const prefixOf = (name: string, { prefix }: ServerConfig): string => {
  const said = prefix ?? name.replace(/[^A-Za-z0-9_-]+/g, "_")
  return said === "" ? "" : `${said}__`
}

/** Whether a tool is among those that are to be offered, by any of its names. */
export const isWanted = ({ tools }: ServerConfig, names: ReadonlyArray<string>): boolean =>
  (tools?.allow === undefined || Glob.find(tools.allow, names) !== undefined) &&
  Glob.find(tools?.deny ?? [], names) === undefined

export const startTimeoutOf = ({ startTimeout }: ServerConfig): Duration.Duration =>
  Duration.fromInputUnsafe(startTimeout ?? "60 seconds")

/** Puts variables and secrets into a server's configuration. */
export const resolve = Effect.fnUntraced(function* (
  server: string,
  config: ServerConfig,
  environment: Environment,
  find: FindCredential
): Effect.fn.Return<Resolved, UpstreamError> {
  const fail = (detail: string) => new UpstreamError({ reason: "configuration", server, detail })
  const put = (where: string, text: string): Effect.Effect<string, UpstreamError> =>
    Result.match(expand(text, environment), {
      onFailure: (problem) => Effect.fail(fail(`${where} ${problem}`)),
      onSuccess: Effect.succeed
    })
  const secret = (name: string) => Effect.mapError(find(name), ({ message }) => fail(message))
  const secrets: Array<string> = []

  if (config.command !== undefined) {
    const env: Record<string, string> = { ...inherited(environment) }
    for (const [name, value] of Object.entries(config.env ?? {})) {
      const text =
        typeof value === "string"
          ? yield* put(`env.${name}`, value)
          : secretOf(yield* secret(value.credential))
      env[name] = text
      secrets.push(text)
    }
    const args: Array<string> = []
    for (const [index, arg] of (config.args ?? []).entries()) args.push(yield* put(`args[${index}]`, arg))
    const target: Target = {
      _tag: "Process",
      command: yield* put("command", config.command),
      args,
      env,
      cwd: config.cwd === undefined ? undefined : yield* put("cwd", config.cwd)
    }
    return { target, secrets }
  }

  const written = yield* put("url", config.url ?? "")
  const url = URL.parse(written)
  if (url === null || (url.protocol !== "https:" && url.protocol !== "http:")) {
    return yield* fail("url is none of http or https")
  }
  if (url.username !== "" || url.password !== "") {
    return yield* fail("url holds a name or a password: give it a credential or headers")
  }
  const headers: Record<string, string> = {}
  for (const [name, value] of Object.entries(config.headers ?? {})) {
    headers[name] = yield* put(`headers.${name}`, value)
    secrets.push(headers[name])
  }
  if (config.credential !== undefined) {
    const credential = yield* secret(config.credential)
    const problem = mayNotGoTo(credential, url)
    if (problem !== undefined) return yield* fail(`the credential "${config.credential}" ${problem}`)
    secrets.push(secretOf(credential))
    switch (credential.type) {
      case "bearer":
        headers["authorization"] = `Bearer ${Redacted.value(credential.token)}`
        break
      case "basic": {
        const pair = `${credential.username}:${Redacted.value(credential.password)}`
        headers["authorization"] = `Basic ${Buffer.from(pair).toString("base64")}`
        break
      }
      case "header":
        headers[credential.name] = Redacted.value(credential.value)
        break
      case "query":
        url.searchParams.set(credential.name, Redacted.value(credential.value))
    }
  }
  const kind = config.type === undefined ? undefined : config.type === "sse" ? "sse" : "streamable"
  return { target: { _tag: "Url", url, headers, kind }, secrets }
})

const secretOf = (credential: Credential): string => {
  switch (credential.type) {
    case "bearer":
      return Redacted.value(credential.token)
    case "basic":
      return Redacted.value(credential.password)
    case "header":
    case "query":
      return Redacted.value(credential.value)
  }
}

const mayNotGoTo = ({ hosts, overHttp }: Credential, url: URL): string | undefined => {
  if (Domains.compile({ allowed: hosts })({ url: url.origin }, []) !== undefined) {
    return `may not be sent to ${url.hostname}`
  }
  return url.protocol === "https:" || overHttp === true || isLoopback(url.hostname)
    ? undefined
    : "may not be sent without TLS"
}

/** Whether data leaves by a server's calls, where that is known. */
export const sendsData = ({ sendsData, url }: ServerConfig): boolean | undefined =>
  sendsData ?? (url === undefined || isLoopback(URL.parse(url)?.hostname ?? "") ? undefined : true)

const isLoopback = (host: string): boolean =>
  host === "localhost" || host === "[::1]" || /^127\.\d+\.\d+\.\d+$/.test(host)

/** Where a server is, for people: without arguments, query and secrets. */
export const describe = ({ command, url }: ServerConfig): string => {
  if (command !== undefined) return command
  const parsed = URL.parse(url ?? "")
  return parsed === null ? "" : `${parsed.origin}${parsed.pathname}`
}
