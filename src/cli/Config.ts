/**
 * What the command line and the gateway are configured by: one file, JSON with
 * comments or a TypeScript module. A module may give more than data: tools of its
 * own, and options that are code.
 *
 *     // interlock.config.ts
 *     export default defineConfig({
 *       policy: { requireConfirmation: ["delete_*"] },
 *       toolbox: { calculator: {} },
 *       tools: [Toolset.make(Records, RecordHandlers)]
 *     })
 *
 * Secrets are never written into the file: it names an environment variable or a
 * file that holds them.
 */
import type { FileSystem } from "effect/FileSystem"
import type { Path } from "effect/Path"
import type { ChildProcessSpawner } from "effect/process/ChildProcessSpawner"
import * as Schema from "effect/Schema"
import { Capability } from "../Capability.ts"
import type * as Interlock from "../Interlock.ts"
import { Period } from "../internal/period.ts"
import * as Gateway from "../mcp/Gateway.ts"
import { Policy } from "../SecurityPolicy.ts"
import type * as Toolset from "../Toolset.ts"
import * as Calculator from "../toolbox/Calculator.ts"
import * as Email from "../toolbox/Email.ts"
import * as Files from "../toolbox/Files.ts"
import * as HttpRequest from "../toolbox/HttpRequest.ts"
import * as Lambda from "../toolbox/Lambda.ts"
import * as Notes from "../toolbox/Notes.ts"
import * as OpenApi from "../toolbox/OpenApi.ts"
import * as OutboundHttp from "../toolbox/OutboundHttp.ts"
import * as Slack from "../toolbox/Slack.ts"

// --- Parts -----------------------------------------------------------------

const Positive = Schema.Int.check(Schema.isGreaterThan(0))
const Texts = Schema.Array(Schema.NonEmptyString)
const optional = Schema.optionalKey

/** Where a secret is: it is read when it is needed, and never written into the file. */
export const Secret = Schema.Union([
  Schema.Struct({ env: Schema.NonEmptyString }),
  Schema.Struct({ file: Schema.NonEmptyString })
])
export type Secret = typeof Secret.Type

/** On whose behalf calls are made; its id is its name in the file. */
export const PrincipalEntry = Schema.Struct({
  tenant: optional(Schema.NonEmptyString),
  roles: optional(Texts),
  capabilities: optional(Schema.Array(Capability)),
  /** What a client of the HTTP server shows to be this principal. */
  token: optional(Secret)
})

const RateLimit = Schema.Struct({
  name: optional(Schema.NonEmptyString),
  limit: Positive,
  window: Period,
  algorithm: optional(Schema.Literals(["window", "token-bucket"])),
  by: optional(Schema.Literals(["all", "tool", "tag", "principal", "tenant"])),
  tools: optional(Texts),
  tags: optional(Texts),
  roles: optional(Texts),
  per: optional(Schema.Literals(["call", "attempt"]))
})

const BudgetLimit = Schema.Struct({
  name: optional(Schema.NonEmptyString),
  /** `usd` by default: then `max` is in dollars here, and may have six places. */
  unit: optional(Schema.NonEmptyString),
  max: Schema.Finite.check(Schema.isGreaterThan(0)),
  per: optional(Schema.Literals(["call", "run", "principal", "tenant"])),
  window: optional(Schema.Union([Schema.Literals(["day", "month"]), Period])),
  timeZone: optional(Schema.NonEmptyString),
  roles: optional(Texts),
  tools: optional(Texts),
  mode: optional(Schema.Literals(["hard", "soft"]))
})

const hosts = { hosts: Texts, overHttp: optional(Schema.Boolean) }

const CredentialEntry = Schema.Union([
  Schema.Struct({ ...hosts, type: Schema.Literal("bearer"), token: Secret }),
  Schema.Struct({ ...hosts, type: Schema.Literal("basic"), username: Schema.String, password: Secret }),
  Schema.Struct({ ...hosts, type: Schema.Literal("header"), name: Schema.NonEmptyString, value: Secret }),
  Schema.Struct({ ...hosts, type: Schema.Literal("query"), name: Schema.NonEmptyString, value: Secret })
])

