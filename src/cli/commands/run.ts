/** `interlock run <calls.jsonl|->`: a batch that can be killed and resumed. */
import { createReadStream } from "node:fs"
import { stat } from "node:fs/promises"
import * as NodeStream from "@effect/platform-node/NodeStream"
import * as Console from "effect/Console"
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import { randomBytesUnsafe } from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as Hex from "effect/encoding/Hex"
import * as Option from "effect/Option"
import { Stdio } from "effect/Stdio"
import { Status } from "../../ToolError.ts"
import { ToolRegistry } from "../../ToolRegistry.ts"
import * as BatchRun from "../batch/BatchRun.ts"
import * as Line from "../batch/Line.ts"
import type { ResultLine } from "../batch/ResultLine.ts"
import { toText } from "../batch/ResultLine.ts"
import { complain, end } from "../ExitCode.ts"
import { Period } from "../flags.ts"
import * as Output from "../Output.ts"
import { asPrincipal } from "../Project.ts"
import * as ProgressLine from "../progressLine.ts"

// --- What comes in ---------------------------------------------------------

/** A file's bytes and how many there are; stdin has no size. */
const inputOf = Effect.fnUntraced(function* (from: string) {
  if (from === "-") return { bytes: (yield* Stdio).stdin, size: undefined }
  const size = yield* Effect.tryPromise(() => stat(from)).pipe(
    Effect.catch(() => complain("usage", `There is no file ${from}, or it cannot be read.`))
  )
  const bytes = NodeStream.fromReadable<Uint8Array, Error>({
    evaluate: () => createReadStream(from),
    onError: (cause) => new Error(`${from} cannot be read to its end`, { cause })
  })
  return { bytes, size: size.size }
})

// --- What goes out ---------------------------------------------------------

/** Waits where whoever reads is slower: results never pile up. */
const write = (text: string): Effect.Effect<void> =>
  Effect.callback((resume) => {
    if (process.stdout.write(text)) resume(Effect.void)
    else process.stdout.once("drain", () => resume(Effect.void))
  })

const isGood = ({ status }: ResultLine): boolean => status === "success" || status === "degraded"

/** To a person only what went wrong, to a program every result. */
const writeTo =
  (person: boolean, paint: Output.Paint, progress: ProgressLine.ProgressLine) => (result: ResultLine) => {
    if (!person) return write(`${toText(result)}\n`)
    if (isGood(result)) return Effect.void
    const { error, line, status, tool } = result
    return progress.above(
      `${line}: ${paint.red(status)}  ${Output.cell(tool)}  ${Output.cell(error?.message ?? "", 200)}`
    )
  }

const summaryText = ({
  before,
  batch,
  counts,
  endedBy,
  read,
  stoppedBy,
  time,
  undone
}: BatchRun.Summary): string => {
  const all = (counts: BatchRun.Summary["counts"]) =>
    Object.entries(counts)
      .map(([status, count]) => `${count} ${status}`)
      .join(", ")
  const earlier = all(before)
  return [
    `Batch ${batch}: ${read} lines, ${all(counts) || "nothing to run"}, in ${(time / 1000).toFixed(1)} s.`,
    ...(earlier === "" ? [] : [`Recorded by earlier runs: ${earlier}.`]),
    ...(undone === 0 ? [] : [`${undone} calls were stopped and have no outcome.`]),
    ...(stoppedBy === undefined ? [] : [`Line ${stoppedBy} stopped the batch.`]),
    ...(endedBy === "input" ? [] : [`Not every line has an outcome: interlock run … --resume ${batch}`])
  ].join("\n")
}

// --- The command -----------------------------------------------------------

const flags = {
  calls: Argument.String("calls").pipe(
    Argument.withDescription('A file of one call to a line, {"tool": "…", "params": {…}}; - reads stdin')
  ),
  concurrency: Flag.Int("concurrency").pipe(Flag.withDescription("Calls at once; 10"), Flag.optional),
  failFast: Flag.Boolean("fail-fast").pipe(
    Flag.withDescription("Stop everything when a call fails"),
    Flag.withDefault(false)
  ),
  deadline: Period("deadline").pipe(Flag.withDescription("How long it may take, in all"), Flag.optional),
  ordered: Flag.Boolean("ordered").pipe(
    Flag.withDescription("Results in the order of the lines"),
    Flag.withDefault(false)
  ),
  name: Flag.String("name").pipe(
    Flag.withDescription("The batch's name; one is made without it"),
    Flag.optional
  ),
  resume: Flag.String("resume").pipe(
    Flag.withDescription("Go on with this batch: no line that has an outcome is run again"),
    Flag.optional
  ),
  replay: Flag.Boolean("replay").pipe(
    Flag.withDescription("Print what earlier runs have recorded, too"),
    Flag.withDefault(false)
  ),
  retry: Flag.Literals("retry", Status.literals).pipe(
    Flag.withDescription("Recorded outcomes to run again; may be given several times"),
    Flag.atLeast(0)
  )
}

export const run = Command.make(
  "run",
  flags,
  Effect.fnUntraced(
    function* ({ calls, concurrency, deadline, name, resume, ...options }) {
      const registry = yield* ToolRegistry
      const executor = yield* registry.executor
      const id = Option.getOrElse(
        Option.orElse(resume, () => name),
        () => `run-${Hex.encode(randomBytesUnsafe(6))}`
      )
      const { bytes, size } = yield* inputOf(calls)
      const batch = yield* BatchRun.make(executor, Line.fromBytes(bytes), {
        ...options,
        id,
        start: Option.isSome(resume) ? "resume" : "new",
        ...(Option.isSome(concurrency) ? { concurrency: concurrency.value } : {}),
        ...(Option.isSome(deadline) ? { deadline: deadline.value } : {})
      })
      const stdio = yield* Stdio
      const person = (yield* stdio.stdoutIsTerminal) && !(yield* Output.Json)
      const paint = yield* Output.paint
      const progress = yield* ProgressLine.make(batch.progress, size)
      yield* BatchRun.forEach(batch, writeTo(person, paint, progress)).pipe(
        Effect.ensuring(
          Effect.andThen(
            progress.end,
            Effect.flatMap(batch.summary, (summary) => Console.error(summaryText(summary)))
          )
        )
      )
      const { before, counts, endedBy } = yield* batch.summary
      const good = new Set(["success", "degraded"])
      const whole = [...Object.keys(counts), ...Object.keys(before)].every((status) => good.has(status))
      return yield* end(whole && endedBy === "input" ? "ok" : "partial")
    },
    Effect.scoped,
    asPrincipal,
    Effect.catchTag(["JournalError", "LineChanged"], ({ message }) => complain("usage", message))
  )
).pipe(Command.withDescription("Make many calls: JSON Lines in, JSON Lines out, resumable"))
