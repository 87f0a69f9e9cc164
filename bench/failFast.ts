/**
 * A thousand calls in flight, each a handler that sleeps a second and stops when it is told to; one fails after 10 ms. How
 * long until whoever made the calls is told, until the last handler has stopped, and what still runs meanwhile?
 */
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import { ToolAnnotations as Annotate, Batch, Handlers, Interlock, ToolExecutor } from "../src/index.ts"
import { load, type PeerName, peerNames } from "./peers.ts"
import { type Outcome, outcome, type Table } from "./report.ts"
import { Crowd, type FailFast, median, verify } from "./support.ts"
import { usual } from "./tools.ts"

const size = 1000
const rounds = 9
const warmUps = 3

const Work = Tool.make("work", { parameters: Schema.Struct({ index: Schema.Int }), success: Schema.Void })
  .annotate(Annotate.Capabilities, [])
  .annotate(Annotate.Retries, 0)
const kit = Toolkit.make(Work)

const interlock = (handler: (crowd: Crowd) => Handlers.Handler<typeof Work>) => (): Promise<FailFast> =>
  Effect.gen(function* () {
    const crowd = new Crowd(size)
    const handlers = Handlers.toLayer(kit, { work: handler(crowd) })
    const context = yield* Layer.build(Layer.merge(handlers, Interlock.layer(usual)))
    const executor = yield* Effect.provide(ToolExecutor.make(kit), context)
    const calls = Array.from({ length: size }, (_, index) => ({ tool: "work", params: { index } }))
    const batch = yield* Batch.parallel(executor, calls, { concurrency: size, failFast: true })
    const told = yield* Effect.promise(() => crowd.told())
    verify(batch.counts.cancelled === size - 1 && batch.counts.failure === 1, JSON.stringify(batch.counts))
    return told
  }).pipe(Effect.scoped, Effect.runPromise)

interface Candidate {
  readonly name: string
  readonly once: () => Promise<FailFast>
  readonly seen: Array<FailFast>
}

const candidate = (name: string, once: () => Promise<FailFast>): Candidate => ({ name, once, seen: [] })

const peer = async (name: PeerName): Promise<ReadonlyArray<Candidate>> => {
  const { failFast } = await load(name)
  return failFast === undefined ? [] : [candidate(peerNames[name], () => failFast(size))]
}

const ours = candidate(
  "Interlock, Batch.parallel",
  interlock(
    (crowd) =>
      ({ index }, { signal }) =>
        crowd.work(index, signal)
  )
)

export const run = async (): Promise<Outcome> => {
  const [byHand] = await peer("handWritten")
  const candidates = [
    ours,
    candidate(
      "Interlock, the handler is an Effect",
      interlock(
        (crowd) =>
          ({ index }) =>
            Effect.orDie(Effect.tryPromise((signal) => crowd.work(index, signal)))
      )
    ),
    ...(byHand === undefined ? [] : [byHand]),
    ...(await peer("cockatiel")),
    ...(await peer("langGraph")),
    ...(await peer("aiSdk"))
  ]
  const wrong: Array<string> = []
  for (let round = -warmUps; round < rounds; round++) {
    const first = (round + warmUps) % candidates.length
    for (const one of [...candidates.slice(first), ...candidates.slice(0, first)]) {
      try {
        const seen = await one.once()
        if (round >= 0) one.seen.push(seen)
      } catch (error) {
        wrong.push(`${one.name}: ${error}`)
      }
    }
  }
  const stopped = (one: Candidate | undefined) =>
    one === undefined ? undefined : median(one.seen.map(({ lastStoppedAfter }) => lastStoppedAfter))
  const [mine, theirs] = [stopped(ours), stopped(byHand)]
  const work = "fail-fast, 1,000 in flight"
  return outcome({
    tables: [tableOf(candidates)],
    ratios: [
      {
        work: `${work}: last handler stopped`,
        comparedWith: "abort controllers wired by hand",
        measured: mine === undefined || theirs === undefined ? undefined : mine / theirs,
        target: 2
      },
      {
        work: `${work}: still running when told`,
        comparedWith: "",
        measured: Math.max(...ours.seen.map(({ stillRunning }) => stillRunning)),
        target: 0,
        plain: true
      }
    ],
    wrong
  })
}

const tableOf = (candidates: ReadonlyArray<Candidate>): Table => ({
  title: "1,000 in flight, one fails after 10 ms: milliseconds from then on",
  columns: [
    { title: "" },
    { title: "caller told" },
    { title: "last handler stopped" },
    { title: "at most" },
    { title: "interrupted, of 999" },
    { title: "still running when told" }
  ],
  rows: candidates.map(({ name, seen }) => [
    name,
    median(seen.map(({ toldAfter }) => toldAfter)),
    median(seen.map(({ lastStoppedAfter }) => lastStoppedAfter)),
    Math.max(...seen.map(({ lastStoppedAfter }) => lastStoppedAfter)),
    Math.min(...seen.map(({ interrupted }) => interrupted)),
    Math.max(...seen.map(({ stillRunning }) => stillRunning))
  ])
})
