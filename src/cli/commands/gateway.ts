/** `interlock gateway`: serves upstream servers' tools, and looks at them and accepts what has changed. */

import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Gateway from "../../mcp/Gateway.ts"
import { complain, end } from "../ExitCode.ts"
import * as Output from "../Output.ts"
import * as Serve from "./serve.ts"

/** There is a gateway only where servers are configured. */
const gatewayOf = Effect.flatMap(Effect.serviceOption(Gateway.Gateway), (found) =>
  Option.isSome(found)
    ? Effect.succeed(found.value)
    : complain("usage", `No servers are configured: put them under "mcpServers".`)
)

// --- status ----------------------------------------------------------------

const states = {
  ready: "green",
  starting: "yellow",
  idle: "dim",
  stopped: "dim",
  disabled: "dim",
  failed: "red"
} as const

const row = (status: Gateway.Status, paint: Output.Paint): ReadonlyArray<string> => [
  Output.cell(status.name),
  paint[states[status.state]](status.state),
  String(status.tools.length),
  Output.cell(status.target, 40),
  Output.cell(
    [
      ...status.drifted.map(({ tool }) => `${tool} has changed`),
      ...status.unaccepted.map(({ tool }) => `${tool} is new`),
      ...status.missing.map((tool) => `${tool} is gone`),
      ...status.skipped.map(({ tool, why }) => `${tool}: ${why}`),
      ...(status.lastError === undefined ? [] : [status.lastError])
    ].join("; "),
    400
  )
]

const table = (statuses: ReadonlyArray<Gateway.Status>, paint: Output.Paint): string =>
  Output.table(
    ["SERVER", "STATE", "TOOLS", "WHERE", ""],
    statuses.map((status) => row(status, paint)),
    paint
  )

const status = Command.make(
  "status",
  {
    start: Flag.Boolean("start").pipe(
      Flag.withDescription("Start every server first, to see whether it can be reached and what has changed"),
      Flag.withDefault(false)
    )
  },
  Effect.fnUntraced(function* ({ start }) {
    const gateway = yield* gatewayOf
    const before = yield* gateway.status
    if (start) {
      const enabled = before.filter(({ state }) => state !== "disabled")
      // What goes wrong is in its status.
      yield* Effect.forEach(enabled, ({ name }) => Effect.ignore(gateway.start(name)), {
        concurrency: "unbounded",
        discard: true
      })
    }
    const statuses = yield* gateway.status
    yield* Output.print(statuses, table)
    const sound = statuses.every(({ drifted, state }) => state !== "failed" && drifted.length === 0)
    yield* end(sound ? "ok" : "unsound")
  })
).pipe(
  Command.withDescription(
    "Each server, its tools, and what has changed; ends with 8 where something is wrong"
  )
)

// --- accept ----------------------------------------------------------------

const accept = Command.make(
  "accept",
  {
    server: Argument.String("server"),
    tools: Argument.String("tool").pipe(
      Argument.withDescription("By the names that the server gives them; all of them without any"),
      Argument.variadic()
    )
  },
  Effect.fnUntraced(function* ({ server, tools }) {
    const gateway = yield* gatewayOf
    yield* gateway
      .accept(server, tools.length === 0 ? undefined : tools)
      .pipe(
        Effect.catch((error) =>
          complain(error._tag === "GatewayError" ? "invalid" : "unavailable", error.message)
        )
      )
    const [after] = (yield* gateway.status).filter(({ name }) => name === server)
    yield* Output.print(
      { server, tools: after?.tools ?? [] },
      ({ tools }) => `Accepted: ${Output.cell(server)} offers ${tools.length} tools.`
    )
  })
).pipe(
  Command.withDescription("Accept what a server says of its tools now, and write it to interlock.lock.json")
)

// --- The command -----------------------------------------------------------

export const gateway = Command.make("gateway", Serve.flags, Serve.serve).pipe(
  Command.withDescription(
    "Serve upstream servers' tools over MCP, under one policy, beside the configuration's own"
  ),
  Command.withSubcommands([status, accept])
)
