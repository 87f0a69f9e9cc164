/** A million calls, 64 at once: the memory they take at most, and what is left of them. Each subject in a process of its own. */
import { fork } from "node:child_process"
import { fileURLToPath } from "node:url"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { Batch, Health } from "../src/index.ts"
import { load, peerNames } from "./peers.ts"
import { type Outcome, outcome } from "./report.ts"
import { verify } from "./support.ts"
import { makeWorld } from "./tools.ts"

const size = 1_000_000
const atOnce = 64

interface Taken {
  /** MiB of resident memory: before the first call, and at most. */
  readonly before: number
  readonly peak: number
  /** MiB of the heap, after a collection. */
  readonly liveBefore: number
  readonly liveAfter: number
  readonly perSecond: number
}

const mib = (bytes: number): number => bytes / 2 ** 20

const live = (): number => {
  globalThis.gc?.()
  return mib(process.memoryUsage().heapUsed)
}

const taking = async (work: (count: number) => Promise<void>): Promise<Taken> => {
  await work(1000)
  const liveBefore = live()
  const before = mib(process.memoryUsage.rss())
  const from = performance.now()
  await work(size)
  const perSecond = (1000 * size) / (performance.now() - from)
  // The operating system's own record of the most there ever was, in KiB.
  const peak = process.resourceUsage().maxRSS / 1024
  return { before, peak, liveBefore, liveAfter: live(), perSecond }
}

function* callsUpTo(count: number) {
  for (let n = 1; n <= count; n++) yield { tool: "convert", params: { amount: n, from: "EUR", to: "USD" } }
}

const subjects = {
  interlock: () =>
    Effect.gen(function* () {
      const { context, executor } = yield* makeWorld()
      const promise = Effect.runPromiseWith(context)
      let made = 0
      const taken = yield* Effect.promise(() =>
        taking(async (count) => {
          let sum = 0
          // As a file is read: a few calls at a time.
          const calls = Stream.fromIterable(callsUpTo(count), { chunkSize: 64 })
          const results = Batch.stream(executor, calls, { concurrency: atOnce })
          await promise(
            Stream.runForEach(results, ({ value }) =>
              Effect.sync(() => {
                sum += (value as { readonly amount: number }).amount
              })
            )
          )
          verify(Math.abs(sum / 1.1 - (count * (count + 1)) / 2) < count, "a result is another call's")
          made += count
        })
      )
      const { total } = yield* Context.get(context, Health.Health).get("convert")
      verify(total === made, `health has counted ${total} of ${made}`)
      return taken
    }).pipe(Effect.scoped, Effect.runPromise),
  handWritten: () => peer("handWritten"),
  cockatiel: () => peer("cockatiel")
}

const peer = async (name: "handWritten" | "cockatiel"): Promise<Taken | undefined> => {
  const { concurrently } = (await (await load(name)).call?.()) ?? {}
  return concurrently && taking((count) => concurrently(count, atOnce))
}

const inProcess = (name: keyof typeof subjects): Promise<Taken | string | undefined> =>
  new Promise((resolve) => {
    const child = fork(fileURLToPath(import.meta.url), [name], {
      execArgv: ["--expose-gc"],
      stdio: ["ignore", 2, 2, "ipc"],
      serialization: "advanced",
      timeout: 120_000,
      killSignal: "SIGKILL"
    })
    let taken: Taken | undefined
    child.on("message", (message: Taken | null) => {
      taken = message ?? undefined
    })
    child.on("exit", (code, signal) =>
      resolve(code === 0 ? taken : `its process ended with ${signal ?? code}`)
    )
  })

export const run = async (): Promise<Outcome> => {
  const titles = { ...peerNames, interlock: "Interlock, Batch.stream" }
  const rows: Array<readonly [string, ...Array<number>]> = []
  const wrong: Array<string> = []
  for (const name of Object.keys(subjects) as Array<keyof typeof subjects>) {
    const taken = await inProcess(name)
    if (typeof taken === "string") wrong.push(`${titles[name]}: ${taken}`)
    else if (taken !== undefined) {
      const { before, liveAfter, liveBefore, peak, perSecond } = taken
      rows.push([titles[name], peak, before, liveAfter, liveBefore, perSecond])
    }
  }
  return outcome({
    tables: [
      {
        title: "1,000,000 calls, 64 at once: MiB",
        columns: [
          { title: "" },
          { title: "resident at most" },
          { title: "before" },
          { title: "live heap after" },
          { title: "before" },
          { title: "calls/s" }
        ],
        rows
      }
    ],
    wrong
  })
}

if (import.meta.main) {
  const taken = await subjects[process.argv[2] as keyof typeof subjects]()
  process.send?.(taken ?? null, () => process.exit())
}
