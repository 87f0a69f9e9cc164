/** What one governed call costs: through each door, beside the bare handler, and beside whoever else does the same. */
import * as Effect from "effect/Effect"
import { answersAtOnce, check, convert, params } from "./convert.ts"
import { doors } from "./doors.ts"
import { type Measured, measure } from "./measure.ts"
import { awaited } from "./peers/subjects.ts"
import { peerSubjects } from "./peers.ts"
import { type Outcome, outcome, type Ratio, type Table } from "./report.ts"
import type { Subject } from "./support.ts"
import { costColumns, costRow, ratioOf } from "./table.ts"
import type { Handler } from "./tools.ts"

type Results = ReadonlyMap<string, Measured>

/** With what is compared with others, as far as there are any. */
const tableOf = (title: string, results: Results): Table => {
  const width = results.has("handWritten") ? costColumns.length : costColumns.length - 2
  return {
    title,
    columns: costColumns.slice(0, width),
    rows: Array.from(results.values(), (one) => costRow(one, results).slice(0, width))
  }
}

const ratios = (results: Results): ReadonlyArray<Ratio> => {
  const [run, cockatiel] = [results.get("run"), results.get("cockatiel")]
  const compared = (
    work: string,
    key: string,
    comparedWith: string,
    other: string,
    target: number
  ): Ratio => ({
    work,
    comparedWith,
    measured: ratioOf(results.get(key), results.get(other)),
    target
  })
  return [
    compared("one call, run in a fiber", "run", "cockatiel + zod", "cockatiel", 0.35),
    compared("one call, run in a fiber", "run", "hand-written JavaScript", "handWritten", 5),
    {
      work: "one call, run in a fiber, bytes",
      comparedWith: "cockatiel + zod",
      measured: run === undefined || cockatiel === undefined ? undefined : run.bytes / cockatiel.bytes,
      target: 0.4
    },
    compared("one call, runPromise", "runPromise", "cockatiel + zod", "cockatiel", 0.4),
    compared("one call, guarded toolkit", "guard", "Toolkit.handle, ungoverned", "ungoverned", 1.1),
    compared("one call, executor.toolkit", "toolkit", "Toolkit.handle, ungoverned", "ungoverned", 0.3)
  ]
}

const bare = (handler: Handler) => awaited("bare handler", async () => handler(params), check)

export const run = (): Promise<Outcome> =>
  Effect.gen(function* () {
    const { plain, ungoverned, ...interlock } = yield* doors(answersAtOnce)
    const peers = yield* Effect.promise(() => peerSubjects((peer) => peer.call?.()))
    const subjects: Readonly<Record<string, Subject | undefined>> = {
      bare: bare(answersAtOnce),
      ...interlock,
      plain,
      ungoverned,
      ...peers
    }
    const now = { bare: bare(convert), ...(yield* doors(convert)) }
    const single = yield* Effect.promise(() => measure(subjects))
    const many = yield* Effect.promise(() => measure(subjects, { atOnce: 64 }))
    const sync = yield* Effect.promise(() => measure<string>(now))
    return outcome({
      tables: [
        tableOf("One call after the other, the handler answers at once with a promise", single.results),
        tableOf("The same, 64 at once", many.results),
        tableOf("One call after the other, the handler answers with a value", sync.results)
      ],
      ratios: ratios(single.results),
      bytes: Object.fromEntries(
        Object.entries(interlock).map(([key, { name }]) => [
          `one call: ${name}`,
          single.results.get(key)?.bytes ?? Number.NaN
        ])
      ),
      wrong: [...single.wrong, ...many.wrong, ...sync.wrong]
    })
  }).pipe(Effect.scoped, Effect.runPromise)
