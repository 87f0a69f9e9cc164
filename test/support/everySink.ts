/**
 * Collects, as text, everything that leaves a governed program: one channel for
 * each primitive of the registry in `internal/sinks.ts`, and one for each module
 * that answers by returning or publishes to whoever listens.
 */
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { inspect } from "node:util"
import * as Cause from "effect/Cause"
import * as Console from "effect/Console"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as ErrorReporter from "effect/ErrorReporter"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Metric from "effect/Metric"
import * as References from "effect/References"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Terminal from "effect/Terminal"
import * as Tracer from "effect/Tracer"
import {
  Approvals,
  AuditLog,
  Budget,
  CallRecord,
  CircuitBreaker,
  Health,
  History,
  type Interlock,
  KillSwitch
} from "effect-interlock"
import { type Primitive, sinks } from "../../src/internal/sinks.ts"

// --- Channels --------------------------------------------------------------

/** What is used by many modules and heard in one place, whoever uses it. */
const common = [
  "report",
  "log",
  "console",
  "terminal",
  "span",
  "metric",
  "record",
  "audit",
  "sql",
  "file"
] as const satisfies ReadonlyArray<Primitive>

/** What is heard module by module: answers to a caller, and streams. */
const single = [
  "ToolResult.ts",
  "ToolError.ts",
  "Batch.ts",
  "mcp/index.ts",
  "internal/governedToolkit.ts",
  "CallRecord.ts",
  "Health.ts",
  "History.ts",
  "CircuitBreaker.ts",
  "internal/approvals/watch.ts",
  "Budget.ts",
  "sql/SqlBudget.ts",
  "internal/killSwitch/local.ts"
] as const

/** Hands on what others publish: whoever they are is in the registry. */
const relays: ReadonlyArray<string> = ["internal/sliding.ts"]

/** Publishes that something has changed, and not what; or a circuit's name and state. */
const contentless: ReadonlyArray<string> = [
  "ToolRegistry.ts",
  "mcp/Gateway.ts",
  "internal/circuits/shared.ts"
]

/** Answers whoever sits at the terminal with records, which are heard where they are written. */
const atTheTerminal: ReadonlyArray<string> = ["cli/commands/audit/look.ts"]

/** What nobody publishes and no primitive shows: what the library says of a call that was not made. */
const beside = ["evaluate"] as const

export const channels = [...common, ...single, ...beside]
export type Channel = (typeof channels)[number]

/** What the registry lists and nothing here listens to: nothing. */
export const unheard: ReadonlyArray<string> = sinks.flatMap(({ by, module }) => {
  const heard = (primitive: Primitive): boolean =>
    // A tool sends its arguments to where they are meant to go: its own tests say what else does not get there.
    primitive === "network" ||
    (common as ReadonlyArray<Primitive>).includes(primitive) ||
    (primitive === "publish" &&
      [single as ReadonlyArray<string>, relays, contentless].some((modules) => modules.includes(module)))
  if (by.length === 0)
    return [single as ReadonlyArray<string>, atTheTerminal].some((modules) => modules.includes(module))
      ? []
      : [module]
  return by.filter((primitive) => !heard(primitive)).map((primitive) => `${module}: ${primitive}`)
})

/** What is listened to and the registry does not list: nothing. */
export const unlisted: ReadonlyArray<string> = single.filter(
  (module) => !sinks.some((sink) => sink.module === module)
)

// --- What is heard ---------------------------------------------------------

type Services = Context.Context<Interlock.Services>

export class EverySink {
  readonly #texts = new Map<Channel, Set<string>>()

  /** What was heard on a channel so far. */
  texts(channel: Channel): ReadonlySet<string> {
    return this.#texts.get(channel) ?? new Set()
  }

