/**
 * A configuration at work: governance over its state file, and whom the command
 * line acts for. Whoever can read the state and its key can act for every
 * principal of the configuration: they are what the folder's owner lets them be.
 */
import * as Os from "node:os"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Flag from "effect/cli/Flag"
import * as GlobalFlag from "effect/cli/GlobalFlag"
import { WebCrypto } from "effect/crypto/WebCrypto"
import * as Effect from "effect/Effect"
import * as Base64Url from "effect/encoding/Base64Url"
import { FileSystem } from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { Path } from "effect/Path"
import * as Redacted from "effect/Redacted"
import type { SqlClient } from "effect/sql/SqlClient"
import * as Interlock from "../Interlock.ts"
import * as Keyring from "../Keyring.ts"
import * as Permissions from "../Permissions.ts"
import * as Principal from "../Principal.ts"
import * as SqlApprovals from "../sql/SqlApprovals.ts"
import * as SqlAuditLog from "../sql/SqlAuditLog.ts"
import * as SqlBudget from "../sql/SqlBudget.ts"
import * as SqlCircuitBreaker from "../sql/SqlCircuitBreaker.ts"
import * as SqlIdempotency from "../sql/SqlIdempotency.ts"
import * as Sqlite from "../sql/Sqlite.ts"
import * as SqlKillSwitch from "../sql/SqlKillSwitch.ts"
import * as SqlResultCache from "../sql/SqlResultCache.ts"
import type { Config } from "./Config.ts"
import { type Complaint, complain } from "./ExitCode.ts"
import { messageOf } from "./failures.ts"
import { type Loaded, load } from "./load.ts"
import * as Secrets from "./Secrets.ts"

// --- Flags -----------------------------------------------------------------

export const ConfigFlag = GlobalFlag.Setting("config")({
  flag: Flag.File("config").pipe(
    Flag.withAlias("c"),
    Flag.withDescription("The configuration; else the nearest interlock.config.ts or .json"),
    Flag.optional
  )
})

export const AsFlag = GlobalFlag.Setting("as")({
  flag: Flag.String("as").pipe(
    Flag.withDescription("The principal to act for, one of the configuration's"),
    Flag.optional
  )
})

// --- Service ---------------------------------------------------------------

export class Project extends Context.Service<
  Project,
  {
    readonly loaded: Loaded
    /** Whom the command line acts for. */
    readonly principal: Principal.Principal
    /** Everybody whom the configuration names, by id. */
    readonly principals: ReadonlyMap<string, Principal.Principal>
    /** The state file. */
    readonly state: string
    /** A path of the configuration, as the file means it. */
    readonly resolve: (path: string) => string
  }
>()("interlock/cli/Project") {}

// --- Principals ------------------------------------------------------------

/** Without a configuration it is whoever is logged in, who may read. */
const unconfigured = (): Principal.Principal => Principal.make({ id: account(), roles: ["read"] })

const account = (): string => {
  try {
    return Os.userInfo().username
  } catch {
    // In containers an account may have no name.
    return `uid-${process.getuid?.()}`
  }
}

const principalsOf = (config: Config): ReadonlyMap<string, Principal.Principal> =>
  new Map(
    Object.entries(config.principals ?? {}).map(([id, { token: _, ...entry }]) => [
      id,
      Principal.make({ id, ...entry })
    ])
  )

/** The one that is named, else the configuration's, else its only one. */
const choose = (
  config: Config,
  principals: ReadonlyMap<string, Principal.Principal>,
  named: string | undefined
) => {
  const id = named ?? config.principal ?? (principals.size === 1 ? [...principals.keys()][0] : undefined)
  const known = [...principals.keys()].join(", ")
  if (id !== undefined) {
    const principal = principals.get(id)
    return principal === undefined
      ? complain(
          "usage",
          `There is no principal "${id}" in the configuration${known === "" ? "" : `; there are: ${known}`}.`
        )
      : Effect.succeed(principal)
  }
  return principals.size === 0
    ? Effect.sync(unconfigured)
    : complain("usage", `Say for whom: --as one of ${known}, or "principal" in the configuration.`)
}

// --- Layers ----------------------------------------------------------------

/** Reads the configuration, and decides whom the command line acts for. */
export const layer = Layer.effect(
  Project,
  Effect.gen(function* () {
    const path = yield* Path
    const loaded = yield* load(Option.getOrUndefined(yield* ConfigFlag)).pipe(
      Effect.catchTag("ConfigError", (error) => complain("usage", error.message))
    )
    const { config, directory } = loaded
    const principals = principalsOf(config)
    const principal = yield* choose(config, principals, Option.getOrUndefined(yield* AsFlag))
    const resolve = (file: string) => path.resolve(directory, file)
    return { loaded, principal, principals, resolve, state: resolve(config.state ?? ".interlock/state.db") }
  })
)

