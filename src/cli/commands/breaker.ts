/** `interlock breaker`: the circuits of tools, and an operator's word over them. */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { AuditLog } from "../../AuditLog.ts"
import { CircuitBreaker, type Snapshot } from "../../CircuitBreaker.ts"
import { explained } from "../failures.ts"
import * as Flags from "../flags.ts"
import * as Output from "../Output.ts"
import { Project } from "../Project.ts"

interface Row extends Snapshot {
  readonly key: string
}

const colour = {
  Closed: "green",
  Open: "red",
  HalfOpen: "yellow",
  ForcedOpen: "red",
  ForcedClosed: "yellow"
} as const

const words = {
  Closed: "closed",
  Open: "open",
  HalfOpen: "half open",
  ForcedOpen: "forced open",
  ForcedClosed: "forced closed"
} as const

const table = (rows: ReadonlyArray<Row>, paint: Output.Paint): string =>
  rows.length === 0
    ? "No circuit is known: none of the tools has been called."
    : Output.table(
        ["CIRCUIT", "STATE", "FAILURES", "SINCE (UTC)", "PROBES FROM (UTC)", "WHY"],
        rows.map(({ consecutiveFailures, key, nextProbeAt, since, tag, why }) => [
          Output.cell(key, 40),
          paint[colour[tag]](words[tag]),
          String(consecutiveFailures),
          since === undefined ? "" : Output.time(since),
          nextProbeAt === undefined ? "" : Output.time(nextProbeAt),
          Output.cell(why ?? "")
        ]),
        paint
      )

const printAll = Effect.gen(function* () {
  const breaker = yield* CircuitBreaker
  const rows = Array.from(yield* breaker.states, ([key, snapshot]): Row => ({ key, ...snapshot }))
  yield* Output.print(
    rows.sort((a, b) => (a.key < b.key ? -1 : 1)),
    table
  )
})

/** Does what an operator says, and writes it down. */
const act = Effect.fnUntraced(function* (
  key: string,
  action: string,
  why: string | undefined,
  change: (breaker: CircuitBreaker["Service"]) => Effect.Effect<void>
) {
  const audit = yield* AuditLog
  const breaker = yield* CircuitBreaker
  const { principal } = yield* Project
  yield* change(breaker)
  yield* audit.append({
    kind: "admin",
    action,
    tool: key,
    principal: principal.id,
    tenant: principal.tenant,
    detail: { why }
  })
  yield* Output.print({ key, ...(yield* breaker.state(key)) }, (row, paint) => table([row], paint))
}, explained)

const key = Argument.String("circuit").pipe(Argument.withDescription("The tool's name, as list shows it"))
const why = Flag.optional(Flags.Why)

const open = Command.make("open", { key, why: Flags.Why }, ({ key, why }) =>
  act(key, "circuit forced open", why, (breaker) => breaker.forceOpen(key, why))
).pipe(Command.withDescription("Refuse every call of a tool until reset"))

const close = Command.make("close", { key, why }, ({ key, why }) =>
  act(key, "circuit forced closed", Option.getOrUndefined(why), (breaker) => breaker.forceClosed(key))
).pipe(Command.withDescription("Let every call of a tool run until reset, and count none"))

const reset = Command.make("reset", { key, why }, ({ key, why }) =>
  act(key, "circuit reset", Option.getOrUndefined(why), (breaker) => breaker.reset(key))
).pipe(Command.withDescription("Close a circuit, with nothing counted"))

export const breaker = Command.make("breaker", {}, () => printAll).pipe(
  Command.withDescription("Circuits of tools that keep failing: look, open, close, reset"),
  Command.withSubcommands([
    Command.make("list", {}, () => printAll).pipe(Command.withDescription("Every circuit that is known")),
    open,
    close,
    reset
  ])
)