const Toolbox = Schema.Struct({
  calculator: optional(Calculator.Options),
  /** Folders are relative to this file. */
  files: optional(Files.Options),
  /** Its folder, too, is relative to this file; it is made where it is missing. */
  notes: optional(Notes.Options),
  http_request: optional(HttpRequest.Options),
  email: optional(Email.Options),
  slack: optional(Slack.Options)
})

// --- The file --------------------------------------------------------------

/** The file as data. Every field is optional. */
export const Config = Schema.Struct({
  $schema: optional(Schema.String),
  /** The SQLite file that approvals, budgets, stops and the audit log are kept in; `.interlock/state.db` beside the file. */
  state: optional(Schema.NonEmptyString),
  /**
   * `NORMAL` (default): what was recorded survives a crash of the process; a loss of power may undo the last moments, and
   * leaves the file and the audit log's chain sound. `FULL`: it survives that too, and every call waits for the disk.
   */
  synchronous: optional(Schema.Literals(["FULL", "NORMAL"])),
  /** The key that signs and seals them; without it one is made beside the state, readable by its owner only. */
  key: optional(Secret),
  /** Whom the command line acts for: one of `principals`. */
  principal: optional(Schema.NonEmptyString),
  principals: optional(Schema.Record(Schema.NonEmptyString, PrincipalEntry)),
  /** Sets of capabilities, beside `read`, `write` and `admin`. */
  roles: optional(Schema.Record(Schema.NonEmptyString, Schema.Array(Capability))),
  policy: optional(Policy),
  rateLimits: optional(Schema.Array(RateLimit)),
  budgets: optional(Schema.Array(BudgetLimit)),
  approvals: optional(Schema.Struct({ expiresAfter: optional(Period), maxUndecided: optional(Positive) })),
  audit: optional(
    Schema.Struct({
      /** What a call comes to when it cannot be written down; `refuse` by default. */
      whenUnavailable: optional(Schema.Literals(["refuse", "run"])),
      deleteAfter: optional(Period),
      anonymiseAfter: optional(Period)
    })
  ),
  breaker: optional(Schema.Struct({ failures: optional(Positive), openFor: optional(Period) })),
  defaults: optional(
    Schema.Struct({
      timeout: optional(Period),
      deadline: optional(Period),
      retries: optional(Schema.Int.check(Schema.isGreaterThanOrEqualTo(0))),
      concurrency: optional(Positive)
    })
  ),
  /** Named secrets that tools may use, and no model sees. */
  credentials: optional(Schema.Record(Schema.NonEmptyString, CredentialEntry)),
  /** Which addresses tools may reach that a model gives one; none without it. */
  network: optional(OutboundHttp.Options),
  toolbox: optional(Toolbox),
  /** Documents by name, which is also the prefix of their tools; files are relative to this one. */
  openapi: optional(Schema.Record(Schema.NonEmptyString, OpenApi.Options)),
  lambda: optional(Lambda.Options),
  /** Other people's MCP servers, in the shape that clients know. */
  mcpServers: optional(Gateway.Servers),
  gateway: optional(
    Schema.Struct({
      /** Whether the tools of a server that is seen for the first time are accepted; `first-use` by default. */
      pins: optional(Schema.Literals(["first-use", "required"]))
    })
  )
})
export type Config = typeof Config.Type

/** What handlers and layers of a configuration may take from the program: the platform's services. */
export type Platform = FileSystem | Path | ChildProcessSpawner

/** What only a module can give. */
export interface Code {
  /** Tools of the program's own. */
  readonly tools?: ReadonlyArray<Toolset.Any<unknown, Platform>>
  /** Options that are code: rules, a shadow policy, layers of other kinds. They win over the file's data. */
  readonly governance?: Interlock.Options
}

export type Input = typeof Config.Encoded & Code

/** Gives a configuration its types; it is checked when it is loaded. */
export const defineConfig = (config: Input): Input => config
