/**
 * The operations of an OpenAPI document (3.0 or 3.1, JSON or YAML) as tools: one toolset, read from a file, a
 * URL or a value.
 *
 *     const GitHub = OpenApi.make({
 *       document: "https://raw.example.com/github/openapi.yaml",
 *       prefix: "github",
 *       credentials: { bearerAuth: "github-token" },
 *       include: [{ tags: ["issues"], methods: ["GET"] }]
 *     })
 *
 * **Arguments.** Each parameter is an argument, and the body is `body`. All of them are validated, before
 * anything is sent, against one JSON Schema 2020-12 (`openapi/schemas.ts`), and written as the document says
 * (`openapi/styles.ts`). A value that cannot be written so that a server reads the same is refused. A path's
 * parameter stays in its segment (`openapi/paths.ts`).
 *
 * **Credentials.** `credentials` says which named credential stands for which security scheme. Neither
 * secrets nor what carries them is an argument, so no caller can pass another one.
 *
 * **What a tool says of itself.** `GET`, `HEAD` and `OPTIONS` read; `PUT` and `DELETE` may be repeated;
 * `DELETE` destroys. Of `POST` and `PATCH` nothing is known but that they write. All reach the network, send
 * data, and bring back what cannot be trusted; `operations` says otherwise, where you know better.
 *
 * **Answers.** A status from 200 to 299 is a result; any other a `StatusFailure`, which retries understand. A
 * redirect is followed where it stays at its origin; elsewhere it is a failure that says where it leads, but
 * for user and query. What a redirect has answered is not sent again, whatever becomes of where it leads.
 *
 * **What is left out** is in `skipped`, with its place and the reason. A document that cannot be used at all
 * is an `OpenApiError`. Callbacks, links and webhooks are not read, nor are other documents that one refers to.
 */
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type { Json } from "../internal/jsonSchema/facts.ts"
import { whole } from "../internal/options.ts"
import type { Tools } from "../ToolExecutor.ts"
import * as Toolset from "../Toolset.ts"
import { type Credential, Credentials } from "./Credentials.ts"
import * as OutboundHttp from "./OutboundHttp.ts"
import * as Call from "./openapi/call.ts"
import { attempt, Unusable } from "./openapi/document.ts"
import { OpenApiError } from "./openapi/error.ts"
import { find } from "./openapi/find.ts"
import * as Names from "./openapi/names.ts"
import * as Operation from "./openapi/operation.ts"
import { Options, type Override } from "./openapi/options.ts"
import * as Security from "./openapi/security.ts"
import * as Selection from "./openapi/selection.ts"
import * as Source from "./openapi/source.ts"
import * as OpenApiTool from "./openapi/tool.ts"
import * as Headers from "./outbound/headers.ts"

export { OpenApiError } from "./openapi/error.ts"
export { Options, Override } from "./openapi/options.ts"
export { Response } from "./openapi/response.ts"

// --- Models ----------------------------------------------------------------

/** What a document comes to. */
export interface OpenApi extends Toolset.Toolset<Tools> {
  /** The operation behind each tool, by the tool's name. */
  readonly operations: ReadonlyMap<string, Described>
  /** What was selected and left out, or is left out of a tool. */
  readonly skipped: ReadonlyArray<Skipped>
}

/** An operation as the document has it, and where its requests go. */
export interface Described {
  readonly method: OutboundHttp.Method
  readonly path: string
  readonly operationId: string | undefined
  readonly url: string
  readonly credential: string | undefined
}

export interface Skipped {
  /** `GET /pets`. */
  readonly operation: string
  /** JSON pointer to what cannot be used. */
  readonly pointer: string
  readonly reason: string
}

// --- Credentials -----------------------------------------------------------------

const wrong = (at: string, problem: string) => new OpenApiError({ reason: "options", at, problem })

/** Every credential that the options name, by its name, once it is known to be the one that its scheme needs. */
const credentialsOf = Effect.fnUntraced(function* (
  options: Options,
  schemes: ReadonlyMap<string, Security.Scheme>
): Effect.fn.Return<ReadonlyMap<string, Credential>, OpenApiError, Credentials> {
  const { get } = yield* Credentials
  const found = new Map<string, Credential>()
  const find = (at: string, name: string) =>
    Effect.tap(
      Effect.mapError(get(name), ({ message }) => wrong(at, message)),
      (credential) => Effect.sync(() => found.set(name, credential))
    )
  for (const [scheme, name] of Object.entries(options.credentials ?? {})) {
    const at = `credentials.${scheme}`
    const known = schemes.get(scheme)
    if (known === undefined) {
      return yield* wrong(
        at,
        `the document has no such security scheme; it has: ${[...schemes.keys()].join(", ") || "none"}`
      )
    }
    const needed = Security.mismatch(known, yield* find(at, name))
    if (needed !== undefined) return yield* wrong(at, `the scheme needs ${needed}`)
  }
  if (options.credential !== undefined) yield* find("credential", options.credential)
  return found
})

// --- make ------------------------------------------------------------------------

const orFail =
  (reason: OpenApiError["reason"]) =>
  <A>(value: A | Unusable): Effect.Effect<A, OpenApiError> =>
    value instanceof Unusable
      ? Effect.fail(new OpenApiError({ reason, at: value.pointer, problem: value.why }))
      : Effect.succeed(value)

