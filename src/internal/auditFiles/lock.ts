/**
 * One process at a time: two that append to one directory would fork its chain.
 *
 * Every process that opens the directory writes a lock file of its own, under a
 * name that nobody else has, and only then looks at those of others. Where one
 * of them lives it withdraws; those of the dead it removes. Whoever looks later
 * sees whoever came before, so two can never both go on; two that start in the
 * same moment may both withdraw. A file that nobody else can have made is never
 * removed by mistake, which is what a single lock file taken over cannot say.
 *
 * A lock names its process by number, start time, boot and process namespace,
 * read from `/proc`. In the same boot and namespace that settles who lives, at
 * once. Elsewhere (another container or machine, a platform without `/proc`) a
 * lock lives while it is touched: once a second; who finds it untouched for five
 * takes over. An owner that was frozen for longer finds its lock gone, because
 * it looks before it writes, and writes no more.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import type { PlatformError } from "effect/PlatformError"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import { randomId } from "../sealing.ts"
import type { Disk } from "./disk.ts"

/** A process, as far as it can be told apart from every other. */
interface Owner {
  readonly pid: number | undefined
  /** When it started, in ticks since the boot. */
  readonly start: string | undefined
  /** The boot and the process namespace in which `pid` and `start` mean something. */
  readonly place: string | undefined
  /** When the lock was taken, in milliseconds since the epoch. */
  readonly since: number
}

/** Another process has the directory. */
export interface Held {
  readonly _tag: "Held"
  readonly pid: number | undefined
  readonly since: number | undefined
}

export interface Lock {
  /** Whether the lock is still this process's own. */
  readonly held: Effect.Effect<boolean, PlatformError>
}

const beat = 1000
const patience = 5 * beat
const suffix = ".lock"

const encoder = new TextEncoder()

/** Takes the directory until the scope closes. */
export const acquire: (
  fs: FileSystem.FileSystem,
  disk: Disk
) => Effect.Effect<Lock, PlatformError | Held, Scope.Scope> = Effect.fnUntraced(function* (fs, disk) {
  const own = yield* ownerOf(fs)
  const name = `${randomId()}${suffix}`
  yield* Effect.acquireRelease(disk.write(name, encoder.encode(JSON.stringify(own))), () =>
    Effect.ignore(disk.remove(name))
  )
  // Also while it waits to see whether others live: whoever comes then must see that this one does.
  yield* Clock.currentTimeMillis.pipe(
    Effect.flatMap((now) => disk.touch(name, now)),
    Effect.ignore,
    Effect.repeat(Schedule.spaced(beat)),
    Effect.forkScoped
  )
  const others = (yield* disk.names).filter((other) => other.endsWith(suffix) && other !== name)
  const judged = yield* Effect.forEach(
    others,
    Effect.fnUntraced(function* (other) {
      const text = yield* disk.text(other)
      if (text === undefined) return undefined
      const owner = parse(text)
      const lives =
        own.place !== undefined && own.place === owner?.place
          ? (yield* startOf(fs, owner.pid!)) === owner.start
          : yield* isTouched(disk, other)
      return { other, owner, lives }
    }),
    { concurrency: "unbounded" }
  )
  for (const found of judged) {
    if (found === undefined) continue
    if (found.lives) {
      return yield* Effect.fail<Held>({ _tag: "Held", pid: found.owner?.pid, since: found.owner?.since })
    }
    yield* disk.remove(found.other)
  }
  return { held: disk.has(name) }
})

const isTouched = Effect.fnUntraced(function* (disk: Disk, name: string) {
  const before = yield* disk.touchedAt(name)
  yield* Effect.sleep(patience)
  const after = yield* disk.touchedAt(name)
  return after !== undefined && after !== before
})

const ownerOf = Effect.fnUntraced(function* (fs: FileSystem.FileSystem) {
  const since = yield* Clock.currentTimeMillis
  const unknown: Owner = { pid: undefined, start: undefined, place: undefined, since }
  return yield* Effect.gen(function* () {
    const pid = Number(yield* fs.readLink("/proc/self"))
    const namespace = yield* fs.readLink("/proc/self/ns/pid")
    const boot = (yield* fs.readFileString("/proc/sys/kernel/random/boot_id")).trim()
    const start = yield* startOf(fs, pid)
    if (start === undefined) return unknown
    const owner: Owner = { pid, start, place: `${boot} ${namespace}`, since }
    return owner
  }).pipe(Effect.orElseSucceed(() => unknown))
})

/** When a living process started; `undefined` for one that is gone, or dead and not yet collected by its parent. */
const startOf = (fs: FileSystem.FileSystem, pid: number): Effect.Effect<string | undefined> =>
  fs.readFileString(`/proc/${pid}/stat`).pipe(
    Effect.map((stat) => {
      // The second field is the program's name, in parentheses, and may hold anything.
      const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ")
      return fields[0] === "Z" || fields[0] === "X" ? undefined : fields[19]
    }),
    Effect.orElseSucceed(() => undefined)
  )

const parse = (text: string): Owner | undefined => {
  try {
    const owner: unknown = JSON.parse(text)
    return typeof owner === "object" && owner !== null ? (owner as Owner) : undefined
  } catch {
    return undefined
  }
}