  /** The channels on which something was heard. */
  get spoken(): ReadonlyArray<Channel> {
    return [...this.#texts.keys()]
  }

  /** Takes note of things, in the words of the printers that people use. */
  note(channel: Channel, ...things: ReadonlyArray<unknown>): void {
    let texts = this.#texts.get(channel)
    if (texts === undefined) {
      texts = new Set()
      this.#texts.set(channel, texts)
    }
    for (const thing of things) {
      if (typeof thing === "string") texts.add(thing)
      else texts.add(inspect(thing, { depth: 12 })).add(json(thing))
    }
  }

  /** Listens to what an effect says around it: reports, logs, console, spans, metrics. */
  readonly around = <A, Err, R>(effect: Effect.Effect<A, Err, R>): Effect.Effect<A, Err, R> => {
    const registry = new Map()
    const context = Context.make(Tracer.Tracer, this.#tracer).pipe(
      Context.add(Console.Console, this.#console),
      Context.add(Metric.MetricRegistry, registry),
      Context.add(References.MinimumLogLevel, "All"),
      Context.add(
        ErrorReporter.CurrentErrorReporters,
        new Set([
          ErrorReporter.make(({ attributes, cause, error }) =>
            this.#cause("report", cause, error, attributes)
          )
        ])
      )
    )
    return Effect.ensuring(effect, this.#metrics).pipe(
      Effect.provide(Logger.layer([this.#logger])),
      Effect.provide(context)
    ) as Effect.Effect<A, Err, R>
  }

  get #metrics(): Effect.Effect<void> {
    return Effect.gen({ self: this }, function* () {
      this.note("metric", yield* Metric.snapshot, yield* Metric.dump)
    })
  }

  #cause(channel: Channel, cause: Cause.Cause<unknown>, ...more: ReadonlyArray<unknown>): void {
    this.note(channel, Cause.pretty(cause), cause, ...more)
    for (const reason of cause.reasons) {
      // What an error is as JSON, its own fields included, a cause does not say.
      if (reason._tag === "Fail") this.note(channel, json(reason.error), String(reason.error))
      if (reason._tag === "Die") this.note(channel, json(reason.defect), String(reason.defect))
    }
  }

  readonly #logger = Logger.make((entry) => {
    this.note("log", entry.message, entry.fiber.getRef(References.CurrentLogAnnotations))
    this.#cause("log", entry.cause)
  })

  readonly #console = new Proxy(globalThis.console, {
    get:
      () =>
      (...said: ReadonlyArray<unknown>) =>
        this.note("console", ...said)
  }) as unknown as Console.Console

  readonly #tracer = Tracer.make({
    span: (options) => {
      const span = new Tracer.NativeSpan(options)
      const end = span.end.bind(span)
      span.end = (time, exit) => {
        end(time, exit)
        this.note("span", span.name, [...span.attributes], span.events, span.links)
        // An exporter looks at an exit only where it is a failure.
        if (Exit.isFailure(exit)) this.#cause("span", exit.cause)
      }
      return span
    }
  })

  /** A terminal whose person says yes to everything. */
  readonly terminal: Layer.Layer<Terminal.Terminal> = Layer.sync(Terminal.Terminal, () => {
    const nothing = Effect.die("not used")
    return Terminal.make({
      columns: nothing,
      rows: nothing,
      size: nothing,
      readInput: nothing,
      readLine: Effect.succeed("yes"),
      display: (text) => Effect.sync(() => this.note("terminal", text))
    })
  })

  /** Listens to what services tell whoever listens. */
  readonly listen = (
    services: Services,
    options: { readonly budget: "Budget.ts" | "sql/SqlBudget.ts" } = { budget: "Budget.ts" }
  ): Effect.Effect<void, never, Scope.Scope> =>
    Effect.gen({ self: this }, function* () {
      const record = (channel: Channel) => (record: CallRecord.CallRecord) => this.#record(channel, record)
      yield* Context.get(services, CallRecord.CallRecorder).add({
        onStart: record("record"),
        onChange: record("record"),
        onEnd: record("record")
      })
      const follow = <A>(channel: Channel, stream: Stream.Stream<A, unknown>) =>
        Effect.forkScoped(
          Stream.runForEach(stream, (item) => Effect.sync(() => this.note(channel, item))),
          { startImmediately: true }
        )
      const follows = (channel: Channel, stream: Stream.Stream<CallRecord.CallRecord>) =>
        Effect.forkScoped(
          Stream.runForEach(stream, (item) => Effect.sync(() => this.#record(channel, item))),
          { startImmediately: true }
        )
      yield* follows("CallRecord.ts", Context.get(services, CallRecord.CallRecorder).records)
      yield* follows("History.ts", Context.get(services, History.History).changes)
      yield* follow("Health.ts", Context.get(services, Health.Health).changes)
      yield* follow("CircuitBreaker.ts", Context.get(services, CircuitBreaker.CircuitBreaker).transitions)
      yield* follow("internal/approvals/watch.ts", Context.get(services, Approvals.Approvals).changes)
      yield* follow(options.budget, Context.get(services, Budget.Budget).alerts)
      yield* follow("internal/killSwitch/local.ts", Context.get(services, KillSwitch.KillSwitch).changes)
    })

  /** Looks at what services have, as anyone who asks them sees it. */
  readonly look = (
    services: Services,
    options: { readonly budget: "Budget.ts" | "sql/SqlBudget.ts" } = { budget: "Budget.ts" }
  ): Effect.Effect<void, unknown> =>
    Effect.gen({ self: this }, function* () {
      const history = Context.get(services, History.History)
      for (const record of yield* history.recent()) this.#record("History.ts", record)
      this.note("History.ts", yield* history.statistics)
      this.note("Health.ts", yield* Context.get(services, Health.Health).all)
      this.note("CircuitBreaker.ts", yield* Context.get(services, CircuitBreaker.CircuitBreaker).states)
      this.note("internal/killSwitch/local.ts", yield* Context.get(services, KillSwitch.KillSwitch).stops)
      const budget = Context.get(services, Budget.Budget)
      this.note(options.budget, yield* budget.spent(), yield* budget.standing, yield* budget.credits)
      const approvals = Context.get(services, Approvals.Approvals)
      this.note("internal/approvals/watch.ts", ...(yield* approvals.list({ limit: 100_000 })))
      const audit = Context.get(services, AuditLog.AuditLog)
      yield* Stream.runForEach(audit.export(), (line) => Effect.sync(() => this.note("audit", line)))
      yield* Stream.runForEach(audit.lines(), (line) => Effect.sync(() => this.note("file", json(line))))
    })

  /** Reads every byte that lies below a directory. */
  readonly read = (channel: "sql" | "file", directory: string): void => {
    for (const entry of readdirSync(directory, { recursive: true, withFileTypes: true })) {
      if (!entry.isFile()) continue
      const bytes = readFileSync(join(entry.parentPath, entry.name))
      // Whatever else lies between: what is looked for is ASCII.
      this.note(channel, bytes.toString("latin1"))
    }
  }

  /** A record that has ended says the same to everybody. */
  readonly #ended = new WeakMap<CallRecord.CallRecord, readonly [string, string]>()

  #record(channel: Channel, record: CallRecord.CallRecord): void {
    let texts = this.#ended.get(record)
    if (texts === undefined) {
      texts = [inspect(record, { depth: 12 }), json(CallRecord.toJson(record))]
      if (CallRecord.isEnded(record)) this.#ended.set(record, texts)
    }
    this.note(channel, ...texts)
  }
}

