/** The command line: `interlock`, with everything that it can do. */

import * as Console from "effect/Console"
import * as CliError from "effect/cli/CliError"
import * as CliOutput from "effect/cli/CliOutput"
import * as Command from "effect/cli/Command"
import * as TerminalCapabilities from "effect/cli/TerminalCapabilities"
import * as Effect from "effect/Effect"
import * as ErrorReporter from "effect/ErrorReporter"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import { plain } from "../internal/plainText.ts"
import { version } from "../internal/version.ts"
import { approvals } from "./commands/approvals.ts"
import { audit } from "./commands/audit.ts"
import { batches } from "./commands/batches.ts"
import { breaker } from "./commands/breaker.ts"
import { budget } from "./commands/budget.ts"
import { call } from "./commands/call.ts"
import { doctor } from "./commands/doctor.ts"
import { gateway } from "./commands/gateway.ts"
import { health } from "./commands/health.ts"
import { init } from "./commands/init.ts"
import { kill } from "./commands/kill.ts"
import { run as runBatch } from "./commands/run.ts"
import { mcp } from "./commands/serve.ts"
import { stats } from "./commands/stats.ts"
import { tools } from "./commands/tools.ts"
import { end } from "./ExitCode.ts"
import * as Upstreams from "./gateway.ts"
import * as Output from "./Output.ts"
import * as Project from "./Project.ts"
import { registry } from "./tools.ts"

/** Governance alone: for commands that look and act, and call no tool. */
const governed = Project.governance.pipe(Layer.provideMerge(Project.layer))
/** The configuration's own tools; and with them those of upstream servers. */
const withOwnTools = registry.pipe(Layer.provideMerge(governed))
const withTools = Upstreams.layer.pipe(Layer.provideMerge(withOwnTools))

/** The whole tree of commands. */
export const root = Command.make("interlock").pipe(
  Command.withDescription(
    "Governed tool execution: decides whether a call may run, runs it, and leaves a record"
  ),
  Command.withSubcommands([
    init,
    tools.pipe(Command.provide(withTools)),
    call.pipe(Command.provide(withTools)),
    runBatch.pipe(Command.provide(withTools)),
    batches.pipe(Command.provide(governed)),
    mcp.pipe(Command.provide(withOwnTools)),
    gateway.pipe(Command.provide(withTools)),
    approvals.pipe(Command.provide(governed)),
    audit.pipe(Command.provide(governed)),
    budget.pipe(Command.provide(governed)),
    health.pipe(Command.provide(governed)),
    stats.pipe(Command.provide(governed)),
    breaker.pipe(Command.provide(governed)),
    kill.pipe(Command.provide(governed)),
    doctor
  ]),
  Command.withGlobalFlags([Project.ConfigFlag, Project.AsFlag, Output.Json])
)

/** What is wrong is said on stderr, where help would hide it and break pipes; help that is asked for is on stdout. */
const presenter: CliOutput.Presenter = {
  present: (event) => {
    if (event._tag !== "InvalidInvocation") return CliOutput.defaultPresenter.present(event)
    const wrong = event.errors.map((error) => Output.lines(error.message))
    return Console.error([...wrong, `See: ${event.commandPath.join(" ")} --help`].join("\n"))
  }
}

/** What is reported to operators, beside what a call is answered: here the operator is whoever sits at the terminal. */
const reporter = ErrorReporter.make(({ error }) => console.error(`interlock: ${plain(error.message)}`))

/** Runs the command line with these arguments. */
export const run = (args: ReadonlyArray<string>) =>
  Command.runWith(root, { version })(args).pipe(
    // What cannot be parsed is a usage error; help that was asked for is none.
    Effect.catchIf(
      (error): error is CliError.ShowHelp => CliError.isCliError(error) && error._tag === "ShowHelp",
      ({ errors }) => end(errors.length > 0 ? "usage" : "ok")
    ),
    Effect.provide([
      TerminalCapabilities.layer,
      CliOutput.layerPresenter(presenter),
      ErrorReporter.layer([reporter])
    ]),
    // What commands print is on stdout, and an MCP client reads nothing else there.
    Effect.provideService(Logger.LogToStderr, true)
  )
