/** `interlock audit`: the record of everything that was asked for, refused, done and decided. */
import * as Command from "effect/cli/Command"
import { forget, hold, holds, release, retain } from "./audit/keep.ts"
import { exportRecords, query, report, tail, unfinished } from "./audit/look.ts"
import { replay } from "./audit/replay.ts"
import { checkpoint, verify } from "./audit/verify.ts"

export const audit = Command.make("audit").pipe(
  Command.withDescription("The record of everything that was asked for, refused, done and decided"),
  Command.withSubcommands([
    query,
    tail,
    report,
    unfinished,
    exportRecords,
    verify,
    checkpoint,
    replay,
    forget,
    hold,
    holds,
    release,
    retain
  ])
)
