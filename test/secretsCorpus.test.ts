/**
 * A thousand secrets of 20 kinds in declared places, and a thousand in places
 * that nobody declared, through every way for a call to go: of the first none
 * leaves, of the second the few that have no shape and no name.
 */
import { appendFileSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { NodeFileSystem, NodePath } from "@effect/platform-node"
import { afterAll, assert, describe, it } from "@effect/vitest"
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as SqlClient from "effect/sql/SqlClient"
import {
  ToolAnnotations as Annotate,
  Approvals,
  AuditLog,
  Batch,
  CallRecord,
  FileAuditLog,
  Handlers,
  Interlock,
  KillSwitch,
  Principal,
  Retry,
  Run,
  Taint,
  Telemetry,
  type ToolCall,
  ToolError,
  ToolExecutor,
  type ToolResult,
  Verdict
} from "effect-interlock"
import {
  SqlApprovals,
  SqlAuditLog,
  SqlBudget,
  SqlIdempotency,
  Sqlite,
  SqlKillSwitch,
  SqlResultCache
} from "effect-interlock/sql"
import { doors } from "./support/doors.ts"
import {
  type Channel,
  channels,
  EverySink,
  example,
  Finder,
  heard,
  unheard,
  unlisted
} from "./support/everySink.ts"
import {
  generateSecrets,
  type Kind,
  kinds,
  ordinary,
  place,
  type Secret,
  spellings
} from "./support/secretsCorpus.ts"
import { inTime, settled } from "./support/world.ts"

// --- The secrets -----------------------------------------------------------

const perCall = 2 * kinds.length
const declared = generateSecrets(11, 1000)
const undeclared = generateSecrets(12, 1000)

/** What one call holds: two secrets of each kind where the schema says so, and two where it does not. */
interface Group {
  readonly n: number
  readonly declared: ReadonlyArray<Secret>
  readonly undeclared: ReadonlyArray<Secret>
}

const rotated = <A>(list: ReadonlyArray<A>, by: number): ReadonlyArray<A> => [
  ...list.slice(by % list.length),
  ...list.slice(0, by % list.length)
]

const groups: ReadonlyArray<Group> = Array.from({ length: declared.length / perCall }, (_, n) => ({
  n,
  // So that every kind comes to every place.
  declared: rotated(declared.slice(n * perCall, (n + 1) * perCall), n),
  undeclared: undeclared.slice(n * perCall, (n + 1) * perCall)
}))

/** However a text may spell it: a secret need not keep the form it was put in. */
const anyForm = (secret: Secret): ReadonlyArray<string> => [
  ...spellings(secret),
  ...spellings({ ...secret, form: "base64" }),
  ...spellings({ ...secret, form: "percent" }),
  btoa(secret.value)
]

const declaredOnes = new Finder(declared.map((secret) => [secret, anyForm(secret)] as const))
const undeclaredOnes = new Finder(undeclared.map((secret) => [secret, spellings(secret)] as const))

// --- Where they are put ----------------------------------------------------

const Hidden = Schema.String.annotate(Annotate.sensitive)

interface Tree {
  readonly key: string
  readonly below: ReadonlyArray<Tree>
}
const Tree = Schema.Struct({
  key: Hidden,
  below: Schema.Array(Schema.suspend((): Schema.Codec<Tree> => Tree))
})

const Params = Schema.Struct({
  group: Schema.Int,
  word: Schema.optionalKey(Schema.String),
  link: Schema.optionalKey(Schema.String),
  hidden: Schema.RedactedFromValue(Schema.String),
  plain: Hidden,
  list: Schema.Array(Hidden),
  redacted: Schema.Array(Schema.RedactedFromValue(Schema.String)),
  nested: Schema.Struct({ inner: Schema.Array(Schema.Struct({ id: Schema.Int, key: Hidden })) }),
  either: Schema.Array(
    Schema.Union([
      Schema.Struct({ kind: Schema.Literal("token"), token: Hidden }),
      Schema.Struct({ kind: Schema.Literal("pair"), pair: Schema.Tuple([Schema.String, Hidden]) })
    ])
  ),
  whole: Schema.Record(Schema.String, Schema.String).annotate(Annotate.sensitive),
  optional: Schema.optionalKey(Hidden),
  tree: Tree,
  rest: Schema.Array(Schema.Json)
})
type Params = typeof Params.Encoded

const Result = Schema.Struct({
  token: Hidden,
  all: Schema.Array(Schema.RedactedFromValue(Schema.String)),
  of: Schema.Record(Schema.String, Schema.Struct({ key: Hidden })),
  rest: Schema.Array(Schema.Json)
})

class Failed extends Schema.TaggedError<Failed>()("Failed", {
  token: Hidden,
  rest: Schema.Array(Schema.Json)
}) {}

const paramsOf = ({ declared, n, undeclared }: Group, more: Partial<Params> = {}): Params => {
  const left = declared.map(({ value }) => value)
  const take = (count: number) => left.splice(0, count)
  const one = () => take(1)[0] as string
  return {
    group: n,
    hidden: one(),
    plain: one(),
    list: take(5),
    redacted: take(5),
    nested: { inner: take(6).map((key, id) => ({ id, key })) },
    either: [
      { kind: "token", token: one() },
      { kind: "pair", pair: ["first", one()] },
      { kind: "token", token: one() },
      { kind: "pair", pair: ["second", one()] }
    ],
    whole: { main: one(), other: one(), [one()]: "under a name that is secret", [one()]: "so is this" },
    optional: one(),
    tree: { key: one(), below: take(12).map((key) => ({ key, below: [] })) },
    rest: undeclared.map((secret) => place(secret) as Schema.Json),
    ...more
  }
}

const resultOf = ({ declared, undeclared }: Group): typeof Result.Type => ({
  token: declared[0]!.value,
  all: declared.slice(1, 11).map(({ value }) => Redacted.make(value)),
  of: Object.fromEntries(declared.slice(11).map(({ value }, n) => [`n${n}`, { key: value }])),
  rest: undeclared.map((secret) => place(secret) as Schema.Json)
})

/** An error of a careless tool, which says all that it was given, in every way there is. */
const careless = (group: Group): Error => {
  const given = paramsOf(group)
  const json = JSON.stringify(given)
  const sentences = [...group.declared, ...group.undeclared.filter(({ named }) => named)].map(
    ({ name, value }, n) => (n % 2 === 0 ? `could not use ${value}.` : `${name}=${value} is refused;`)
  )
  const inner = new AggregateError(
    [new Error(sentences.join(" ")), { request: given }, json],
    `several of ${sentences[0]}`
  )
  return Object.assign(new Error(`refused ${json}`, { cause: inner }), {
    config: { data: json, params: given },
    at: new Map([[json, sentences]])
  })
}

// --- The tools, by what becomes of their calls -----------------------------

const tool = <const Name extends string>(name: Name) =>
  Tool.make(name, { parameters: Params, success: Result, failure: Failed, failureMode: "return" })
    // So that every call comes to its handler; one tool has a circuit.
    .annotate(Annotate.Circuit, false)

const bug = (params: unknown): never => {
  throw careless(groups[(params as { readonly group: number }).group] as Group)
}

const kit = Toolkit.make(
  tool("works"),
  tool("fails"),
  tool("throws").annotate(Tool.Readonly, true).annotate(Annotate.Retries, 0),
  tool("rejects").annotate(Annotate.Retries, 0),
  tool("dies"),
  tool("lies"),
  tool("hangs").annotate(Annotate.Timeout, "1 second").annotate(Annotate.Retries, 0),
  tool("dies_late").annotate(Annotate.Timeout, "1 second").annotate(Annotate.Retries, 0),
  tool("flaky").annotate(Tool.Readonly, true).annotate(Annotate.Retries, 2),
  tool("falls").annotate(Annotate.Fallback, { tool: "works" }),
  tool("falls_down").annotate(Annotate.Fallback, { tool: "dies" }),
  tool("falls_back").annotate(Annotate.Fallback, { lastGood: "1 hour" }),
  tool("maps_wrong").annotate(Annotate.Fallback, { tool: "works", params: bug }),
  tool("keeps").annotate(Tool.Readonly, true).annotate(Annotate.Cache, {}),
  tool("streams"),
  tool("denied"),
  tool("forbidden").annotate(Annotate.Capabilities, ["nobody_has_this"]),
  tool("ruled"),
  tool("breaks_the_rule"),
  tool("limited"),
  tool("counts_wrong"),
  tool("costs").annotate(Annotate.Cost, 1_000_000),
  tool("costs_wrong").annotate(Annotate.Cost, bug),
  tool("stopped"),
  tool("broken").annotate(Annotate.Circuit, "broken").annotate(Annotate.Retries, 0),
  tool("full").annotate(Annotate.Bulkhead, { maxConcurrent: 1 }),
  tool("confirmed"),
  tool("approved"),
  tool("wonders").setNeedsApproval((params) => bug(params)),
  tool("classifies_wrong").annotate(Annotate.Classify, (error) => {
    throw error
  }),
  Tool.make("shows_wrong", {
    parameters: Params,
    success: Result,
    failureMode: "return",
    toModelOutput: ({ all, token }) => {
      throw new Error(`cannot show ${token} nor ${all.map(Redacted.value).join(" nor ")}`)
    }
  }),
  tool("reads").annotate(Annotate.Trust, "untrusted"),
  tool("sends").annotate(Annotate.SendsData, true)
)
type Name = keyof typeof kit.tools

const handlers = () => {
  const tried = new Map<number, number>()
  const groupOf = (given: { readonly group: number }) => groups[given.group] as Group
  const works = (given: { readonly group: number }) => resultOf(groupOf(given))
  const throws = (given: { readonly group: number }) => {
    throw careless(groupOf(given))
  }
  const dies = (given: { readonly group: number }) => Effect.die(careless(groupOf(given)))
  const all = Object.fromEntries(Object.keys(kit.tools).map((name) => [name, works]))
  return Handlers.toLayer(kit, {
    ...(all as { readonly [N in Name]: typeof works }),
    fails: (given) =>
      Effect.fail(
        new Failed({
          token: groupOf(given).declared[0]!.value,
          rest: groupOf(given).undeclared.map((secret) => place(secret) as Schema.Json)
        })
      ),
    throws,
    rejects: (given) => Promise.reject(careless(groupOf(given))),
    dies,
    // Keys and values that its schema does not know.
    lies: (given) => ({ ...works(given), token: { [JSON.stringify(paramsOf(groupOf(given)))]: 1 } }) as never,
    hangs: () => Effect.never,
    dies_late: (given) => Effect.ensuring(Effect.never, dies(given)),
    flaky: (given) => {
      const before = tried.get(given.group) ?? 0
      tried.set(given.group, before + 1)
      if (before < 2) throw Object.assign(careless(groupOf(given)), { code: "ECONNRESET" })
      return works(given)
    },
    falls: dies,
    falls_down: dies,
    falls_back: (given) => (given.word === "again" ? throws(given) : works(given)),
    maps_wrong: dies,
    streams: (given, context) => Effect.as(context.preliminary(works(given)), works(given)),
    broken: throws,
    full: () => Effect.never,
    classifies_wrong: throws
  })
}

const options = {
  policy: {
    deny: ["denied"],
    deniedDomains: ["blocked.example"],
    requireConfirmation: ["confirmed"],
    requireApproval: ["approved"]
  },
  rules: [
    {
      name: "house",
      decide: ({ params, tool }) => {
        if (tool.name === "breaks_the_rule") bug(params)
        return tool.name === "ruled" ? Verdict.deny("house", "Not in this house.") : Verdict.allow
      }
    }
  ],
  rateLimits: [
    { limit: 1, window: "1000 days", tools: ["limited"], by: "tool" },
    { limit: 1, window: "1000 days", tools: ["counts_wrong"], by: ({ params }) => bug(params) }
  ],
  budget: [{ name: "purse", max: 3_000_000, tools: ["costs"] }],
  loops: { errors: 1_000_000, window: 1_000_000 },
  approvals: { maxUndecided: 10_000 },
  telemetry: Telemetry.layerConsole,
  defaults: { retry: Retry.make({ schedule: Schedule.exponential("10 millis") }) }
} satisfies Interlock.Options

// --- The ways of a call ----------------------------------------------------

const ada = Principal.make({ id: "ada", tenant: "acme", roles: ["write"], session: "s1" })
const bob = Principal.make({ id: "bob", tenant: "acme", roles: ["admin"] })

type CallTool = Effect.Success<ReturnType<(typeof doors)[number]["open"]>>

interface World {
  readonly sink: EverySink
  readonly services: Context.Context<Interlock.Services>
  readonly executor: ToolExecutor.ToolExecutor<typeof kit.tools>
  readonly open: (door: string) => Effect.Effect<CallTool, never, Scope.Scope>
}

/** A way: what it does with a group, and what becomes of its last call. */
type Way = (world: World, group: Group) => Effect.Effect<string, unknown, Scope.Scope>

/** What a caller is told, but for what the tool itself says to it. */
const told = ({ sink }: World, result: ToolResult): string => {
  const { error, value: _own, ...rest } = result
  sink.note("ToolResult.ts", rest)
  if (error === undefined) return result.status
  const { reason } = error
  const shown =
    reason._tag === "ToolFailed"
      ? new ToolError.ToolError({ ...error, reason: { _tag: "ToolFailed", class: reason.class } })
      : error
  sink.note("ToolError.ts", shown, shown.message, String(shown), Cause.pretty(Cause.fail(shown)))
  return result.status
}

const execute = (
  world: World,
  tool: Name,
  group: Group,
  more: Partial<ToolCall> = {}
): Effect.Effect<ToolResult> =>
  world.executor.execute({ tool, params: paramsOf(group), ...more }) as Effect.Effect<ToolResult>

/** One call, and how it ends. */
const once =
  (tool: Name, more: Partial<ToolCall> | ((group: Group) => Partial<ToolCall>) = {}): Way =>
  (world, group) =>
    Effect.map(
      inTime(execute(world, tool, group, typeof more === "function" ? more(group) : more)),
      (result) => told(world, result)
    )

const twice =
  (tool: Name, more: (group: Group, time: number) => Partial<ToolCall>): Way =>
  (world, group) =>
    Effect.andThen(
      once(tool, more(group, 1))(world, group),
      Effect.suspend(() => once(tool, more(group, 2))(world, group))
    )

/** Over a door that is not the executor's own. */
const through =
  (door: string, tool: Name, more: Partial<Params> = {}): Way =>
  (world, group) =>
    Effect.gen(function* () {
      const call = yield* world.open(door)
      const seen = yield* inTime(Effect.scoped(call(tool, paramsOf(group, more))))
      const channel = door === "mcp" ? "mcp/index.ts" : "internal/governedToolkit.ts"
      if (!seen.succeeded && tool !== "fails") world.sink.note(channel, seen.text)
      return seen.code ?? (seen.succeeded ? "success" : "failure")
    })

/** Asks, lets somebody decide, and goes on. */
const asked =
  (
    tool: Name,
    decide: (
      approvals: Approvals.Approvals["Service"],
      request: Approvals.Request,
      world: World,
      group: Group
    ) => Effect.Effect<ToolResult, unknown>
  ): Way =>
  (world, group) =>
    Effect.gen(function* () {
      const approvals = Context.get(world.services, Approvals.Approvals)
      const pending = yield* execute(world, tool, group)
      assert.strictEqual(told(world, pending), "pending_confirmation")
      const reason = pending.error?.reason
      const request = yield* approvals.get(reason?._tag === "PendingConfirmation" ? reason.request : "")
      world.sink.note("internal/approvals/watch.ts", request)
      const result = yield* decide(approvals, request as Approvals.Request, world, group)
      return told(world, result)
    })

const resumed = (world: World, grant: Effect.Effect<{ readonly token: string }, unknown>) =>
  Effect.flatMap(grant, ({ token }) => world.executor.resume(token) as Effect.Effect<ToolResult>)

const ways: { readonly [Name in string]: readonly [way: Way, ends: ReadonlyArray<string>] } = {
  success: [once("works"), ["success"]],
  "declared failure": [once("fails"), ["failure"]],
  "thrown error": [once("throws"), ["failure"]],
  "rejected promise": [once("rejects"), ["failure"]],
  defect: [once("dies"), ["failure"]],
  "result that does not fit": [once("lies"), ["failure"]],
  timeout: [once("hangs"), ["timeout"]],
  "timeout of what dies then": [once("dies_late"), ["timeout"]],
  retries: [once("flaky"), ["success"]],
  "fallback to a tool": [once("falls"), ["degraded"]],
  "fallback that fails": [once("falls_down"), ["failure"]],
  "fallback to the last good result": [
    twice("falls_back", (group, time) => ({
      params: paramsOf(group),
      ...(time === 1 ? {} : { retries: 0 })
    })),
    ["success", "degraded"]
  ],
  "cache hit": [twice("keeps", () => ({})), ["success"]],
  "repeated with its key": [twice("works", ({ n }) => ({ idempotencyKey: `key ${n}` })), ["success"]],
  "another call with the same key": [
    twice("works", (group, time) => ({
      idempotencyKey: `other ${group.n}`,
      params: paramsOf(group, { word: String(time) })
    })),
    ["invalid_params"]
  ],
  "preliminary results": [
    (world, group) =>
      Effect.map(
        world.executor.execute(
          { tool: "streams", params: paramsOf(group) },
          { onProgress: (value) => Effect.die(new Error(`cannot show ${JSON.stringify(value)}`)) }
        ) as Effect.Effect<ToolResult>,
        (result) => told(world, result)
      ),
    ["success"]
  ],
  "denied by name": [once("denied"), ["policy_denied"]],
  "denied by a right": [once("forbidden"), ["permission_denied"]],
  "denied by a rule": [once("ruled"), ["policy_denied"]],
  "a rule that throws": [once("breaks_the_rule"), ["policy_denied"]],
  "denied by a host": [
    once("works", (group) => ({
      params: paramsOf(group, {
        link: "https://blocked.example/x",
        whole: { [group.declared[0]!.value]: "https://blocked.example/y" }
      })
    })),
    ["policy_denied"]
  ],
  "arguments that do not fit": [once("works", (group) => ({ params: misfits(group) })), ["invalid_params"]],
  "arguments that are too large": [
    once("works", (group) => ({ params: paramsOf(group, { word: "x".repeat(300_000) }) })),
    ["invalid_params"]
  ],
  screened: [
    once("works", (group) => ({
      params: paramsOf(group, {
        plain: `${group.declared[0]!.value}\u0007`,
        whole: { [group.declared[1]!.value]: "bell\u0007", [`${group.declared[2]!.value}\u0007`]: "x" }
      })
    })),
    ["policy_denied"]
  ],
  "rate limited": [once("limited"), ["success", "rate_limited"]],
  "a limit that throws": [once("counts_wrong"), ["failure"]],
  "budget spent": [once("costs"), ["success", "budget_exceeded"]],
  "a cost that throws": [once("costs_wrong"), ["failure"]],
  killed: [once("stopped"), ["killed"]],
  "open circuit": [once("broken"), ["failure", "circuit_open"]],
  overloaded: [
    (world, group) =>
      Effect.gen(function* () {
        const first = yield* Effect.forkChild(execute(world, "full", group), { startImmediately: true })
        const second = yield* once("full")(world, group)
        yield* Fiber.interrupt(first)
        return second
      }),
    ["overloaded"]
  ],
  interrupted: [
    (world, group) =>
      Effect.gen(function* () {
        const fiber = yield* Effect.forkChild(execute(world, "dies_late", group), { startImmediately: true })
        yield* settled
        yield* Fiber.interrupt(fiber)
        return "cancelled"
      }),
    ["cancelled"]
  ],
  "no such tool": [once("works", { tool: "no_such_tool" }), ["not_found"]],
  "a question of the tool that throws": [once("wonders"), ["pending_confirmation"]],
  "a classification that throws": [once("classifies_wrong"), ["failure"]],
  "a fallback that throws": [once("maps_wrong"), ["failure"]],
  confirmed: [
    asked("confirmed", (approvals, request, world) =>
      resumed(world, Principal.provide(approvals.grant(request.id), ada))
    ),
    ["success"]
  ],
  approved: [
    asked("approved", (approvals, request, world) =>
      resumed(world, Principal.provide(approvals.grant(request.id), bob))
    ),
    ["success"]
  ],
  rejected: [
    asked("approved", (approvals, request, world, group) =>
      Effect.andThen(
        Principal.provide(approvals.reject(request.id, "No."), bob),
        execute(world, "approved", group, { id: request.callId })
      )
    ),
    ["rejected"]
  ],
  revoked: [
    asked("approved", (approvals, request, world) =>
      Effect.flatMap(Principal.provide(approvals.grant(request.id), bob), ({ token }) =>
        Effect.andThen(
          Principal.provide(approvals.revoke(request.id), bob),
          world.executor.resume(token) as Effect.Effect<ToolResult>
        )
      )
    ),
    ["rejected"]
  ],
  edited: [
    asked("confirmed", (_, request, world, group) =>
      Principal.provide(
        world.executor.edit({
          request: request.id,
          params: paramsOf(group, { word: "edited" }),
          principal: ada
        }),
        ada
      )
    ),
    ["pending_confirmation"]
  ],
  "copied from what cannot be trusted": [
    (world, group) =>
      Effect.gen(function* () {
        const run = Run.make({ id: `run ${group.n}`, driver: "model" })
        yield* Run.provide(execute(world, "reads", group), run)
        const pending = yield* Run.provide(execute(world, "sends", group), run)
        yield* Effect.orDie(
          Context.get(world.services, Taint.Taint).declassify(run, { by: "ada", why: "looked at" })
        )
        return told(world, pending)
      }),
    ["pending_confirmation"]
  ],
  batch: [
    (world, group) =>
      Effect.gen(function* () {
        const calls = (["works", "throws", "denied", "confirmed", "flaky"] as const).map((tool) => ({
          tool,
          params: paramsOf(group),
          critical: false
        }))
        const onProgress = (progress: Batch.Progress) => {
          const { last, ...counts } = progress
          world.sink.note("Batch.ts", counts)
          told(world, last)
          throw new Error(`cannot show ${JSON.stringify(last.value)}`)
        }
        const { counts, results } = yield* inTime(
          Batch.parallel(world.executor, calls, { onProgress }) as Effect.Effect<Batch.BatchResult>
        )
        world.sink.note("Batch.ts", counts)
        return results.map((result) => told(world, result)).join(" ")
      }),
    ["success failure policy_denied pending_confirmation success"]
  ],
  evaluated: [
    (world, group) =>
      Effect.gen(function* () {
        for (const tool of ["works", "ruled", "confirmed", "breaks_the_rule", "costs_wrong"] as const) {
          world.sink.note("evaluate", yield* world.executor.evaluate({ tool, params: paramsOf(group) }))
        }
        return "looked"
      }),
    ["looked"]
  ],
  "typed door": [
    (world, group) =>
      Effect.map(Effect.exit(world.executor.run("throws", paramsOf(group))), (exit) => {
        if (Exit.isFailure(exit)) world.sink.note("ToolError.ts", Cause.pretty(exit.cause), exit.cause)
        return exit._tag
      }),
    ["Failure"]
  ],
  "governed toolkit": [through("toolkit", "throws"), ["HANDLER_FAILED"]],
  "a result that cannot be shown to a model": [through("toolkit", "shows_wrong"), ["HANDLER_DEFECT"]],
  "a model's call": [through("generateText", "dies"), ["HANDLER_DEFECT"]],
  "a model's call in a stream": [through("streamText", "confirmed"), ["PENDING_CONFIRMATION"]],
  "success over MCP": [through("mcp", "works"), ["success"]],
  "error over MCP": [through("mcp", "throws"), ["HANDLER_FAILED"]],
  "denial over MCP": [through("mcp", "denied"), ["POLICY_DENIED"]],
  // Effect's own toolkit writes arguments on whatever span there is; here is none.
  guard: [through("guard", "throws"), ["HANDLER_FAILED"]]
}

/** What does not fit: every declared place holds something of a wrong kind, or stands in a text that is JSON. */
const misfits = (group: Group): unknown => {
  const given = paramsOf(group)
  return {
    ...given,
    hidden: [given.hidden],
    plain: { [given.plain]: given.plain },
    list: JSON.stringify(given.list),
    redacted: [given.redacted],
    nested: JSON.stringify(given.nested, undefined, 2),
    either: given.either.map((item) => JSON.stringify(item)),
    tree: { key: given.tree.key, below: [{ key: [given.optional], below: { first: given.tree } }] },
    whole: [Object.entries(given.whole)]
  }
}

// --- The worlds ------------------------------------------------------------

/** Opens a program around services, and runs ways of calls in it on ada's behalf. */
const inWorld = (
  sink: EverySink,
  governance: Layer.Layer<Interlock.Services, unknown>,
  body: (world: World) => Effect.Effect<void, unknown, Scope.Scope>,
  budget: { readonly budget: "Budget.ts" | "sql/SqlBudget.ts" } = { budget: "Budget.ts" }
) =>
  Effect.gen(function* () {
    const services = yield* Layer.build(governance)
    yield* sink.listen(services, budget)
    const everything = Context.merge(services, yield* Layer.build(handlers()))
    const executor = yield* Effect.provide(ToolExecutor.make(kit), everything)
    const opened = new Map<string, CallTool>()
    const scope = yield* Effect.scope
    const world: World = {
      sink,
      services,
      executor,
      open: (name) =>
        Effect.gen(function* () {
          const known = opened.get(name)
          if (known !== undefined) return known
          const door = doors.find((door) => door.name === name) as (typeof doors)[number]
          const call = yield* door
            .open(kit as never)
            .pipe(
              Effect.provide(everything as never),
              Effect.provideService(Scope.Scope, scope)
            ) as Effect.Effect<CallTool>
          opened.set(name, call)
          return call
        })
    }
    const killSwitch = Context.get(services, KillSwitch.KillSwitch)
    yield* killSwitch.stop({ scope: "tool", tool: "stopped" }, { by: "bob", why: "maintenance" })
    yield* body(world)
    yield* settled
    yield* sink.look(services, budget)
  }).pipe(Effect.scoped, Principal.provide(ada), sink.around)

/** Ways with every group. */
const go =
  (...names: ReadonlyArray<keyof typeof ways>) =>
  (world: World) =>
    Effect.forEach(
      groups,
      (group) =>
        Effect.forEach(names, (name) => {
          const [way, ends] = ways[name] as (typeof ways)[string]
          return Effect.map(Effect.scoped(way(world, group)), (end) => assert.include(ends, end, name))
        }),
      { discard: true }
    )

/** What was heard in all tests: on which channels, and which of the secrets that nobody declared. */
const spoken = new Set<Channel>()
const shown = new Set<Secret>()

const nothingDeclaredIn = (sink: EverySink): void => {
  for (const channel of sink.spoken) spoken.add(channel)
  for (const [, secrets] of heard(sink, undeclaredOnes)) for (const secret of secrets) shown.add(secret)
  const leaks = [...heard(sink, declaredOnes)].map(
    ([channel, secrets]) => `${channel}: ${secrets.size}, as in ${example(sink, declaredOnes, channel)}`
  )
  assert.deepStrictEqual(leaks, [])
}

const folders: Array<string> = []
const newFolder = (): string => {
  const folder = mkdtempSync(join(tmpdir(), "interlock-secrets-"))
  folders.push(folder)
  return folder
}
afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true })
})

