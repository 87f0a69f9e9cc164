/** `interlock budget`: what may be spent, what was, and what was given back. */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { Budget, type Credit, type Spent, type SpentQuery, type Standing } from "../../Budget.ts"
import { complain } from "../ExitCode.ts"
import { explained } from "../failures.ts"
import * as Flags from "../flags.ts"
import { amount } from "../numbers.ts"
import * as Output from "../Output.ts"
import { asPrincipal, Project } from "../Project.ts"

// --- What is shown ---------------------------------------------------------

const width = 20

/** What is settled, what is put aside, and what is left. */
const bar = ({ max, reserved, settled }: Standing, paint: Output.Paint): string => {
  const share = (part: number) => Math.min(width, Math.max(0, Math.round((part / max) * width)))
  const full = share(settled)
  const filled = share(settled + reserved)
  const used = Math.round(((settled + reserved) / max) * 100)
  const colour = used >= 100 ? paint.red : used >= 80 ? paint.yellow : paint.green
  const drawn = colour("#".repeat(full) + "+".repeat(Math.max(0, filled - full)))
  return `[${drawn}${".".repeat(width - Math.max(full, filled))}] ${String(used).padStart(3)} %`
}

const standing = (rows: ReadonlyArray<Standing>, paint: Output.Paint): string =>
  rows.length === 0
    ? "Nothing was spent in the current windows."
    : Output.table(
        ["BUDGET", "FOR", "USED", "", "SETTLED", "RESERVED", "MAX", "UNTIL (UTC)"],
        rows.map((row) => [
          Output.cell(row.limit, 40),
          Output.cell(row.key === "" ? "everybody" : row.key, 30),
          bar(row, paint),
          row.overrun === 0 ? "" : paint.red(`overrun ${amount(row.overrun, row.unit)}`),
          amount(row.settled, row.unit),
          amount(row.reserved, row.unit),
          amount(row.max, row.unit),
          row.windowEndsAt === undefined ? "for ever" : Output.time(row.windowEndsAt)
        ]),
        paint
      )

const spentTable =
  (by: ReadonlyArray<Dimension>) =>
  (rows: ReadonlyArray<Spent>, paint: Output.Paint): string =>
    rows.length === 0
      ? "Nothing was spent."
      : Output.table(
          [...by.map((name) => name.toUpperCase()), "SPENT", "ATTEMPTS"],
          rows.map(({ amount: value, attempts, key, unit }) => [
            ...by.map((name) => Output.cell(key[name] ?? "", 40)),
            amount(value, unit),
            String(attempts)
          ]),
          paint
        )

const creditTable = (rows: ReadonlyArray<Credit>, paint: Output.Paint): string =>
  rows.length === 0
    ? "Nothing was given back."
    : Output.table(
        ["TIME (UTC)", "TO", "TOOL", "AMOUNT", "WHY"],
        rows.map(({ amounts, principal, tenant, time, tool, why }) => [
          Output.time(time),
          Output.cell(tenant === undefined ? principal : `${tenant}/${principal}`, 30),
          Output.cell(tool ?? "", 40),
          Object.entries(amounts)
            .map(([unit, value]) => amount(value, unit))
            .join(", "),
          Output.cell(why)
        ]),
        paint
      )

// --- Commands --------------------------------------------------------------

type Dimension = NonNullable<SpentQuery["by"]>[number]
const dimensions: ReadonlyArray<Dimension> = ["principal", "tenant", "tool", "run", "day"]
const isDimension = (text: string): text is Dimension => (dimensions as ReadonlyArray<string>).includes(text)

const By = Flag.String("by").pipe(
  Flag.withDescription(`What is added up apart: ${dimensions.join(", ")}, between commas; tool by default`),
  Flag.filterMap(
    (text) => {
      const names = text.split(",").map((name) => name.trim())
      return names.every(isDimension) ? Option.some<ReadonlyArray<Dimension>>(names) : Option.none()
    },
    () => `some of ${dimensions.join(", ")}, between commas`
  ),
  Flag.withDefault(["tool"] as ReadonlyArray<Dimension>)
)

const text = (name: string, description: string) =>
  Flag.String(name).pipe(Flag.withDescription(description), Flag.optional)

const spent = Command.make(
  "spent",
  {
    by: By,
    since: Flags.Moment("since").pipe(
      Flag.withDescription("From then on, in whole days; 30d by default"),
      Flag.withDefault({ distance: 30 * 86_400_000 })
    ),
    principal: text("principal", "Only by this principal"),
    tool: text("tool", "Only on this tool")
  },
  Effect.fnUntraced(function* ({ by, principal, since, tool }) {
    const budget = yield* Budget
    const rows = yield* budget.spent({
      by,
      since: yield* Flags.ago(since),
      ...(Option.isSome(principal) ? { principal: principal.value } : {}),
      ...(Option.isSome(tool) ? { tool: tool.value } : {})
    })
    yield* Output.print(rows, spentTable(by))
  }, explained)
).pipe(Command.withDescription("What was spent, by whom, on what, when: where a budget can apply"))

const credits = Command.make(
  "credits",
  {},
  Effect.fnUntraced(function* () {
    yield* Output.print(yield* (yield* Budget).credits, creditTable)
  }, explained)
).pipe(Command.withDescription("What was given back, newest first"))

const credit = Command.make(
  "credit",
  {
    principal: Argument.String("principal").pipe(
      Argument.withDescription("To whom: one of the configuration's principals")
    ),
    amount: Argument.Finite("amount").pipe(
      Argument.withDescription("How much: in dollars where the unit is usd, whole otherwise")
    ),
    unit: Flag.String("unit").pipe(Flag.withDescription("usd by default"), Flag.withDefault("usd")),
    tool: text("tool", "Also in the budgets of this tool"),
    why: Flags.Why
  },
  Effect.fnUntraced(function* ({ amount: given, principal: id, tool, unit, why }) {
    const budget = yield* Budget
    const { principals } = yield* Project
    const principal = principals.get(id)
    if (principal === undefined) {
      return yield* complain("usage", `There is no principal "${Output.cell(id)}" in the configuration.`)
    }
    const value = unit === "usd" ? Math.round(given * 1e6) : given
    if (!Number.isSafeInteger(value) || value <= 0) {
      return yield* complain(
        "usage",
        "The amount must be above 0; in units other than usd it must also be whole."
      )
    }
    const spender = { principal, ...(Option.isSome(tool) ? { tool: tool.value } : {}) }
    yield* asPrincipal(budget.credit(spender, { [unit]: value }, why))
    yield* Output.print(
      { principal: id, unit, amount: value },
      () => `Given back: ${amount(value, unit)} to ${Output.cell(id)}.`
    )
  }, explained)
).pipe(Command.withDescription("Give back what was spent: in the current windows, down to nothing"))

export const budget = Command.make(
  "budget",
  {},
  Effect.fnUntraced(function* () {
    yield* Output.print(yield* (yield* Budget).standing, standing)
  }, explained)
).pipe(
  Command.withDescription("Each budget with what is settled and reserved in its current window"),
  Command.withSubcommands([spent, credits, credit])
)