/** Reads a document. Dies with an error that names the option where one makes no sense by itself. */
export const make = Effect.fnUntraced(function* (
  input: Options
): Effect.fn.Return<OpenApi, OpenApiError, OutboundHttp.OutboundHttp | Credentials | FileSystem.FileSystem> {
  const options = yield* Effect.orDie(
    Schema.decodeUnknownEffect(Options, { onExcessProperty: "error" })(input)
  )
  const maxOperations = whole("OpenApi: maxOperations", options.maxOperations ?? 100)
  const maxDescription = whole("OpenApi: maxDescription", options.maxDescription ?? 1_024)
  const maxBytes = whole("OpenApi: maxResultBytes", options.maxResultBytes ?? 262_144)
  const fixed = yield* fixedHeaders(options.headers ?? {})

  const { document, url } = yield* Source.load(options.document, options.documentCredential)
  const schemes = Security.schemesOf(document)
  const credentials = yield* credentialsOf(options, schemes)

  const skipped: Array<Skipped> = []
  const skip = (
    { method, path }: { readonly method: string; readonly path: string },
    problem: Unusable
  ): void => {
    skipped.push({ operation: `${method} ${path}`, pointer: problem.pointer, reason: problem.why })
  }
  const all = yield* orFail("document")(attempt(() => find(document, skip)))
  const overrides = yield* orFail("options")(
    attempt(() => Selection.overridesOf(all, options.operations ?? {}))
  )
  const names = Names.ofOperations(
    all.map((found) => ({ ...found, chosen: overrides.get(found)?.name })),
    options.prefix === undefined ? "" : `${options.prefix}__`
  )
  const nameOf = new Map(all.map((found, index) => [found, names[index]!]))

  const selected = yield* orFail("options")(
    attempt(() => Selection.select(all, options.include, options.exclude))
  )
  if (selected.length === 0 && all.length > 0) return yield* wrong("include", "no operation is selected")
  const current = selected.filter((found) => {
    const isLeftOut = found.deprecated && options.deprecated !== true
    if (isLeftOut) skip(found, new Unusable(`${found.place.pointer}/deprecated`, "is deprecated"))
    return !isLeftOut
  })
  if (current.length > maxOperations) {
    return yield* wrong(
      "maxOperations",
      `the document comes to ${current.length} tools, and at most ${maxOperations} are wanted: select some with include`
    )
  }

  const reading: Operation.Reading = {
    document,
    maxDescription,
    servers: { baseUrl: options.baseUrl, documentUrl: url, variables: options.serverVariables ?? {} },
    chosen: { credentials: options.credentials ?? {}, credential: options.credential },
    schemes: Array.from(schemes.values(), ({ sent }) => sent),
    credentials,
    fixed: new Set(fixed.keys()),
    skip
  }
  const tools = new Map<string, readonly [Operation.Operation, Override]>()
  for (const found of current) {
    const operation = attempt(() => Operation.read(reading, found))
    const name = nameOf.get(found)!
    if (operation instanceof Unusable) skip(found, operation)
    else if (tools.has(name))
      return yield* wrong("operations", `two tools would be called ${JSON.stringify(name)}`)
    else tools.set(name, [operation, overrides.get(found) ?? {}])
  }
  if (tools.size === 0) return yield* nothingLeft(skipped)

  const http = yield* OutboundHttp.OutboundHttp
  const headers = Object.fromEntries(fixed)
  const implemented = Array.from(
    tools,
    ([name, [operation, own]]): Toolset.Implemented => ({
      tool: OpenApiTool.make(name, operation, options.annotations ?? {}, own),
      handler: (params: Json) => Call.run(operation, params, { http, headers, maxBytes })
    })
  )
  return {
    ...Toolset.dynamic(implemented),
    operations: new Map(Array.from(tools, ([name, [operation]]) => [name, described(operation)])),
    skipped
  }
})

/** In lower case. What is secret is no option: whoever reads the options would see it. */
const fixedHeaders = (
  headers: Readonly<Record<string, string>>
): Effect.Effect<ReadonlyMap<string, string>, OpenApiError> => {
  const read = Headers.read(headers)
  if (Result.isFailure(read)) return Effect.fail(wrong("headers", read.failure.problem))
  const secret = ["authorization", "cookie"].find((name) => read.success.has(name))
  return secret === undefined
    ? Effect.succeed(read.success)
    : Effect.fail(wrong("headers", `the header ${secret} holds a secret: give it as a credential`))
}

const nothingLeft = (skipped: ReadonlyArray<Skipped>): OpenApiError => {
  const told = skipped
    .slice(0, 5)
    .map(({ operation, pointer, reason }) => `${operation} (${pointer}: ${reason})`)
  const more = skipped.length > told.length ? ` and ${skipped.length - told.length} more` : ""
  const problem =
    told.length === 0 ? "there is no operation" : `no operation can be used: ${told.join("; ")}${more}`
  return new OpenApiError({ reason: "document", at: "#/paths", problem })
}

const described = ({ base, credential, method, operationId, path }: Operation.Operation): Described => ({
  method,
  path,
  operationId,
  url: `${base.origin}${base.path}${path}`,
  credential
})