describe("a thousand secrets in declared places", () => {
  for (const name of Object.keys(ways)) {
    it.effect(`leave nothing behind: ${name}`, () =>
      Effect.gen(function* () {
        const sink = new EverySink()
        yield* inWorld(sink, Interlock.layer(options), go(name))
        nothingDeclaredIn(sink)
      })
    )
  }

  it.effect("leave nothing behind in a database, nor where it breaks", () =>
    Effect.gen(function* () {
      const sink = new EverySink()
      const folder = newFolder()
      const database = Sqlite.layer({ filename: join(folder, "state.db"), synchronous: "NORMAL" })
      const durable = Interlock.layer({
        ...options,
        approvals: SqlApprovals.layer({ maxUndecided: 10_000 }),
        idempotency: SqlIdempotency.layer(),
        cache: SqlResultCache.layer(),
        killSwitch: SqlKillSwitch.layer(),
        budget: SqlBudget.layer(options.budget),
        audit: SqlAuditLog.layer()
      })
      yield* inWorld(
        sink,
        Layer.provideMerge(durable, database),
        (world) =>
          Effect.gen(function* () {
            yield* go(
              "thrown error",
              "repeated with its key",
              "cache hit",
              "budget spent",
              "confirmed"
            )(world)
            sink.read("sql", folder)
            yield* sink.look(world.services, { budget: "sql/SqlBudget.ts" })
            const audit = Context.get(world.services, AuditLog.AuditLog)
            sink.note("audit", yield* audit.report(), yield* audit.unfinished())
            const sql = Context.get(
              world.services as Context.Context<never>,
              SqlClient.SqlClient as never
            ) as SqlClient.SqlClient
            const tables = yield* sql<{ readonly name: string }>`SELECT name FROM sqlite_master
              WHERE type = 'table' AND name LIKE 'interlock_%' AND name NOT LIKE 'interlock_audit%'`
            for (const { name } of tables) yield* sql`DROP TABLE ${sql(name)}`
            for (const tool of ["confirmed", "keeps", "costs", "works"] as const) {
              told(
                world,
                yield* execute(world, tool, groups[0] as Group, { idempotencyKey: `broken ${tool}` })
              )
            }
          }),
        { budget: "sql/SqlBudget.ts" }
      ).pipe(Effect.ignore)
      sink.read("sql", folder)
      nothingDeclaredIn(sink)
    })
  )

  it.effect("leave nothing behind in files, at a terminal, nor in a line that was torn", () =>
    Effect.gen(function* () {
      const sink = new EverySink()
      const directory = newFolder()
      const durable = Interlock.layer({
        ...options,
        keyring: { active: "a", keys: { a: Redacted.make("a".repeat(40)) } },
        approvals: Approvals.layerTerminal(),
        audit: FileAuditLog.layer({ directory, fsync: "never", maxBytes: 500_000 })
      }).pipe(Layer.provide([sink.terminal, NodeFileSystem.layer, NodePath.layer]))
      yield* inWorld(sink, durable, (world) =>
        Effect.forEach(groups, (group) =>
          Effect.gen(function* () {
            for (const tool of ["works", "throws", "denied", "confirmed"] as const) {
              told(world, yield* execute(world, tool, group))
            }
          })
        )
      )
      sink.read("file", directory)
      const last = readdirSync(directory)
        .filter((name) => name.endsWith(".jsonl"))
        .sort()
        .at(-1) as string
      appendFileSync(join(directory, last), readFileSync(join(directory, last), "utf8").slice(0, 200))
      yield* inWorld(sink, durable, () => Effect.void)
      sink.read("file", directory)
      nothingDeclaredIn(sink)
    })
  )

  it("were looked for in every sink of the registry", () => {
    assert.deepStrictEqual(unheard, [], "collect it in test/support/everySink.ts")
    assert.deepStrictEqual(unlisted, [], "it is gone from src/internal/sinks.ts")
    assert.deepStrictEqual(
      channels.filter((channel) => !spoken.has(channel)),
      [],
      "nothing was ever heard there"
    )
  })
})

