/**
 * A process that runs a batch as the command line does, until it is done or killed: `node batchWorker.ts <order as JSON>`.
 * Tells its parent, where it has one, how far it is, and at the end the summary.
 *
 * `read` may run again, `write` must not: each writes its line down before it answers.
 */
import * as Fs from "node:fs"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as BatchRun from "../../src/cli/batch/BatchRun.ts"
import * as Line from "../../src/cli/batch/Line.ts"
import { ToolAnnotations as Annotate, Batch, Interlock, Keyring, ToolExecutor } from "../../src/index.ts"
import { SqlAuditLog, SqlIdempotency, Sqlite } from "../../src/sql/index.ts"

export interface Order {
  readonly input: string
  readonly database: string
  /** Where effects are written down; without it tools do nothing. */
  readonly effects: string | undefined
  /** Where results are appended as JSON Lines. */
  readonly output: string | undefined
  readonly audit: boolean
  /** `Batch.stream` alone, to compare with. */
  readonly plain: boolean
  readonly concurrency: number
  readonly ordered: boolean
  readonly replay: boolean
  readonly synchronous: "FULL" | "NORMAL"
  /** Milliseconds for which a process that died is waited for. */
  readonly lease: number
}

/** What a worker tells: how many calls have ended, and MiB of memory. */
export interface Told {
  readonly ended: number
  /** Of the whole process, and of the heap after a collection. */
  readonly rss: number
  readonly live: number
  readonly summary?: BatchRun.Summary
  /** Since the batch began: microseconds of processor time, and milliseconds. */
  readonly cpu?: number
  readonly time?: number
}

export const keyring = Keyring.layer({
  active: "test",
  keys: { test: Redacted.make("a key of thirty-two characters at least") }
})

const shape = { parameters: Schema.Struct({ n: Schema.Int }), success: Schema.Int }
export const kit = Toolkit.make(
  Tool.make("read", shape).annotate(Annotate.Capabilities, []).annotate(Tool.Readonly, true),
  Tool.make("write", shape).annotate(Annotate.Capabilities, [])
)

export const run = (order: Order, tell: (told: Told) => void): Promise<void> => {
  const handler =
    (tool: string) =>
    ({ n }: { readonly n: number }) =>
      Effect.sync(() => {
        // One write of a few bytes at the end of a file, whole or not at all.
        if (effects !== undefined) Fs.writeSync(effects, `${tool} ${n}\n`)
        return n
      })
  const effects = order.effects === undefined ? undefined : Fs.openSync(order.effects, "a")
  const output = order.output === undefined ? undefined : Fs.openSync(order.output, "a")
  const database = Sqlite.layer({
    filename: order.database,
    synchronous: order.synchronous,
    busyTimeout: "30 seconds"
  })
  const governance = Interlock.layer({
    keyring,
    idempotency: SqlIdempotency.layer(),
    ...(order.audit ? { audit: SqlAuditLog.layer().pipe(Layer.provide(Layer.fresh(database))) } : {})
  })
  setFlagsFromString("--expose-gc")
  const collect: () => void = runInNewContext("gc")
  const memory = (ended: number): Told => {
    collect()
    const { heapUsed, rss } = process.memoryUsage()
    return { ended, rss: rss / 2 ** 20, live: heapUsed / 2 ** 20 }
  }
  const plain = Effect.fnUntraced(function* (
    executor: ToolExecutor.ToolExecutor<typeof kit.tools>,
    lines: Stream.Stream<Line.Line, unknown>
  ) {
    tell(memory(0))
    const before = process.cpuUsage()
    const from = performance.now()
    let ended = 0
    const calls = Stream.map(lines, ({ text }) => JSON.parse(text) as Batch.Call)
    yield* Stream.runForEachArray(
      Batch.stream(executor, calls, { concurrency: order.concurrency }),
      (results) =>
        Effect.sync(() => {
          ended += results.length
        })
    )
    const { system, user } = process.cpuUsage(before)
    tell({ ...memory(ended), cpu: system + user, time: performance.now() - from })
  })
  const program = Effect.gen(function* () {
    const executor = yield* ToolExecutor.make(kit)
    const bytes = Stream.fromAsyncIterable(Fs.createReadStream(order.input), (cause) => cause)
    const lines = Line.fromBytes(bytes as Stream.Stream<Uint8Array, unknown>)
    if (order.plain) return yield* plain(executor, lines)
    const batch = yield* BatchRun.make(executor, lines, {
      id: "batch",
      lease: order.lease,
      concurrency: order.concurrency,
      ordered: order.ordered,
      replay: order.replay
    })
    const telling = Effect.map(batch.progress, ({ ended }) => tell(memory(ended)))
    yield* telling
    yield* Effect.forkScoped(Effect.repeat(telling, Schedule.spaced("1 second")))
    const before = process.cpuUsage()
    yield* Stream.runForEachArray(batch.results, (results) =>
      Effect.sync(() => {
        if (output === undefined) return
        Fs.writeSync(output, results.map((result) => `${JSON.stringify(result)}\n`).join(""))
      })
    )
    const { system, user } = process.cpuUsage(before)
    const summary = yield* batch.summary
    tell({ ...memory(summary.ended), summary, cpu: system + user, time: summary.time })
  }).pipe(Effect.scoped)
  const handlers = kit.toLayer({ read: handler("read"), write: handler("write") })
  return Effect.runPromise(
    Effect.provide(program, Layer.merge(handlers, governance).pipe(Layer.provideMerge(database)))
  )
}

if (process.argv[1] === import.meta.filename) {
  await run(JSON.parse(process.argv[2] ?? "{}"), (told) => process.send?.(told))
  process.disconnect?.()
}
