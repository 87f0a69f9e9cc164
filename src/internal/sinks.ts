/**
 * Every place at which something of a call leaves, or is shown to anyone: what
 * may be seen there, and what makes it safe. A module that uses one of the
 * `primitives` and has no line here fails a test; so does a line without its
 * module. The list says what each module means to show; that it shows no more is
 * for the tests that search the sinks for secrets.
 *
 * Left out: what stays in the memory of the process, and `JSON.stringify`, for a
 * text goes nowhere until one of these takes it.
 */

/** By what something leaves, as it is written in the sources. */
export const primitives = {
  report: /\bErrorReporter\.report\b/,
  log: /\bEffect\.log\w*\(/,
  console: /\b[Cc]onsole\.\w+\(|\bprocess\.std(?:out|err)\b/,
  terminal: /\bterminal\.display\(/,
  span: /\.(?:attribute|event)\(|\bEffect\.(?:annotateCurrentSpan|annotateSpans|withSpan)\b/,
  metric: /\bMetric\.(?:counter|gauge|histogram|frequency|summary|timer)\b/,
  publish: /\b(?:PubSub|Sliding)\.publish\w*\(|\bQueue\.(?:offer|failCause)\w*\(/,
  record: /\brecorder\.add\(/,
  audit: /\baudit\.append\(/,
  sql: /\bINSERT INTO\b|\bUPDATE interlock_/,
  file: /\.writeAll\(|\b(?:writeFile|appendFile|writeSync)\w*\(/,
  network:
    /\bfetch\(|\bHttpClient\.\w+\(|\bHttps?\.request\(|\b(?:Net|Tls)\.connect\(|\b[dD]ns\.lookup\(|\bNodeDns\.\w+\(|\b(?:client|connection|inner)\.(?:send|request|callTool)\(|\bstdin\.write\(|\bHttpRouter\.serve\(/
} as const
export type Primitive = keyof typeof primitives

/** What makes it safe. */
export type Safety =
  /** Ids, names of registered tools, codes, numbers, times, what operators wrote: nothing of arguments or results. */
  | "names"
  /** A `CallRecord`: a keyed hash and the shape of the arguments, no message. */
  | "record"
  /** A `Redaction.View`, or a text shown by `Redaction`. */
  | "redacted"
  /** Keyed hashes, and what only the keyring opens. */
  | "sealed"
  /** A cause, for operators: shown by `Redaction.cause` where it may be of a handler, else of our own stores. */
  | "cause"
  /** An answer to whoever made the call: its result, or a message that tells no value. */
  | "caller"
  /** Hands on what it is given; whoever gives it is in this list. */
  | "relay"

export interface Sink {
  /** Below `src/`. */
  readonly module: string
  /** Empty where it answers by returning. */
  readonly by: ReadonlyArray<Primitive>
  readonly shows: string
  readonly safe: ReadonlyArray<Safety>
}

const sink = (
  module: string,
  by: ReadonlyArray<Primitive>,
  safe: Safety | ReadonlyArray<Safety>,
  shows: string
): Sink => ({ module, by, shows, safe: typeof safe === "string" ? [safe] : safe })

export const sinks: ReadonlyArray<Sink> = [
  // To whoever made the call.
  sink("ToolResult.ts", [], "caller", "status, code, message and the encoded value"),
  sink("ToolError.ts", [], "caller", "reason, code and a message that tells no value"),
  sink("Batch.ts", [], "caller", "results and progress of the caller's own calls"),
  sink("mcp/index.ts", [], "caller", "results, refusals, progress, and questions with redacted arguments"),
  sink("mcp/server/confirmation.ts", ["log"], "cause", "why a client did not ask its human"),
  sink("mcp/server/registration.ts", ["log"], "names", "tools whose schemas cannot be listed"),
  sink(
    "mcp/Gateway.ts",
    ["publish", "log"],
    "names",
    "that a server has changed, and what waits for operators"
  ),
  sink(
    "mcp/gateway/connecting.ts",
    ["log"],
    "relay",
    "at debug, what servers print, without their own secrets"
  ),
  sink("mcp/gateway/passing.ts", ["log"], "cause", "prompts and resources that are not served"),
  sink("mcp/Upstream.ts", ["log"], "names", "why a server's list could not be looked at"),
  sink("mcp/Pins.ts", ["file"], "names", "definitions of other servers' tools"),
  sink("mcp/gateway/http.ts", ["network"], "relay", "calls, to the server that has the tool"),
  sink("mcp/gateway/session.ts", ["network"], "relay", "calls, to the server that has the tool"),
  sink("mcp/gateway/childProcess.ts", ["network"], "relay", "calls, to the process that has the tool"),
  sink(
    "toolbox/outbound/dial.ts",
    ["network"],
    "relay",
    "the name of an allowed host, to who resolves it; the connection"
  ),
  sink("toolbox/outbound/systemDns.ts", ["network"], "relay", "the same name, to the system's resolver"),
  sink(
    "toolbox/outbound/exchange.ts",
    ["network"],
    "relay",
    "a tool's request to an allowed host, with a credential only to its own hosts"
  ),
  sink(
    "toolbox/email/smtp.ts",
    ["network"],
    "relay",
    "mails to allowed recipients, and the login, to the operator's mail server"
  ),
  sink(
    "toolbox/lambda/client.ts",
    ["network"],
    "relay",
    "arguments, to the function that the operator names"
  ),
  sink("toolbox/slack/client.ts", ["network"], "relay", "what a call of Slack's tools says, to Slack"),
  sink("internal/governedToolkit.ts", ["publish"], "caller", "results of a call"),

  sink("ToolRegistry.ts", ["publish"], "names", "that its tools have changed"),

  // The command line: to the person or program that runs it.
  sink("cli/Output.ts", ["console"], "relay", "what a command prints"),
  sink(
    "cli/serving.ts",
    ["console", "network"],
    ["names", "relay"],
    "the address that is served; answers of the MCP server"
  ),
  sink("cli/commands/run.ts", ["console"], "caller", "results of the batch, to whoever runs it"),
  sink("cli/progressLine.ts", ["console"], "names", "how many calls of a batch ended, and how"),
  sink("cli/credentials.ts", ["console"], "names", "which secret is missing, and where it should be"),
  sink("cli/bin.ts", ["console"], "names", "why the program cannot run here"),
  sink(
    "cli/commands/init.ts",
    ["file"],
    "names",
    "a configuration to begin with, and that the state does not belong into a repository"
  ),
  sink("cli/main.ts", ["console"], "names", "what was wrong with the command line"),
  sink("cli/tools.ts", ["console"], "cause", "which source of tools failed, and why"),
  sink("cli/Project.ts", ["file"], "sealed", "the key that it made, to a file of its owner's"),
  sink("cli/commands/call.ts", ["console"], "redacted", "the request to whoever is to confirm it"),
  sink("cli/commands/breaker.ts", ["audit"], "names", "which circuit an operator opened or closed, and why"),
  sink(
    "cli/commands/audit/look.ts",
    [],
    "redacted",
    "records that were redacted before they were sealed, to stdout or a file of its owner's"
  ),
  sink(
    "cli/commands/approvals/watch.ts",
    ["console"],
    "caller",
    "why an answer did not count, and to whoever gave it the token that runs the call"
  ),

  // Records, and what is folded from them.
  sink("CallRecord.ts", ["publish", "report"], ["record", "cause"], "records, and defects of sinks"),
  sink("Health.ts", ["record", "publish"], "names", "counts and latencies by tool"),
  sink("History.ts", ["record", "publish"], "record", "records of the last calls"),
  sink(
    "Telemetry.ts",
    ["record", "span", "metric", "console"],
    "names",
    "spans, metrics and a line per call"
  ),
  sink("ToolExecutor.ts", ["span"], "names", "how many tools a search found, never what was asked"),
  sink("CircuitBreaker.ts", ["publish"], "names", "transitions, and why a circuit opened"),
  sink("toolbox/files/open.ts", ["log"], "names", "that a system has no /proc"),
  sink("toolbox/files/write.ts", ["file"], "relay", "files that the caller writes, in roots"),
  sink("toolbox/lambda/tool.ts", ["span"], "names", "the function's name, its request id, how long it took"),

  sink(
    "internal/circuits/shared.ts",
    ["publish", "report"],
    ["names", "cause"],
    "transitions, and errors of the store of circuits"
  ),

  // Causes.
  sink("internal/waiting.ts", ["report"], "cause", "errors of stores"),
  sink("internal/finish.ts", ["report"], "cause", "defects of stores and of telemetry"),
  sink("internal/callText.ts", ["report"], "cause", "defects of handlers, of what tools say, of onlookers"),
  sink("internal/startCall.ts", ["report"], "cause", "defects of calls that nobody waits for"),
  sink("internal/sqlStore.ts", ["report"], "cause", "errors of a database"),

  // Approvals.
  sink(
    "internal/approvals/terminal.ts",
    ["terminal", "log"],
    "redacted",
    "the request, to the person at the terminal"
  ),
  sink("internal/approvals/watch.ts", ["publish"], "redacted", "requests as they change"),
  sink(
    "sql/SqlApprovals.ts",
    ["sql", "report"],
    ["redacted", "sealed", "cause"],
    "requests, and the sealed arguments"
  ),

  // Audit.
  sink("internal/audit/appender.ts", ["report"], "cause", "errors of the audit's store"),
  sink("internal/audited.ts", ["audit", "report"], ["relay", "cause"], "what people do to governance"),
  sink("Taint.ts", ["audit"], "relay", "declassifications"),
  sink("internal/auditFiles/disk.ts", ["file"], "relay", "files of the audit log"),
  sink("internal/auditFiles/segments.ts", ["file"], "sealed", "lines of the audit log that are kept"),
  sink(
    "internal/auditFiles/tail.ts",
    ["file", "log"],
    "sealed",
    "lines of the audit log, and a torn one's place"
  ),
  sink("internal/auditFiles/values.ts", ["file"], "sealed", "sealed keys"),
  sink("internal/auditFiles/store.ts", ["report"], "cause", "errors of the disk"),
  sink("sql/SqlAuditLog.ts", ["sql"], "sealed", "lines of the audit log, and sealed keys"),

  // State that survives.
  sink("sql/SqlIdempotency.ts", ["sql"], "sealed", "hashed keys and sealed outcomes"),
  sink("sql/SqlResultCache.ts", ["sql"], "sealed", "hashed keys and sealed results"),
  sink("sql/SqlCircuitBreaker.ts", ["sql"], "names", "circuits: their states, counts and why"),
  sink(
    "cli/batch/Journal.ts",
    ["sql"],
    "sealed",
    "keyed hashes of lines, how they ended, and sealed results"
  ),
  sink("cli/batch/Batches.ts", ["sql"], "names", "batches that are forgotten"),
  sink("Budget.ts", ["publish"], "names", "alerts"),
  sink("sql/SqlBudget.ts", ["publish"], "names", "alerts"),
  sink("internal/budget/sqlBooks.ts", ["sql"], "names", "limits, reservations and what was used"),
  sink("internal/budget/sqlLedger.ts", ["sql"], "names", "who spent what, on which tool"),
  sink("KillSwitch.ts", ["report"], "cause", "errors of its store"),
  sink(
    "internal/killSwitch/local.ts",
    ["publish", "report"],
    ["names", "cause"],
    "stops, and defects of who is told"
  ),
  sink("internal/killSwitch/shared.ts", ["report"], "cause", "errors of its store"),
  sink("sql/SqlKillSwitch.ts", ["sql"], "names", "stops: who, when, why"),
  sink("internal/sliding.ts", ["publish"], "relay", "whatever is published")
]

/** Every module that looks into the raw arguments of a call, and to whom it gives them. */
export const readers: Readonly<Record<string, string>> = {
  "Pipeline.ts": "to a tool's fallback",
  "internal/finish.ts": "measures and views those of a call that was refused early; to loops",
  "internal/call.ts": "to rate limits",
  "internal/stages.ts":
    "measures, encodes and views them; to policy, codec, screening, loops, taint and the tool",
  "internal/confirmation.ts": "hashes them; as JSON to approvals, which seal it",
  "internal/attempts.ts": "to the tool's cost",
  "internal/runHandler.ts": "to the handler",
  "internal/callText.ts": "to what hides them in texts"
}
