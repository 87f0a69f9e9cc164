/** Whether a call costs more where there is more of everything: calls at once, tools, rules of a policy. */
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import {
  ToolAnnotations as Annotate,
  Batch,
  Handlers,
  Interlock,
  Principal,
  ToolExecutor
} from "../src/index.ts"
import { answersAtOnce, check, params } from "./convert.ts"
import { inOneFiber } from "./doors.ts"
import { measure } from "./measure.ts"
import { load, type PeerName } from "./peers.ts"
import { merge, type Outcome, outcome } from "./report.ts"
import { type Subject, verify } from "./support.ts"
import { ratioOf } from "./table.ts"
import { caller, makeWorld, parameters, success, usual } from "./tools.ts"

/** A ladder of sizes, and what a call costs on each step. */
interface Ladder {
  readonly work: string
  readonly sizes: ReadonlyArray<number>
  readonly subject: (size: number) => Effect.Effect<Subject | undefined, never, Scope.Scope>
  readonly calls?: number
  /** Without one, it is there to show what the machine does to others. */
  readonly target?: number
}

/** So many calls, all of the size at once. */
const concurrent = Effect.fnUntraced(function* (size: number) {
  const { context, executor } = yield* makeWorld()
  return {
    name: `${size} at once`,
    times: async (count: number) => {
      const calls = Array.from({ length: count }, () => ({ tool: "convert", params }))
      const batch = Batch.parallel(executor, calls, { concurrency: size })
      const { counts, results } = await Effect.runPromiseWith(context)(batch)
      verify(counts.success === count, JSON.stringify(counts))
      for (const { value } of results) check(value)
    }
  }
})

/** The same without Interlock. */
const others = (name: PeerName) => (size: number) =>
  Effect.promise(async () => {
    const { concurrently } = (await (await load(name)).call?.()) ?? {}
    if (concurrently === undefined) return undefined
    return { name, times: (count: number) => concurrently(count, size) }
  })

// More than a few are never hot: what is asked is whether those that are pay for the others.
const hot = 8

/** Calls of a few tools in turn, among so many. */
const tools = Effect.fnUntraced(function* (size: number) {
  const names = Array.from({ length: size }, (_, n) => `convert_${n}`)
  const kit = Toolkit.make(
    ...names.map((name) =>
      Tool.make(name, { parameters, success })
        .annotate(Annotate.Capabilities, ["read_data"])
        .annotate(Annotate.Cost, 1)
        .annotate(Annotate.Bulkhead, { maxConcurrent: 10_000 })
    )
  )
  const handlers = Handlers.toLayer(kit, Object.fromEntries(names.map((name) => [name, answersAtOnce])))
  const services = yield* Layer.build(Layer.merge(handlers, Interlock.layer(usual)))
  const executor = yield* Effect.provide(ToolExecutor.make(kit), services)
  const context = Context.add(services, Principal.CurrentPrincipal, caller)
  const called = Array.from({ length: Math.min(hot, size) }, (_, n) => names[Math.floor((n * size) / hot)]!)
  let n = 0
  return inOneFiber(`${size} tools`, context, () => executor.run(called[n++ % called.length]!, params))
})

/** Half of the rules are globs over names, half are domains. */
const rules = Effect.fnUntraced(function* (size: number) {
  const half = Array.from({ length: size / 2 }, (_, n) => n)
  const policy = {
    deny: half.map((n) => `delete_${n}_*`),
    allowedDomains: half.map((n) => `*.host${n}.example.com`)
  }
  const { context, executor } = yield* makeWorld({ governance: { ...usual, policy } })
  return inOneFiber(`${size} rules`, context, () => executor.run("convert", params))
})

const crowds = { sizes: [64, 256, 1024, 4096], calls: 16_384 }
const ladders: ReadonlyArray<Ladder> = [
  { work: "calls at once", ...crowds, subject: concurrent, target: 1.25 },
  { work: "calls at once, hand-written JavaScript", ...crowds, subject: others("handWritten") },
  { work: "calls at once, cockatiel + zod", ...crowds, subject: others("cockatiel") },
  { work: "tools", sizes: [1, 10, 100, 1000, 10_000], subject: tools, target: 1.25 },
  { work: "policy rules", sizes: [10, 100, 1000, 10_000], subject: rules, target: 1.25 }
]

const climb = Effect.fnUntraced(function* ({ calls, sizes, subject, target, work }: Ladder) {
  const subjects = Object.fromEntries(
    yield* Effect.forEach(sizes, (size) => Effect.map(subject(size), (made) => [String(size), made] as const))
  )
  const options = calls === undefined ? {} : { count: calls }
  const { results, wrong } = yield* Effect.promise(() => measure(subjects, { ...options, laps: false }))
  if (results.size === 0) return outcome({ wrong })
  const first = results.get(String(sizes[0]))
  const last = results.get(String(sizes.at(-1)))
  return outcome({
    tables: [
      {
        title: `A call among more ${work}`,
        columns: [
          { title: work.split(",")[0] ?? work },
          { title: "CPU µs" },
          { title: "± %", digits: 2 },
          { title: "bytes" },
          { title: `× ${sizes[0]}` }
        ],
        rows: Array.from(results, ([size, one]) => [
          Number(size),
          one.micros,
          100 * one.spread,
          one.bytes,
          ratioOf(one, first)
        ])
      }
    ],
    ratios:
      target === undefined
        ? []
        : [
            {
              work: `${sizes[0]?.toLocaleString("en-US")} to ${sizes.at(-1)?.toLocaleString("en-US")} ${work}`,
              comparedWith: "itself",
              measured: ratioOf(last, first),
              target
            }
          ],
    wrong
  })
})

export const run = (): Promise<Outcome> =>
  Effect.forEach(ladders, climb).pipe(Effect.map(merge), Effect.scoped, Effect.runPromise)