// --- What is detected ------------------------------------------------------

/** Tools that say a secret that stands nowhere in their arguments. */
const sayers = Toolkit.make(
  Tool.make("returns", { parameters: Schema.Struct({ n: Schema.Int }), success: Schema.Json }),
  Tool.make("complains", { parameters: Schema.Struct({ n: Schema.Int }) })
    .annotate(Annotate.Retries, 0)
    .annotate(Annotate.Circuit, false),
  Tool.dynamic("takes", { parameters: { type: "object" } })
)

/** A message of somebody else's library: a sentence, or a request that failed. */
const sentence = (secret: Secret): string =>
  hashed(secret) % 2 === 0
    ? String(place({ ...secret, form: "text" })["text"])
    : `GET ${String(place({ ...secret, form: "query" })["url"])} failed with status 502`

const hashed = ({ needle }: Secret): number => [...needle].reduce((sum, char) => sum + char.charCodeAt(0), 0)

const sayersHandlers = Handlers.toLayer(sayers, {
  returns: ({ n }) => place(undeclared[n] as Secret) as Schema.Json,
  complains: ({ n }) => Effect.die(new Error(sentence(undeclared[n] as Secret))),
  takes: () => undefined
})

/** What is shown of a thousand calls that hold a secret each, where the caller's own record is not looked at. */
const shownOf = (
  call: (secret: Secret, n: number) => ToolCall,
  spelled: (secret: Secret) => ReadonlyArray<string>,
  on: ReadonlyArray<Channel>
): Effect.Effect<ReadonlySet<Secret>, unknown> => {
  const sink = new EverySink()
  return Effect.gen(function* () {
    const services = yield* Layer.build(Interlock.layer(options))
    yield* sink.listen(services)
    const built = yield* Layer.build(sayersHandlers)
    const executor = yield* Effect.provide(ToolExecutor.make(sayers), Context.merge(services, built))
    for (const [n, secret] of undeclared.entries()) yield* executor.execute(call(secret, n))
    yield* settled
    yield* sink.look(services)
    const finder = new Finder(undeclared.map((secret) => [secret, spelled(secret)] as const))
    return new Set([...heard(sink, finder, on).values()].flatMap((secrets) => [...secrets]))
  }).pipe(Effect.scoped, Principal.provide(ada), sink.around)
}