/** The key that the configuration names; else one of its own beside the state. */
const keyring = Layer.unwrap(
  Effect.gen(function* () {
    const { loaded, resolve, state } = yield* Project
    const fs = yield* FileSystem
    const path = yield* Path
    const { key } = loaded.config
    if (key !== undefined) {
      return yield* keysOf(Redacted.value(yield* Secrets.read(key, resolve)), Secrets.place(key))
    }
    const file = path.join(path.dirname(state), "key")
    if (!(yield* fs.exists(file))) yield* makeKey(file)
    return yield* keysOf(yield* fs.readFileString(file), Secrets.place({ file }))
  })
)

/** A key that is whole from the moment it is there. Of two that make one at once, the first one's counts. */
const makeKey = Effect.fnUntraced(function* (file: string) {
  const fs = yield* FileSystem
  const random = yield* WebCrypto
  const bytes = (size: number) => Base64Url.encode(random.getRandomValues(new Uint8Array(size)))
  const draft = `${file}.${bytes(6)}`
  const write = (to: string) => fs.writeFileString(to, `1:${secret}\n`, { flag: "wx", mode: 0o600 })
  const secret = bytes(48)
  // Where there are no links it is not there at once, which is still better than none.
  const put = Effect.catch(fs.link(draft, file), () => Effect.ignore(write(file)))
  yield* Effect.ensuring(Effect.andThen(write(draft), put), Effect.ignore(fs.remove(draft)))
})

/** Lines, or items between commas, of `id:secret`; the first one signs, the others still open what they signed. */
const keysOf = (text: string, place: string): Effect.Effect<Layer.Layer<Keyring.Keyring>, Complaint> => {
  const entries = text.split(/[\n,]/).flatMap((line) => {
    const [, id, secret] = /^\s*([\w-]+)\s*:\s*(\S+)\s*$/.exec(line) ?? []
    return id === undefined || secret === undefined ? [] : [[id, Redacted.make(secret)] as const]
  })
  const [first] = entries
  return first === undefined
    ? complain("usage", `There is no key in ${place}: it must have the form id:secret.`)
    : Effect.succeed(Keyring.layer({ active: first[0], keys: Object.fromEntries(entries) }))
}

/** The state file, in a folder that only its owner can read. */
const database: Layer.Layer<SqlClient, unknown, Project | FileSystem | Path> = Layer.unwrap(
  Effect.gen(function* () {
    const { loaded, state } = yield* Project
    const fs = yield* FileSystem
    const path = yield* Path
    yield* fs.makeDirectory(path.dirname(state), { recursive: true, mode: 0o700 })
    return Sqlite.layer({ filename: state, synchronous: loaded.config.synchronous ?? "NORMAL" })
  })
)

/** The file's data as the options of governance; what the module gives as code wins. */
const optionsOf = ({ code, config }: Loaded): Interlock.Options => {
  const { approvals, audit, breaker, budgets, defaults, policy, rateLimits, roles } = config
  const { retries, ...durations } = defaults ?? {}
  return {
    policy: policy ?? {},
    permissions: { roles: { ...Permissions.defaultRoles, ...roles } },
    rateLimits: rateLimits ?? [],
    approvals: SqlApprovals.layer(approvals),
    audit: SqlAuditLog.layer(audit),
    breaker: SqlCircuitBreaker.layer(breaker),
    budget: SqlBudget.layer((budgets ?? []).map(budgetOf)),
    killSwitch: SqlKillSwitch.layer(),
    idempotency: SqlIdempotency.layer(),
    cache: SqlResultCache.layer(),
    defaults: { ...durations, ...(retries === undefined ? {} : { retry: { retries } }) },
    ...code.governance
  }
}

/** Dollars are counted in millionths. */
const budgetOf = (limit: NonNullable<Config["budgets"]>[number]) =>
  (limit.unit ?? "usd") === "usd" ? { ...limit, max: Math.round(limit.max * 1e6) } : limit

/** Governance over the state file, which other processes share. What it cannot be made of is a complaint. */
export const governance: Layer.Layer<Interlock.Services | SqlClient, Complaint, Project | FileSystem | Path> =
  Layer.unwrap(Effect.map(Project, ({ loaded }) => Interlock.layer({ keyring, ...optionsOf(loaded) }))).pipe(
    Layer.provideMerge(database),
    Layer.catchCause((cause) =>
      Layer.effectContext(
        Cause.hasInterrupts(cause)
          ? Effect.failCause(cause as Cause.Cause<never>)
          : Effect.flatMap(Project, ({ state }) =>
              complain("usage", `${messageOf(Cause.squash(cause))}\n(the state is ${state})`)
            )
      )
    )
  ) as never

/** Runs on behalf of whom the command line acts for: a person, who may also decide. */
export const asPrincipal = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R | Project> =>
  Effect.flatMap(Project, ({ principal }) => Principal.provide(self, principal))
