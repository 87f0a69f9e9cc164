/** `interlock batches`: which batches the journal knows, and how to forget one. */

import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Effect from "effect/Effect"
import * as Batches from "../batch/Batches.ts"
import { complain } from "../ExitCode.ts"
import * as Output from "../Output.ts"

const standing = ({ finished, running }: Batches.Batch): string =>
  running ? "running" : finished ? "finished" : "unfinished"

const list = Command.make("list", {}, () =>
  Effect.flatMap(Batches.list, (batches) =>
    Output.print(batches, (found, paint) =>
      found.length === 0
        ? "No batches."
        : Output.table(
            ["BATCH", "", "BEGAN", "LAST WORKED ON"],
            found.map((batch) => [
              Output.cell(batch.id),
              standing(batch),
              Output.time(batch.createdAt),
              Output.time(batch.touchedAt)
            ]),
            paint
          )
    )
  )
).pipe(
  Command.withDescription("Batches that can be resumed or printed again, the latest first; kept for 30 days")
)

const forget = Command.make(
  "forget",
  { batch: Argument.String("batch") },
  Effect.fnUntraced(function* ({ batch }) {
    const known = yield* Effect.catchTag(Batches.remove(batch), "JournalError", ({ message }) =>
      complain("refused", message)
    )
    if (!known) return yield* complain("invalid", `There is no batch "${Output.cell(batch)}".`)
    return yield* Output.print({ batch, forgotten: true }, () => `Forgot ${Output.cell(batch)}.`)
  })
).pipe(Command.withDescription("Forget a batch, with all its results"))

export const batches = Command.make("batches").pipe(
  Command.withDescription("The batches that interlock run has begun"),
  Command.withSubcommands([list, forget])
)
