/** 10,000 calls, 64 at once: an application that fans out. */
import * as Effect from "effect/Effect"
import { Batch } from "../src/index.ts"
import { answersAtOnce, check, convert, params } from "./convert.ts"
import { plainComposition } from "./doors.ts"
import { measure } from "./measure.ts"
import { peerSubjects } from "./peers.ts"
import { type Outcome, outcome, type Ratio } from "./report.ts"
import { type Subject, verify } from "./support.ts"
import { ratioOf } from "./table.ts"
import { type Handler, makeWorld } from "./tools.ts"

const size = 10_000
const atOnce = 64

const interlock = Effect.fnUntraced(function* (name: string, handler: Handler) {
  const { context, executor } = yield* makeWorld({ handler })
  return {
    name,
    times: async (count: number) => {
      const calls = Array.from({ length: count }, () => ({ tool: "convert", params }))
      const batch = Batch.parallel(executor, calls, { concurrency: atOnce })
      const { counts, results } = await Effect.runPromiseWith(context)(batch)
      verify(counts.success === count, JSON.stringify(counts))
      for (const { value } of results) check(value)
    }
  }
})

/** A subject that makes its calls so many at once, as a batch. */
const asBatch = (subject: Subject): Subject => ({
  ...subject,
  times: (count) => subject.concurrently!(count, atOnce)
})

const targets = [
  { comparedWith: "cockatiel + promise pool", key: "cockatiel", target: 0.25 },
  { comparedWith: "LangGraph ToolNode", key: "langGraph", target: 0.1 },
  { comparedWith: "AI SDK, one step", key: "aiSdk", target: 0.03 },
  { comparedWith: "hand-written + promise pool", key: "handWritten", target: undefined }
]

export const run = (): Promise<Outcome> =>
  Effect.gen(function* () {
    const subjects: Readonly<Record<string, Subject | undefined>> = {
      interlock: yield* interlock("Interlock, Batch.parallel", answersAtOnce),
      value: yield* interlock("Interlock, Batch.parallel, the handler answers with a value", convert),
      plain: asBatch(plainComposition(answersAtOnce)),
      ...(yield* Effect.promise(() => peerSubjects((peer) => peer.batch?.())))
    }
    const { results, wrong } = yield* Effect.promise(() =>
      measure(subjects, { count: size, laps: false, warmUpMillis: 200 })
    )
    return outcome({
      tables: [
        {
          title: "10,000 calls, 64 at once",
          columns: [
            { title: "" },
            { title: "total ms" },
            { title: "CPU µs/call" },
            { title: "± %", digits: 2 },
            { title: "bytes/call" },
            { title: "× hand-written" },
            { title: "× cockatiel + zod" }
          ],
          rows: Array.from(results.values(), (one) => [
            one.name,
            (1000 * size) / one.perSecond,
            one.micros,
            100 * one.spread,
            one.bytes,
            ratioOf(one, results.get("handWritten")),
            ratioOf(one, results.get("cockatiel"))
          ])
        }
      ],
      ratios: targets.map(
        ({ comparedWith, key, target }): Ratio => ({
          work: "batch of 10,000 at 64",
          comparedWith,
          measured: ratioOf(results.get("interlock"), results.get(key)),
          ...(target === undefined ? {} : { target })
        })
      ),
      bytes: { "batch, per call": results.get("interlock")?.bytes ?? Number.NaN },
      wrong
    })
  }).pipe(Effect.scoped, Effect.runPromise)
