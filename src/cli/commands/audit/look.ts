/** `interlock audit query | tail | export | report | unfinished`. */
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import { FileSystem } from "effect/FileSystem"
import * as Option from "effect/Option"
import { Stdio } from "effect/Stdio"
import * as Stream from "effect/Stream"
import { AuditLog, type AuditRecord, formatReport, type Selection } from "../../../AuditLog.ts"
import { plainJson } from "../../../internal/plainText.ts"
import { complain } from "../../ExitCode.ts"
import { explained } from "../../failures.ts"
import * as Flags from "../../flags.ts"
import * as Output from "../../Output.ts"
import { flags, selectionOf } from "./selection.ts"
import * as Text from "./text.ts"

// --- Query -----------------------------------------------------------------

export const query = Command.make(
  "query",
  { ...flags, limit: Flags.Limit(50) },
  Effect.fnUntraced(function* ({ limit, ...given }) {
    const audit = yield* AuditLog
    const found = yield* audit.query({ ...(yield* selectionOf(given)), limit })
    yield* Output.print(found, Text.table)
  }, explained)
).pipe(Command.withDescription("Records, newest first"))

// --- Tail ------------------------------------------------------------------

/** How often records of other processes are looked for. */
const every = "500 millis"

const none: ReadonlyArray<AuditRecord> = []

/** Records after a sequence, as they are written, by whichever process. */
const following = (audit: AuditLog["Service"], selection: Selection, after: number) => {
  let seen = after
  const fresh = Effect.gen(function* () {
    const lines = yield* Stream.runCollect(audit.lines({ from: seen + 1 }))
    const last = lines.at(-1)
    if (last === undefined) return none
    // Times need not rise with sequences.
    const since = Math.min(...lines.map(({ time }) => time))
    const after = seen
    seen = last.sequence
    return (yield* Stream.runCollect(audit.records({ ...selection, since }))).filter(
      ({ sequence }) => sequence > after && sequence <= seen
    )
  })
  return Stream.tick(every).pipe(
    Stream.mapEffect(() => fresh),
    Stream.flattenIterable
  )
}

export const tail = Command.make(
  "tail",
  {
    ...flags,
    limit: Flags.Limit(20),
    follow: Flag.Boolean("follow").pipe(
      Flag.withAlias("f"),
      Flag.withDescription("Go on with what is written from now on"),
      Flag.withDefault(false)
    )
  },
  Effect.fnUntraced(function* ({ follow, limit, ...given }) {
    const audit = yield* AuditLog
    const selection = yield* selectionOf(given)
    // The end of the log, whether it is meant or not: what comes after it is new.
    const [end] = yield* audit.query({ limit: 1 })
    const last = yield* audit.query({ ...selection, limit })
    const before = last.filter(({ sequence }) => sequence <= (end?.sequence ?? 0)).toReversed()
    yield* Effect.forEach(before, (record) => Output.printLine(record, Text.line))
    if (!follow) return
    yield* Stream.runForEach(following(audit, selection, end?.sequence ?? 0), (record) =>
      Output.printLine(record, Text.line)
    )
  }, explained)
).pipe(Command.withDescription("The last records, oldest first, and with --follow those that come"))

// --- Export ----------------------------------------------------------------

export const exportRecords = Command.make(
  "export",
  {
    ...flags,
    out: Flag.File("out").pipe(
      Flag.withAlias("o"),
      Flag.withDescription("A new file, for your eyes only; stdout by default"),
      Flag.optional
    )
  },
  Effect.fnUntraced(function* ({ out, ...given }) {
    const audit = yield* AuditLog
    const fs = yield* FileSystem
    const stdio = yield* Stdio
    const records = audit.export(yield* selectionOf(given))
    if (Option.isNone(out)) {
      // A pipe gets a line as it is; on a terminal it must not act.
      const shown = (yield* stdio.stdoutIsTerminal)
        ? Stream.map(records, (line) => plainJson(JSON.parse(line)))
        : records
      return yield* Stream.run(
        Stream.map(shown, (line) => `${line}\n`),
        stdio.stdout()
      )
    }
    const lines = Stream.map(records, (line) => `${line}\n`)
    const file = fs.sink(out.value, { flag: "wx", mode: 0o600 })
    yield* Stream.run(Stream.encodeText(lines), file).pipe(
      Effect.catchTag("PlatformError", (error) =>
        complain("usage", `${out.value} cannot be written: ${error.reason._tag}`)
      )
    )
  }, explained)
).pipe(
  Command.withDescription(
    "Records as JSON Lines, oldest first, with the identities and arguments that can be opened"
  )
)

// --- Report ----------------------------------------------------------------

export const report = Command.make(
  "report",
  {
    since: Flags.Moment("since").pipe(
      Flag.withDescription("From then on; 7d by default"),
      Flag.withDefault({ distance: 7 * 86_400_000 })
    ),
    until: Flags.Moment("until").pipe(Flag.withDescription("Up to then"), Flag.optional)
  },
  Effect.fnUntraced(function* ({ since, until }) {
    const audit = yield* AuditLog
    const range = { since: yield* Flags.ago(since), until: yield* Flags.past(until) }
    yield* Output.print(yield* audit.report(range), formatReport)
  }, explained)
).pipe(Command.withDescription("Calls, errors, costs, refusals and latencies of a time"))

// --- Unfinished ------------------------------------------------------------

export const unfinished = Command.make(
  "unfinished",
  {
    olderThan: Flags.Period("older-than").pipe(
      Flag.withDescription("Only those that began before; 5m by default, for others may still run"),
      Flag.optional
    )
  },
  Effect.fnUntraced(function* ({ olderThan }) {
    const audit = yield* AuditLog
    const found = yield* audit.unfinished(
      Option.match(olderThan, { onNone: () => ({}), onSome: (olderThan) => ({ olderThan }) })
    )
    yield* Output.print(found, (records, paint) =>
      records.length === 0 ? "Every call that began has ended." : Text.table(records, paint)
    )
  }, explained)
).pipe(Command.withDescription("Calls that began and whose end was never written down: they run, or crashed"))
