/** What a toolset is made of, as data that a configuration can carry. */
import * as Schema from "effect/Schema"
import * as Annotations from "../annotations.ts"
import { Selector } from "./selection.ts"

const optional = Schema.optionalKey

/** What is said of one operation, instead of what follows from its method. */
export const Override = Schema.Struct({
  ...Annotations.Data.fields,
  /** The tool's whole name. */
  name: optional(Schema.String.check(Schema.isPattern(/^(?!__proto__$)[a-zA-Z0-9_-]{1,64}$/))),
  description: optional(Schema.NonEmptyString)
})
export type Override = typeof Override.Type

export const Options = Schema.Struct({
  /** A path of a file, an http or https URL, or the document itself. */
  document: Schema.Union([Schema.NonEmptyString, Schema.Record(Schema.String, Schema.Unknown)]),
  /** The credential that a URL is read with; none by default. */
  documentCredential: optional(Schema.NonEmptyString),
  /** Stands before every name, with two underscores between: `github` makes `github__listIssues`. */
  prefix: optional(Schema.String.check(Schema.isPattern(/^[a-zA-Z0-9_-]{1,24}$/))),
  /** Where the API is, instead of the servers that the document names. */
  baseUrl: optional(Schema.String.check(Schema.isPattern(/^https?:\/\/[^/?#@]+(?:\/[^?#]*)?$/i))),
  /** Variables of the document's servers, instead of their defaults. */
  serverVariables: optional(Schema.Record(Schema.String, Schema.String)),
  /** Names of credentials by names of security schemes. */
  credentials: optional(Schema.Record(Schema.String, Schema.NonEmptyString)),
  /** The credential of operations for which `credentials` says nothing. */
  credential: optional(Schema.NonEmptyString),
  /** Sent with every request; a parameter of the same name is no argument. */
  headers: optional(Schema.Record(Schema.String, Schema.String)),
  /** What becomes a tool; everything by default. */
  include: optional(Schema.NonEmptyArray(Selector)),
  /** What does not; wins over `include`. */
  exclude: optional(Schema.NonEmptyArray(Selector)),
  /** Whether deprecated operations become tools; they do not by default. */
  deprecated: optional(Schema.Boolean),
  /** A document that comes to more tools is refused; 100. */
  maxOperations: optional(Schema.Int),
  /** Longer descriptions, of tools and of arguments, are cut; 1,024 characters. */
  maxDescription: optional(Schema.Int),
  /** Of a body in a result; larger ones are cut. 262,144. */
  maxResultBytes: optional(Schema.Int),
  /** What is said of all tools, instead of what follows from their methods. */
  annotations: optional(Annotations.Data),
  /** What is said of one: by operation id, or by method and path, such as `GET /pets`. Wins over `annotations`. */
  operations: optional(Schema.Record(Schema.String, Override))
})
export type Options = typeof Options.Type
