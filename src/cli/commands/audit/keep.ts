/** `interlock audit forget | hold | holds | release | retain`: what is let go of, and what is kept although its time has come. */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { AuditLog, type Hold } from "../../../AuditLog.ts"
import { agreed } from "../../agreed.ts"
import { complain } from "../../ExitCode.ts"
import { explained } from "../../failures.ts"
import * as Flags from "../../flags.ts"
import * as Output from "../../Output.ts"
import { Project } from "../../Project.ts"
import { flags, selectionOf } from "./selection.ts"

/** Who asks for it is who the command line acts for. */
const because = (why: string) => Effect.map(Project, ({ principal }) => ({ by: principal.id, why }))

export const forget = Command.make(
  "forget",
  {
    principal: Argument.String("principal"),
    tenant: Flag.String("tenant").pipe(Flag.withDescription("The principal's tenant"), Flag.optional),
    why: Flags.Why,
    yes: Flags.Yes
  },
  Effect.fnUntraced(function* ({ principal, tenant, why, yes }) {
    const audit = yield* AuditLog
    yield* agreed(yes, `Destroy the keys of all records of ${Output.cell(principal)}, for ever?`)
    const who = {
      principal,
      ...Option.match(tenant, { onNone: () => ({}), onSome: (tenant) => ({ tenant }) })
    }
    const forgotten = yield* audit.forget(who, yield* because(why))
    yield* Output.print({ ...who, ...forgotten }, ({ held, keys }) =>
      held === 0
        ? `Forgotten: ${keys} keys are destroyed.`
        : `Forgotten: ${keys} keys are destroyed; ${held} are held, and go when their hold is released.`
    )
  }, explained)
).pipe(Command.withDescription("Make a principal's records unreadable, and leave the chain whole"))

const describe = ({ at, by, id, selection, why }: Hold): ReadonlyArray<string> => [
  Output.cell(id),
  Output.time(at),
  Output.cell(by, 30),
  Output.cell(JSON.stringify(selection), 60),
  Output.cell(why, 60)
]

export const hold = Command.make(
  "hold",
  { ...flags, why: Flags.Why },
  Effect.fnUntraced(function* ({ why, ...given }) {
    const audit = yield* AuditLog
    const held = yield* audit.hold(yield* selectionOf(given), yield* because(why))
    yield* Output.print(held, ({ id }) => `Held: ${Output.cell(id)}`)
  }, explained)
).pipe(Command.withDescription("Keep records, now and later, from being anonymised, archived and deleted"))

export const holds = Command.make(
  "holds",
  {},
  Effect.fnUntraced(function* () {
    const audit = yield* AuditLog
    yield* Output.print(yield* audit.holds, (held, paint) =>
      held.length === 0
        ? "Nothing is held."
        : Output.table(["HOLD", "SINCE (UTC)", "BY", "WHAT", "WHY"], held.map(describe), paint)
    )
  }, explained)
).pipe(Command.withDescription("What is kept although its time has come"))

export const release = Command.make(
  "release",
  { id: Argument.String("id").pipe(Argument.withDescription("The hold's id")), why: Flags.Why },
  Effect.fnUntraced(function* ({ id, why }) {
    const audit = yield* AuditLog
    if (!(yield* audit.release(id, yield* because(why)))) {
      return yield* complain("invalid", `There is no hold "${Output.cell(id)}".`)
    }
    yield* Output.print({ id, released: true }, () => "Released.")
  }, explained)
).pipe(Command.withDescription("End a hold"))

export const retain = Command.make(
  "retain",
  {},
  Effect.fnUntraced(function* () {
    const audit = yield* AuditLog
    yield* Output.print(
      yield* audit.retain,
      ({ archived, deleted, held, keys }) =>
        `${keys} keys destroyed, ${archived} records archived, ${deleted} deleted, ${held} held.`
    )
  }, explained)
).pipe(Command.withDescription("One pass of retention: let go of what its time has come for"))
