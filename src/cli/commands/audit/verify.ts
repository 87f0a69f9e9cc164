/** `interlock audit verify | checkpoint`: whether the log is what was written. */
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import { FileSystem } from "effect/FileSystem"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { AuditLog, type Verification } from "../../../AuditLog.ts"
import { complain, end } from "../../ExitCode.ts"
import { explained } from "../../failures.ts"
import * as Output from "../../Output.ts"

const Position = Schema.fromJsonString(
  Schema.Struct({
    sequence: Schema.Int,
    hash: Schema.String,
    log: Schema.optionalKey(Schema.String)
  })
)
const decode = Schema.decodeUnknownEffect(Position)

const readHead = Effect.fnUntraced(function* (file: string) {
  const text = yield* (yield* FileSystem)
    .readFileString(file)
    .pipe(Effect.catch(() => complain("usage", `${file} cannot be read.`)))
  return yield* decode(text).pipe(
    Effect.catch(() => complain("usage", `${file} is not what interlock audit checkpoint printed.`))
  )
})

const format = (verified: Verification, paint: Output.Paint): string => {
  if (!verified.ok) {
    return `${paint.red("unsound")} at record ${verified.sequence}: ${verified.message} (${verified.problem})`
  }
  const { dropped, from, head, records, to } = verified
  const gone = dropped === 0 ? "" : `, ${dropped} that retention has let go of`
  return records === 0
    ? `${paint.green("sound")}: no records${gone}`
    : `${paint.green("sound")}: ${records} records, ${from} to ${to}${gone}; the chain ends at ${head.sequence}`
}

export const verify = Command.make(
  "verify",
  {
    head: Flag.File("head").pipe(
      Flag.withDescription("What checkpoint printed before: nothing up to there may have been cut off"),
      Flag.optional
    )
  },
  Effect.fnUntraced(function* ({ head }) {
    const audit = yield* AuditLog
    const expectedHead = Option.isNone(head) ? undefined : yield* readHead(head.value)
    const verified = yield* audit.verify({ expectedHead })
    yield* Output.print(verified, format)
    yield* end(verified.ok ? "ok" : "unsound")
  }, explained)
).pipe(
  Command.withDescription("Walk the whole chain; ends with 8 where it is broken, and says at which record")
)

export const checkpoint = Command.make(
  "checkpoint",
  {},
  Effect.fnUntraced(function* () {
    const audit = yield* AuditLog
    yield* Output.print(yield* audit.checkpoint, (head) => JSON.stringify(head))
  }, explained)
).pipe(
  Command.withDescription(
    "Sign how far the log goes: kept elsewhere, it proves later that nothing was cut off"
  )
)
