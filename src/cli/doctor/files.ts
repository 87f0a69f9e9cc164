/** The files that hold state and secrets: who can read them, and whether they are whole. Creates nothing. */
import * as Effect from "effect/Effect"
import { FileSystem } from "effect/FileSystem"
import * as Option from "effect/Option"
import { Path } from "effect/Path"
import * as ChildProcess from "effect/process/ChildProcess"
import { ChildProcessSpawner } from "effect/process/ChildProcessSpawner"
import { SqlClient } from "effect/sql/SqlClient"
import * as Sqlite from "../../sql/Sqlite.ts"
import type { Config, Secret } from "../Config.ts"
import { secretOf } from "../credentials.ts"
import * as Secrets from "../Secrets.ts"
import { type Finding, note, ok, problem, warning } from "./Finding.ts"

/** Where things are. */
export interface Places {
  readonly state: string
  readonly directory: string
  readonly resolve: (path: string) => string
}

/** Systems without permissions of this kind say that everybody may do everything. */
const hasPermissions = process.platform !== "win32"

/** Why it matters that others get at the state. */
const theirs = "Whoever has the state and its key can act for every principal, and approve anything."

/** What is wrong with who can get at a file, or write into a folder. */
const ofAccess = Effect.fnUntraced(function* (about: string, path: string, wanted: 0o600 | 0o700) {
  const found = yield* Effect.option((yield* FileSystem).stat(path))
  if (Option.isNone(found) || !hasPermissions) return []
  const { mode, uid } = found.value
  const todo = `chmod ${wanted.toString(8)} '${path}'`
  const open = `${path} is open to others (${(mode & 0o777).toString(8)})`
  // A folder that others can only list shows them names: its files have permissions of their own.
  if ((mode & (wanted === 0o700 ? 0o022 : 0o077)) !== 0) return [problem(about, open, theirs, todo)]
  if ((mode & 0o077) !== 0) return [note(about, open, "They see which files there are.", todo)]
  const own = process.getuid?.()
  if (own !== undefined && own !== 0 && Option.isSome(uid) && uid.value !== own) {
    return [problem(about, `${path} belongs to another user`, theirs, `chown ${own} '${path}'`)]
  }
  return []
})

// --- State -----------------------------------------------------------------

/** `empty`: there is nothing in it yet; `unusable`: to open it would make it worse, or cannot succeed. */
export interface State {
  readonly findings: ReadonlyArray<Finding>
  readonly is: "usable" | "empty" | "unusable"
}

/** The folder, the database and the key beside it. */
export const ofState = Effect.fnUntraced(function* ({ state }: Places, { key }: Config) {
  const fs = yield* FileSystem
  const path = yield* Path
  const folder = path.dirname(state)
  const keyFile = path.join(folder, "key")
  const access = yield* Effect.all([
    ofAccess("state", folder, 0o700),
    ...["", "-wal", "-shm"].map((suffix) => ofAccess("state", `${state}${suffix}`, 0o600)),
    ...(key === undefined ? [ofAccess("key", keyFile, 0o600)] : [])
  ])
  const { findings, is } = (yield* fs.exists(state)) ? yield* ofDatabase(state) : nothingIn(state)
  const isLost = is === "usable" && key === undefined && !(yield* fs.exists(keyFile))
  return {
    findings: [...access.flat(), ...(isLost ? [lost(keyFile)] : findings)],
    is: isLost ? "unusable" : is
  } as const
})

const nothingIn = (state: string): State => ({
  findings: [ok("state", `${state}: nothing is in it yet`)],
  is: "empty"
})

const lost = (keyFile: string): Finding =>
  problem(
    "key",
    `${keyFile} is missing, and the state is there`,
    "Nothing in the state can be proved or opened without it; the next command makes another one.",
    "Put it back from a backup before anything else is done."
  )

const ofDatabase = (state: string): Effect.Effect<State> =>
  Effect.gen(function* () {
    const sql = yield* SqlClient
    const rows = yield* sql<{ readonly quick_check: string }>`PRAGMA quick_check(5)`
    const wrong = rows.map(({ quick_check }) => quick_check).filter((text) => text !== "ok")
    if (wrong.length > 0) return damaged(state, wrong.join("; "))
    const tables = yield* sql`SELECT name FROM sqlite_master LIMIT 1`
    return tables.length === 0
      ? nothingIn(state)
      : ({ findings: [ok("state", `${state} is whole`)], is: "usable" } as const)
  }).pipe(
    Effect.provide(Sqlite.layer({ filename: state })),
    Effect.catch((error) => Effect.succeed(damaged(state, error.message)))
  )

const damaged = (state: string, how: string): State => ({
  findings: [
    problem(
      "state",
      `${state} is damaged or cannot be opened: ${how}`,
      "Approvals, budgets, stops and the audit log are in it.",
      `Put back a backup; what can be saved: sqlite3 '${state}' .recover`
    )
  ],
  is: "unusable"
})

// --- Secrets ---------------------------------------------------------------

/** Every place at which the configuration names a secret. */
const secretsOf = ({ credentials = {}, key, principals = {} }: Config) => {
  const named: Array<readonly [about: string, secret: Secret]> = []
  if (key !== undefined) named.push(["key", key])
  for (const [id, { token }] of Object.entries(principals)) {
    if (token !== undefined) named.push([`principals.${id}.token`, token])
  }
  for (const [name, credential] of Object.entries(credentials)) {
    named.push([`credentials.${name}`, secretOf(credential)])
  }
  return named
}

/** Whether each secret is there, and its file its owner's. Never what it is. */
export const ofSecrets = Effect.fnUntraced(function* ({ resolve }: Places, config: Config) {
  const found = yield* Effect.forEach(secretsOf(config), ([about, secret]) =>
    Effect.gen(function* () {
      const there = yield* Effect.isSuccess(Secrets.read(secret, resolve))
      const access = "file" in secret ? yield* ofAccess(about, resolve(secret.file), 0o600) : []
      if (there) return [...access, ok(about, `${Secrets.place(secret)} is set`)]
      const make = about === "key" ? problem : warning
      const why =
        about === "key"
          ? "Without it nothing can be signed, proved or opened, so no command runs."
          : "Whatever needs it fails when it is used."
      return [...access, make(about, `${Secrets.place(secret)} is not set, or empty`, why, "Set it.")]
    })
  )
  return found.flat()
})

// --- Git -------------------------------------------------------------------

/** Whether the state would be committed with the folder that it is in. */
export const ofGit = Effect.fnUntraced(function* ({ directory, state }: Places) {
  const path = yield* Path
  const spawner = yield* ChildProcessSpawner
  const git = (...args: ReadonlyArray<string>) =>
    spawner.exitCode(ChildProcess.make("git", ["-C", directory, ...args])).pipe(
      // Without git there is no repository.
      Effect.orElseSucceed(() => 128)
    )
  if ((yield* git("rev-parse", "--is-inside-work-tree")) !== 0) return []
  const folder = path.dirname(state)
  // 0: ignored, 1: not ignored, otherwise not in this repository.
  if ((yield* git("check-ignore", "-q", folder)) !== 1) return []
  return [
    note(
      "state",
      `${folder} is not ignored by git`,
      "The key and the state do not belong into a repository: who has them can act for everybody.",
      `Add ${path.relative(directory, folder)}/ to .gitignore.`
    )
  ]
})
