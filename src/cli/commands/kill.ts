/** `interlock kill`: stops everything, a tool, a tag, a tenant or a principal, in every process that shares the state. */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { KillSwitch, type Stop, type Target } from "../../KillSwitch.ts"
import { complain } from "../ExitCode.ts"
import { explained } from "../failures.ts"
import * as Flags from "../flags.ts"
import * as Output from "../Output.ts"
import { asPrincipal, Project } from "../Project.ts"

// --- What is shown ---------------------------------------------------------

const nameOf = (target: Target): string => {
  switch (target.scope) {
    case "all":
      return "everything"
    case "tool":
      return `tool ${target.tool}`
    case "tag":
      return `tag ${target.tag}`
    case "tenant":
      return `tenant ${target.tenant}`
    case "principal":
      return `principal ${target.tenant === undefined ? "" : `${target.tenant}/`}${target.principal}`
  }
}

const table = (stops: ReadonlyArray<Stop>, paint: Output.Paint): string =>
  stops.length === 0
    ? "Nothing is stopped."
    : Output.table(
        ["STOP", "WHAT", "BY", "SINCE (UTC)", "UNTIL (UTC)", "WHY"],
        stops.map(({ at, by, id, target, until, why }) => [
          Output.cell(id),
          paint.red(Output.cell(nameOf(target), 40)),
          Output.cell(by, 30),
          Output.time(at),
          until === undefined ? "lifted" : Output.time(until),
          Output.cell(why)
        ]),
        paint
      )

const printStops = Effect.flatMap(
  Effect.flatMap(KillSwitch, ({ stops }) => stops),
  (stops) => Output.print(stops, table)
)

// --- Stopping --------------------------------------------------------------

const how = {
  why: Flags.Why,
  until: Flags.Moment("until").pipe(
    Flag.withDescription("Until then, or for so long; without it until it is lifted"),
    Flag.optional
  ),
  drain: Flag.Boolean("drain").pipe(
    Flag.withDescription("Let calls that run come to their end; they are interrupted otherwise"),
    Flag.withDefault(false)
  )
}

interface How {
  readonly why: string
  readonly until: Option.Option<Flags.Moment>
  readonly drain: boolean
}

/** A name that is empty or too long, or a time that is over: the switch says which. */
const sensible = <A, E, R>(self: Effect.Effect<A, E, R>) =>
  Effect.catchDefect(self, (defect) =>
    defect instanceof RangeError
      ? complain("usage", defect.message.replace(/^KillSwitch: /, ""))
      : Effect.die(defect)
  )

const stop = Effect.fnUntraced(
  function* (target: Target, { drain, until, why }: How) {
    const killSwitch = yield* KillSwitch
    const { principal } = yield* Project
    const end = Option.isNone(until) ? undefined : yield* Flags.ahead(until.value)
    const stopped = yield* asPrincipal(
      killSwitch.stop(target, {
        by: principal.id,
        why,
        inFlight: drain ? "drain" : "interrupt",
        ...(end === undefined ? {} : { until: end })
      })
    )
    yield* Output.print(
      stopped,
      ({ id, target, until }, paint) =>
        `${paint.red("Stopped")} ${Output.cell(nameOf(target))}${until === undefined ? "" : `, until ${Output.time(until)} UTC`}.\nLift it with: interlock kill lift ${id} --why '…'`
    )
  },
  sensible,
  explained
)

const name = (metavar: string) => Argument.String(metavar)

const lift = Command.make(
  "lift",
  { id: name("id").pipe(Argument.withDescription("The stop's id, as list shows it")), why: Flags.Why },
  Effect.fnUntraced(function* ({ id, why }) {
    const killSwitch = yield* KillSwitch
    const { principal } = yield* Project
    if (!(yield* asPrincipal(killSwitch.lift(id, { by: principal.id, why })))) {
      return yield* complain("invalid", `There is no stop "${Output.cell(id)}" in force.`)
    }
    yield* Output.print({ id, lifted: true }, () => "Lifted.")
  }, explained)
).pipe(Command.withDescription("End a stop"))

export const kill = Command.make("kill", {}, () => printStops).pipe(
  Command.withDescription("Stop everything, a tool, a tag, a tenant or a principal, at once and everywhere"),
  Command.withSubcommands([
    Command.make("list", {}, () => printStops).pipe(Command.withDescription("The stops in force")),
    Command.make("all", how, (how) => stop({ scope: "all" }, how)).pipe(
      Command.withDescription("Stop every call")
    ),
    Command.make("tool", { tool: name("glob"), ...how }, ({ tool, ...how }) =>
      stop({ scope: "tool", tool }, how)
    ).pipe(Command.withDescription("Stop tools, by a glob over their names")),
    Command.make("tag", { tag: name("tag"), ...how }, ({ tag, ...how }) =>
      stop({ scope: "tag", tag }, how)
    ).pipe(Command.withDescription("Stop tools that have a tag")),
    Command.make("tenant", { tenant: name("tenant"), ...how }, ({ tenant, ...how }) =>
      stop({ scope: "tenant", tenant }, how)
    ).pipe(Command.withDescription("Stop all calls of a tenant")),
    Command.make(
      "principal",
      {
        principal: name("principal"),
        tenant: Flag.String("tenant").pipe(
          Flag.withDescription("Only of this tenant; of any and of none otherwise"),
          Flag.optional
        ),
        ...how
      },
      ({ principal, tenant, ...how }) =>
        stop(
          Option.match(tenant, {
            onNone: () => ({ scope: "principal", principal }),
            onSome: (tenant) => ({ scope: "principal", principal, tenant })
          }),
          how
        )
    ).pipe(Command.withDescription("Stop all calls on behalf of a principal")),
    lift
  ])
)