const json = (thing: unknown): string => {
  const seen = new Set<unknown>()
  return (
    JSON.stringify(thing, (_, value) => {
      if (typeof value === "bigint") return String(value)
      if (value instanceof Map) return [...value]
      if (value instanceof Set) return [...value]
      if (typeof value !== "object" || value === null) return value
      if (seen.has(value)) return "…"
      seen.add(value)
      return value
    }) ?? ""
  )
}

// --- Looking for secrets ---------------------------------------------------

/** Finds many texts at once, in one walk over each text that is looked through. */
export class Finder<A> {
  readonly #byStart = new Map<string, Array<readonly [spelling: string, what: A]>>()
  readonly #maybe = new Uint8Array(1 << 16)

  constructor(wanted: Iterable<readonly [what: A, spellings: ReadonlyArray<string>]>) {
    for (const [what, spellings] of wanted) {
      for (const spelling of new Set(spellings)) {
        const start = spelling.slice(0, startLength)
        this.#maybe[hashOf(start)] = 1
        const list = this.#byStart.get(start)
        if (list === undefined) this.#byStart.set(start, [[spelling, what]])
        else list.push([spelling, what])
      }
    }
  }

  /** What stands in a text. */
  in(text: string): ReadonlySet<A> {
    const found = new Set<A>()
    this.#walk(text, (what) => {
      found.add(what)
      return true
    })
    return found
  }

  /** Where the first of them stands; -1 where none does. */
  at(text: string): number {
    let first = -1
    this.#walk(text, (_, at) => {
      first = at
      return false
    })
    return first
  }

  #walk(text: string, onFound: (what: A, at: number) => boolean): void {
    let hash = 0
    for (let end = 0; end < text.length; end++) {
      // What is shifted out is forgotten: it is always the hash of the last characters.
      hash = ((hash << hashShift) ^ text.charCodeAt(end)) & 0xffff
      const at = end + 1 - startLength
      if (this.#maybe[hash] === 0 || at < 0) continue
      for (const [spelling, what] of this.#byStart.get(text.slice(at, end + 1)) ?? []) {
        if (text.startsWith(spelling, at) && !onFound(what, at)) return
      }
    }
  }
}

const startLength = 4
const hashShift = 4

const hashOf = (start: string): number => {
  let hash = 0
  for (let i = 0; i < start.length; i++) hash = ((hash << hashShift) ^ start.charCodeAt(i)) & 0xffff
  return hash
}

/** Of each channel, what was heard there of what is looked for. */
export const heard = <A>(
  everySink: EverySink,
  finder: Finder<A>,
  on: ReadonlyArray<Channel> = channels
): ReadonlyMap<Channel, ReadonlySet<A>> => {
  const known = new Map<string, ReadonlySet<A>>()
  const found = new Map<Channel, Set<A>>()
  for (const channel of on) {
    const all = new Set<A>()
    for (const text of everySink.texts(channel)) {
      const here = known.get(text) ?? finder.in(text)
      known.set(text, here)
      for (const what of here) all.add(what)
    }
    if (all.size > 0) found.set(channel, all)
  }
  return found
}

/** What stands around one of these in a text of a channel. */
export const example = <A>(everySink: EverySink, finder: Finder<A>, channel: Channel): string => {
  for (const text of everySink.texts(channel)) {
    const at = finder.at(text)
    if (at >= 0) return `${text.slice(Math.max(0, at - 150), at + 50)}`
  }
  return ""
}
