/**
 * Roots, and what may be reached in them: every path is walked name by name from
 * the folder that was opened as its root, so it cannot lead anywhere else.
 *
 * Links are followed where they stay in their root; absolute ones never do. So is
 * no folder that belongs to another file system, `/proc` and devices among them: it
 * has to be a root of its own. Files with a second name are not read unless they
 * may be, because that name may be outside. Only files and folders are opened.
 */
import type { FileHandle } from "node:fs/promises"
import {
  Changed,
  type Directory,
  type Entry,
  type Holding,
  Opened,
  openRoot,
  type Status
} from "./directory.ts"
import { FileError, fileError, fromSystem } from "./FileError.ts"
import { isHidden, namesOf, shown } from "./names.ts"
import { Quota } from "./quota.ts"

export interface RootOptions {
  readonly path: string
  readonly readonly?: boolean | undefined
}

export interface Settings {
  /** One folder, whose paths begin in it; or several, whose paths begin with their name. */
  readonly roots: RootOptions | ReadonlyMap<string, RootOptions>
  readonly hidden: boolean
  readonly hardLinks: boolean
  /** The most bytes that a file may have which is written, or searched for text or lines. */
  readonly maxFileBytes: number
  /** The most bytes by which the roots may grow. */
  readonly quota: number
  readonly holding?: Holding | undefined
}

export interface Root {
  readonly directory: Directory
  readonly readonly: boolean
}

/** What a path leads to. */
export interface Place {
  readonly root: Root
  /** The folder it is in; absent for a root itself. */
  readonly parent: Directory | undefined
  readonly name: string
  /** Absent where there is nothing. */
  readonly entry: Entry | undefined
}

/** One use of a tree: what it opens is closed when it ends. */
export interface Use {
  readonly path: string
  readonly opened: Opened
  readonly signal: AbortSignal | undefined
}

const maxLinks = 40

export class Tree {
  readonly settings: Settings
  readonly quota: Quota
  /** How the roots are held; `path` where one of them is. */
  readonly holding: Holding
  /** By name; a single one has none. */
  readonly roots: ReadonlyMap<string, Root>
  /** What is being given its name has two for a moment; by inode. */
  readonly placing = new Set<bigint>()
  readonly #changing = new Map<string, Promise<void>>()
  readonly #opened: Opened
  #uses = 0
  #isClosed = false

  private constructor(
    settings: Settings,
    roots: ReadonlyMap<string, Root>,
    holding: Holding,
    opened: Opened
  ) {
    this.settings = settings
    this.quota = new Quota(settings.quota)
    this.roots = roots
    this.holding = holding
    this.#opened = opened
  }

  /** Opens the roots, which have to be there. */
  static async open(settings: Settings): Promise<Tree> {
    const opened = new Opened()
    const roots = new Map<string, Root>()
    let holding: Holding = "descriptor"
    const wanted = "path" in settings.roots ? new Map([["", settings.roots]]) : settings.roots
    for (const [name, { path, readonly = false }] of wanted) {
      try {
        const [directory, held] = await openRoot(path, opened, settings.holding)
        if (held === "path") holding = "path"
        roots.set(name, { directory, readonly })
      } catch (error) {
        await opened.close()
        throw fromSystem(path, error)
      }
    }
    return new Tree(settings, roots, holding, opened)
  }

