/** `interlock doctor`: what is configured, reachable, expired and unsafe. */
import * as Cause from "effect/Cause"
import * as Console from "effect/Console"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import { FileSystem } from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { Path } from "effect/Path"
import * as Result from "effect/Result"
import { Budget } from "../../Budget.ts"
import { Gateway } from "../../mcp/Gateway.ts"
import { SecurityPolicy } from "../../SecurityPolicy.ts"
import { ToolRegistry } from "../../ToolRegistry.ts"
import * as FromConfig from "../doctor/config.ts"
import { type Finding, format, note, ok, problem, some, sorted } from "../doctor/Finding.ts"
import * as Files from "../doctor/files.ts"
import * as State from "../doctor/state.ts"
import * as Tools from "../doctor/tools.ts"
import * as Upstreams from "../doctor/upstreams.ts"
import { end } from "../ExitCode.ts"
import * as Configured from "../gateway.ts"
import { type Loaded, load } from "../load.ts"
import * as Output from "../Output.ts"
import * as Project from "../Project.ts"
import { registry, Sources } from "../tools.ts"

// --- The configuration -----------------------------------------------------

const ofFile = ({ file }: Loaded): Finding =>
  file === undefined
    ? note(
        "configuration",
        "there is none",
        "Everything has its default: no tools, no policy, and a person who may read.",
        "interlock init"
      )
    : ok("configuration", file)

// --- With everything built -------------------------------------------------

const ofSources = Effect.map(Sources, (sources) =>
  sources.flatMap(({ failure, name, skipped }) => [
    ...(failure === undefined
      ? []
      : [
          problem(
            name,
            `gives no tools: ${failure}`,
            "What it was to offer cannot be called.",
            "Mend its entry."
          )
        ]),
    ...(skipped.length === 0
      ? []
      : [
          note(
            name,
            `has operations that are no tools: ${some(skipped.map(({ operation, reason }) => `${operation} (${reason})`))}`,
            "They cannot be called.",
            "Leave them out by its selection, or mend the document."
          )
        ])
  ])
)

const known = Effect.gen(function* () {
  const { pipeline } = yield* (yield* ToolRegistry).executor
  const policy = yield* SecurityPolicy
  const budget = yield* Budget
  const gateway = Option.getOrUndefined(yield* Effect.serviceOption(Gateway))
  return Array.from(pipeline.tools.values())
    .filter(({ facts }) => gateway?.isWithdrawn(facts.name) !== true)
    .map(
      ({ digest, facts }): Tools.Known => ({
        facts,
        digest,
        rules: policy.compile(facts, digest),
        hasBudget: budget.applies(facts)
      })
    )
})

/** What governance and tools say, which are built over the state; where there is none, over one that goes with it. */
const built = (loaded: Loaded, state: string | undefined, start: boolean) =>
  Effect.gen(function* () {
    const { config } = loaded
    const inState = state === undefined ? [] : yield* State.ofState(config)
    const { complete, findings: inServers } = yield* Upstreams.ofServers(
      start,
      config.gateway?.pins !== "required"
    )
    const inSources = yield* ofSources
    const all = complete && inSources.every(({ level }) => level !== "problem")
    return [...inState, ...inSources, ...inServers, ...Tools.ofTools(yield* known, config, all)]
  }).pipe(Effect.provide(layerOf(state)))

/** A doctor accepts nothing: what a server offers for the first time is left for whoever looks at it. */
const careful = ({ loaded, ...project }: Project.Project["Service"]): Project.Project["Service"] => ({
  ...project,
  loaded: { ...loaded, config: { ...loaded.config, gateway: { ...loaded.config.gateway, pins: "required" } } }
})

const layerOf = (state: string | undefined) => {
  const project = Layer.effect(
    Project.Project,
    Effect.gen(function* () {
      const project = careful(yield* Project.Project)
      if (state !== undefined) return project
      const folder = yield* (yield* FileSystem).makeTempDirectoryScoped({ prefix: "interlock-doctor-" })
      return { ...project, state: (yield* Path).join(folder, "state.db") }
    })
  ).pipe(Layer.provide(Project.layer))
  return Configured.layer.pipe(
    Layer.provideMerge(registry),
    Layer.provideMerge(Project.governance),
    Layer.provideMerge(project)
  )
}

const failed = (cause: Cause.Cause<unknown>): Finding => {
  const error = Cause.squash(cause)
  const message = error instanceof Error ? error.message : String(error)
  return problem(
    "configuration",
    `cannot be put to work: ${message}`,
    "No command runs.",
    "Mend what it says."
  )
}

// --- All of it -------------------------------------------------------------

const examine = Effect.fnUntraced(function* (start: boolean) {
  const path = yield* Path
  const node = ok("node", process.versions.node)
  const read = yield* Effect.result(load(Option.getOrUndefined(yield* Project.ConfigFlag)))
  if (Result.isFailure(read)) {
    const { file, problems } = read.failure
    return [
      node,
      ...problems.map(({ at, field, message }) =>
        problem(
          "configuration",
          `${file}${at === "-" ? "" : `:${at}`} ${field === "" ? "" : `${field}: `}${message}`,
          "No command runs.",
          "Mend it, or see what stands there in a new one: interlock init"
        )
      )
    ]
  }
  const loaded = read.success
  const { config, directory } = loaded
  const resolve = (file: string) => path.resolve(directory, file)
  const places = { state: resolve(config.state ?? ".interlock/state.db"), directory, resolve }
  const state = yield* Files.ofState(places, config)
  const secrets = yield* Files.ofSecrets(places, config)
  const before = [
    node,
    ofFile(loaded),
    ...FromConfig.ofConfig(loaded),
    ...state.findings,
    ...(yield* Files.ofGit(places)),
    ...secrets
  ]
  // What needs the key, or cannot be opened, is not tried; that was said.
  const hasNoKey = secrets.some(({ about, level }) => about === "key" && level === "problem")
  if (state.is === "unusable" || hasNoKey) return before
  // Where nobody says for whom, anybody will do: nothing is called.
  const as = Option.orElse(yield* Project.AsFlag, () =>
    config.principal === undefined
      ? Option.fromUndefinedOr(Object.keys(config.principals ?? {})[0])
      : Option.none()
  )
  const quiet = { ...(yield* Console.Console), error: () => undefined }
  const rest = yield* built(loaded, state.is === "usable" ? places.state : undefined, start).pipe(
    Effect.provideService(Project.AsFlag, as),
    // What goes wrong is among the findings.
    Effect.provideService(Console.Console, quiet),
    Effect.catchCause((cause) =>
      Cause.hasInterrupts(cause) ? Effect.failCause(cause) : Effect.succeed([failed(cause)])
    )
  )
  return [...before, ...rest]
})

export const doctor = Command.make(
  "doctor",
  {
    start: Flag.Boolean("start").pipe(
      Flag.withDescription(
        "Start upstream servers to see whether they can be reached; --no-start leaves them"
      ),
      Flag.withDefault(true)
    )
  },
  Effect.fnUntraced(function* ({ start }) {
    const findings = sorted(yield* Effect.scoped(examine(start)))
    yield* Output.print(findings, format)
    yield* end(findings.some(({ level }) => level === "problem") ? "unsound" : "ok")
  })
).pipe(
  Command.withDescription(
    "What is configured, reachable, expired and unsafe, why it matters and what to do; ends with 8 where there is a problem"
  )
)