/** Of 500 under a telling name, and of 500 under another. */
const least = {
  arguments: [470, 430],
  results: [480, 430],
  messages: [490, 435],
  metadata: [495, 440]
} as const

/** Of 25 each: what has no shape is known by its name only, where that stands beside it. */
const shapeless: ReadonlyMap<Kind, readonly [named: number, not: number]> = new Map([
  ["password", [15, 0]],
  ["hex-token", [20, 0]],
  ["aws-secret-key", [15, 16]],
  ["phone", [20, 18]]
])

describe("a thousand secrets that nobody declared", () => {
  it.effect("are found by their names and shapes, as often as when this was written", () =>
    Effect.gen(function* () {
      const everywhere = channels.filter((channel) => channel !== "ToolResult.ts")
      const results = yield* shownOf((_, n) => ({ tool: "returns", params: { n } }), spellings, everywhere)
      const messages = yield* shownOf(
        (_, n) => ({ tool: "complains", params: { n } }),
        (secret) => [secret.needle, encodeURIComponent(secret.needle)],
        everywhere
      )
      // Records say metadata as they are, and say so; what is kept is masked.
      const metadata = yield* shownOf(
        (secret) => ({ tool: "takes", params: {}, metadata: { [secret.name]: secret.value } }),
        (secret) => [secret.needle, JSON.stringify(secret.needle).slice(1, -1)],
        ["audit", "file"]
      )

      const places = { arguments: shown, results, messages, metadata }
      const found = (place: ReadonlySet<Secret>, named: boolean, kind?: Kind) =>
        undeclared.filter(
          (secret) =>
            secret.named === named && (kind === undefined || secret.kind === kind) && !place.has(secret)
        ).length
      console.table(
        kinds.map((kind) => ({
          "of 25 each": kind,
          ...Object.fromEntries(
            Object.entries(places).map(([name, place]) => [
              `${name}: named, not`,
              `${found(place, true, kind)}, ${found(place, false, kind)}`
            ])
          )
        }))
      )
      for (const [name, [named, not]] of Object.entries(least)) {
        const place = places[name as keyof typeof places]
        console.log(
          `${name}: ${found(place, true)} of 500 under a telling name, ${found(place, false)} of 500 under another`
        )
        assert.isAtLeast(found(place, true), named, `${name}, named`)
        assert.isAtLeast(found(place, false), not, `${name}, not named`)
        for (const kind of kinds) {
          const [namedOfKind, notOfKind] = shapeless.get(kind) ?? [24, 24]
          assert.isAtLeast(found(place, true, kind), namedOfKind, `${name}, ${kind}, named`)
          assert.isAtLeast(found(place, false, kind), notOfKind, `${name}, ${kind}, not named`)
        }
      }
    })
  )

  it.effect("are not seen in ten thousand ordinary arguments", () =>
    Effect.gen(function* () {
      const services = yield* Layer.build(Interlock.layer(options))
      const masked = new Map<string, number>()
      yield* Context.get(services, CallRecord.CallRecorder).add({
        onEnd: (record) => {
          const rules = new Set(record.arguments.view.masked.map(({ rule }) => rule))
          for (const rule of rules) masked.set(rule, (masked.get(rule) ?? 0) + 1)
        }
      })
      const built = yield* Layer.build(sayersHandlers)
      const executor = yield* Effect.provide(ToolExecutor.make(sayers), Context.merge(services, built))
      for (const params of ordinary(21, 10_000)) {
        const { status } = yield* executor.execute({ tool: "takes", params })
        assert.strictEqual(status, "success")
      }
      const wrong = [...masked.values()].reduce((sum, count) => sum + count, 0)
      console.log(`false positives: ${wrong} of 10,000`, Object.fromEntries(masked))
      assert.isAtMost(wrong, 20)
    })
  )
})
