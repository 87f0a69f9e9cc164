/** A root with something outside of it, as real folders that go with the scope. */
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import * as Effect from "effect/Effect"

/** Whether the system lets this process do anything with any file. */
export const isRoot = process.getuid?.() === 0

/** What nobody inside may learn. */
export const secret = "the-secret-outside"

export interface Folders {
  /** The folder that is a root. */
  readonly root: string
  /** A folder beside it, with a file `secret.txt` that holds the secret, and one whose name is found nowhere else. */
  readonly outside: string
  /** A path in the root. */
  readonly at: (path: string) => string
}

/** Fills a new folder: `root/` with some files, and `outside/`. */
export const fill = (base: string): Folders => {
  const root = Path.join(base, "root")
  const outside = Path.join(base, "outside")
  const at = (path: string) => Path.join(root, path)
  Fs.mkdirSync(at("docs/deep"), { recursive: true })
  Fs.mkdirSync(outside)
  Fs.writeFileSync(Path.join(outside, "secret.txt"), secret)
  Fs.writeFileSync(Path.join(outside, "only-outside"), "")
  Fs.writeFileSync(at("hello.txt"), "hello\nworld\n")
  Fs.writeFileSync(at("docs/plan.md"), "# Plan\n\nFirst, think.\nThen write.\n")
  Fs.writeFileSync(at("docs/deep/notes.md"), "think again\n")
  Fs.writeFileSync(at(".hidden"), "think of nothing\n")
  return { root, outside, at }
}

/** The same in a folder that goes with the scope. */
const filledIn = (temporary: string) =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => Fs.mkdtempSync(Path.join(temporary, "interlock-files-"))),
      (base) => Effect.sync(() => Fs.rmSync(base, { recursive: true, force: true }))
    ),
    fill
  )

export const folders = filledIn(Os.tmpdir())

/** In memory where there is such a folder, for tests that need thousands. */
export const quickFolders = Effect.suspend(() => filledIn(isWritable("/dev/shm") ? "/dev/shm" : Os.tmpdir()))

const isWritable = (folder: string): boolean => {
  try {
    Fs.accessSync(folder, Fs.constants.W_OK)
    return true
  } catch {
    return false
  }
}

/** Everything below a folder: paths, kinds, contents, where links lead. */
export const snapshot = (folder: string): Readonly<Record<string, string>> =>
  Object.fromEntries(
    Fs.readdirSync(folder, { recursive: true, encoding: "utf8" })
      .sort()
      .map((path) => {
        const full = Path.join(folder, path)
        const stats = Fs.lstatSync(full)
        if (stats.isSymbolicLink()) return [path, `-> ${Fs.readlinkSync(full)}`]
        return [path, stats.isFile() ? Fs.readFileSync(full, "latin1") : stats.isDirectory() ? "/" : "other"]
      })
  )