  /**
   * Closes the roots when all uses that are under way have ended, and takes none after: the number of a descriptor that is
   * closed is soon that of another one, and their paths would lead there.
   */
  async close(): Promise<void> {
    this.#isClosed = true
    if (this.#uses === 0) await this.#opened.close()
  }

  /** Runs one use. Errors of the system come out as `FileError`s that name the path as it was given. */
  async use<A>(path: string, signal: AbortSignal | undefined, run: (use: Use) => Promise<A>): Promise<A> {
    // One that is part of another goes on with it.
    if (this.#isClosed && this.#uses === 0) throw fileError("changed", shown(path), "is no longer offered")
    const opened = new Opened()
    this.#uses++
    try {
      signal?.throwIfAborted()
      return await run({ path, opened, signal })
    } catch (error) {
      throw error instanceof Changed
        ? fileError("changed", shown(path), "was replaced by something else meanwhile")
        : fromSystem(shown(path), error)
    } finally {
      await opened.close()
      this.#uses--
      if (this.#isClosed && this.#uses === 0) await this.#opened.close()
    }
  }

  /** The root that a path begins in, and the names that are left; no root for the folder of all roots. */
  locate(path: string): readonly [Root | undefined, ReadonlyArray<string>] {
    const names = namesOf(path)
    const only = this.roots.get("")
    if (only !== undefined) return [only, names]
    const [first, ...rest] = names
    if (first === undefined) return [undefined, []]
    const root = this.roots.get(first)
    if (root === undefined) {
      const known = [...this.roots.keys()].join(", ")
      throw fileError("not_found", shown(path), `does not begin with the name of a root, which are: ${known}`)
    }
    return [root, rest]
  }

  /** Walks to a path. Its last name may be of nothing; a link there is followed unless it is wanted itself. */
  async find(use: Use, options: { readonly linkItself?: boolean } = {}): Promise<Place> {
    const [root, names] = this.locate(use.path)
    if (root === undefined) throw fileError("not_a_file", shown(use.path), "is the folder of all roots")
    return this.walk(use, root, names, options.linkItself === true)
  }

  /** Walks from a root. `make` is called for a folder that is not there. */
  async walk(
    use: Use,
    root: Root,
    names: ReadonlyArray<string>,
    linkItself: boolean,
    make?: (parent: Directory, name: string) => Promise<void>
  ): Promise<Place> {
    const { opened, path, signal } = use
    const above: Array<Directory> = []
    const left = names.toReversed()
    let here = root.directory
    let place: Place = { root, parent: undefined, name: "", entry: rootEntry(root.directory) }
    let links = 0
    while (left.length > 0) {
      signal?.throwIfAborted()
      const name = left.pop()!
      if (name === "" || name === ".") continue
      if (name === "..") {
        // Only a link says so. Up is where the walk came from, not what the system calls so.
        const parent = above.pop()
        if (parent === undefined) throw leadsOut(path)
        here = parent
        place = { root, parent: undefined, name: "", entry: rootEntry(here) }
        continue
      }
      this.#checkHidden(path, name)
      const isLast = left.length === 0
      let entry = await here.find(name, opened)
      if (entry === undefined && make !== undefined) {
        await make(here, name)
        entry = await here.find(name, opened)
      }
      place = { root, parent: here, name, entry }
      if (entry === undefined) {
        if (isLast) return place
        throw fileError("not_found", shown(path), "leads through a folder that does not exist")
      }
      const { kind } = entry.status
      if (kind === "link" && !(isLast && linkItself)) {
        const target = await here.target(name)
        if (isAbsolute(target) || ++links > maxLinks) throw leadsOut(path)
        left.push(...target.split(separators).reverse())
      } else if (kind === "folder") {
        if (entry.status.device !== root.directory.status.device) {
          throw fileError(
            "denied",
            shown(path),
            "is on another file system, which has to be a root of its own"
          )
        }
        above.push(here)
        here = await entry.enter()
      } else if (!isLast) {
        throw fileError("not_a_folder", shown(path), "leads through something that is not a folder")
      }
    }
    return place
  }

  #checkHidden(path: string, name: string): void {
    if (isHidden(name, this.settings.hidden)) {
      throw fileError("denied", shown(path), "has a hidden name, which is not available")
    }
  }

  /** Whether an entry is a file that may be read. */
  whyNotReadable({ inode, kind, names }: Status): ["not_a_file" | "hard_link", string] | undefined {
    if (kind === "folder") return ["not_a_file", "is a folder"]
    if (kind !== "file") return ["not_a_file", "is not a file"]
    if (names > (this.placing.has(inode) ? 2 : 1) && !this.settings.hardLinks) {
      return ["hard_link", "has more than one name, of which one may be outside of the root"]
    }
    return undefined
  }

  /** Changes what has a name while nobody else here does: what is counted is then what is there. */
  async alone<A>({ status }: Directory, name: string, run: () => Promise<A>): Promise<A> {
    // Some file systems tell no case, nor how letters are put together.
    const key = `${status.device}:${status.inode}/${name.normalize("NFC").toLowerCase()}`
    const before = this.#changing.get(key)
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#changing.set(key, promise)
    try {
      await before
      return await run()
    } finally {
      resolve()
      if (this.#changing.get(key) === promise) this.#changing.delete(key)
    }
  }

  /** What is known of an entry; nothing of one that has changed meanwhile. */
  statusOf({ path, signal }: Use, directory: Directory, name: string): Promise<Status | undefined> {
    return this.use(path, signal, async ({ opened }) => (await directory.find(name, opened))?.status).catch(
      (error) => {
        if (error instanceof FileError && error.reason === "changed") return undefined
        throw error
      }
    )
  }

  /** Opens a file for reading. */
  async openFile(use: Use, entry: Entry | undefined): Promise<readonly [FileHandle, Status]> {
    const path = shown(use.path)
    if (entry === undefined) throw fileError("not_found", path, "does not exist")
    const why = this.whyNotReadable(entry.status)
    if (why !== undefined) throw fileError(why[0], path, why[1])
    return [await entry.open(), entry.status]
  }

  /** Opens a folder. */
  async openFolder(use: Use, entry: Entry | undefined): Promise<Directory> {
    if (entry === undefined) throw fileError("not_found", shown(use.path), "does not exist")
    if (entry.status.kind !== "folder") throw fileError("not_a_folder", shown(use.path), "is not a folder")
    return entry.enter()
  }

  /** Refuses to change a root that is only read. */
  checkWritable(use: Use, root: Root): void {
    if (root.readonly) throw fileError("denied", shown(use.path), "is in a root that is only read")
  }
}

const rootEntry = (directory: Directory): Entry => ({
  status: directory.status,
  open: () => Promise.reject(Object.assign(new Error("a folder"), { code: "EISDIR", syscall: "open" })),
  enter: async () => directory
})

const leadsOut = (path: string): FileError =>
  fileError("outside", shown(path), "is, or leads through, a link that leaves the root or has no end")

const windows = process.platform === "win32"
const separators = windows ? /[/\\]/ : "/"
const isAbsolute = (target: string): boolean =>
  target.startsWith("/") || (windows && /^(?:[a-z]:|\\)/i.test(target))

/** Reads bytes from a place in a file, as many as there are. */
export const readBytes = async (handle: FileHandle, from: number, most: number): Promise<Uint8Array> => {
  const bytes = new Uint8Array(most)
  let length = 0
  while (length < most) {
    const { bytesRead } = await handle.read(bytes, length, most - length, from + length)
    if (bytesRead === 0) break
    length += bytesRead
  }
  return bytes.subarray(0, length)
}
