/**
 * Open folders: what is looked up in one is in that folder and nowhere else,
 * whatever becomes of its path meanwhile.
 *
 * On Linux a folder is a descriptor, and its entries are reached through
 * `/proc/self/fd/<descriptor>/<name>`, which the kernel resolves from the folder
 * itself. Every name is opened alone, without following a link, and looked at
 * before it is used: first as a bare place (`O_PATH`, which opens no device and
 * waits for no pipe), then, through that same place, for reading. There is no
 * moment at which a path could be exchanged for another.
 *
 * Where there is no `/proc`, a folder is its real path, and its place is checked
 * before and after whatever is done. Somebody who exchanges folders at the right
 * moment, and back again, is not noticed there; what a write has put into a wrong
 * place is noticed and left.
 */
import { type BigIntStats, constants } from "node:fs"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import { codeOf } from "./FileError.ts"

export type Kind = "file" | "folder" | "link" | "other"

/** What is known of an entry without reading it. */
export interface Status {
  readonly kind: Kind
  readonly size: number
  /** Milliseconds since the epoch. */
  readonly modified: number
  readonly mode: number
  /** How many names it has; of a file that `find` found, the one it was found by among them. */
  readonly names: number
  readonly device: bigint
  readonly inode: bigint
}

/** A name in a folder. */
export interface Named {
  readonly name: string
  /** What it was when the folder was read, where the file system says so. */
  readonly kind: Kind | undefined
}

/** Something that was found in a folder, and is that whatever takes its name. */
export interface Entry {
  readonly status: Status
  /** Opens a file for reading. */
  readonly open: () => Promise<Fs.FileHandle>
  readonly enter: () => Promise<Directory>
}

/** It is no longer what it was. */
export class Changed extends Error {}

/** Closes whatever one operation has opened. */
export class Opened {
  readonly #handles: Array<Fs.FileHandle> = []

  async open(path: string, flags: number, mode?: number): Promise<Fs.FileHandle> {
    const handle = await Fs.open(path, flags, mode)
    this.#handles.push(handle)
    return handle
  }

  async close(): Promise<void> {
    await Promise.allSettled(this.#handles.splice(0).map((handle) => handle.close()))
  }
}

export interface Directory {
  readonly status: Status
  /** Finds an entry; `undefined` where there is none. */
  readonly find: (name: string, opened: Opened) => Promise<Entry | undefined>
  /** What `find` would find, without opening it. */
  readonly look: (name: string) => Promise<Status | undefined>
  readonly target: (link: string) => Promise<string>
  /** Up to so many names, in no order; those that are not UTF-8 are left out. */
  readonly names: (most: number) => Promise<ReadonlyArray<Named>>
  /** Creates a file that was not there. */
  readonly create: (name: string, opened: Opened) => Promise<Fs.FileHandle>
  readonly createFolder: (name: string) => Promise<void>
  readonly rename: (from: string, to: string) => Promise<void>
  /** Gives a file a second name that nothing has yet. */
  readonly link: (from: string, to: string) => Promise<void>
  readonly remove: (name: string) => Promise<void>
  readonly removeFolder: (name: string) => Promise<void>
}

// What the platform does not know is left out.
const { O_DIRECTORY = 0, O_NOFOLLOW = 0, O_NONBLOCK = 0, O_CREAT, O_EXCL, O_RDONLY, O_WRONLY } = constants
/** Of Linux, on every architecture that Node runs on; Node has no name for it. */
const O_PATH = 0o10000000

const kindOf = (entry: Pick<BigIntStats, "isFile" | "isDirectory" | "isSymbolicLink">): Kind =>
  entry.isFile() ? "file" : entry.isDirectory() ? "folder" : entry.isSymbolicLink() ? "link" : "other"

const statusOf = (stats: BigIntStats): Status => ({
  kind: kindOf(stats),
  size: Number(stats.size),
  modified: Number(stats.mtimeMs),
  mode: Number(stats.mode),
  names: Number(stats.nlink),
  device: stats.dev,
  inode: stats.ino
})

const isSame = (left: Status, right: Status): boolean =>
  left.inode === right.inode && left.device === right.device && left.kind === right.kind

const lstat = async (path: string): Promise<Status> => statusOf(await Fs.lstat(path, { bigint: true }))
const fstat = async (handle: Fs.FileHandle): Promise<Status> => statusOf(await handle.stat({ bigint: true }))

const orAbsent = async <A>(found: Promise<A>): Promise<A | undefined> => {
  try {
    return await found
  } catch (error) {
    if (codeOf(error) === "ENOENT") return undefined
    throw error
  }
}

/** How a folder is held. */
export type Holding = "descriptor" | "path"

/** Opens a root, by any path that leads there. Whoever opens it closes `opened`. */
export const openRoot = async (
  path: string,
  opened: Opened,
  holding?: Holding
): Promise<[Directory, Holding]> => {
  const real = await Fs.realpath(path)
  const status = await lstat(real)
  if (status.kind !== "folder")
    throw Object.assign(new Error("not a folder"), { code: "ENOTDIR", syscall: "open" })
  if (holding !== "path" && process.platform === "linux") {
    const root = await byDescriptor(real, status, opened)
    if (root !== undefined) return [root, "descriptor"]
  }
  return [new PathDirectory(real, status, real), "path"]
}

/** `undefined` where descriptors cannot be reached by path: without `/proc`, or with that of somebody else. */
const byDescriptor = async (real: string, status: Status, opened: Opened): Promise<Directory | undefined> => {
  const handle = await opened.open(real, O_PATH | O_DIRECTORY | O_NOFOLLOW)
  const root = new DescriptorDirectory(handle, status)
  try {
    const through = statusOf(await Fs.stat(`${root.path}/.`, { bigint: true }))
    return isSame(through, status) && isSame(await fstat(handle), status) ? root : undefined
  } catch {
    return undefined
  }
}

/** What both have in common: entries by path, from `path`, where `acting` says that this is still the folder. */
abstract class Base {
  readonly status: Status
  readonly path: string

  constructor(path: string, status: Status) {
    this.path = path
    this.status = status
  }

  /** Does something with paths in this folder, if it is still where it was. */
  abstract acting<A>(act: (at: (name: string) => string) => Promise<A>): Promise<A>

  look(name: string): Promise<Status | undefined> {
    return this.acting((at) => orAbsent(lstat(at(name))))
  }

  target(link: string): Promise<string> {
    return this.acting((at) => Fs.readlink(at(link)))
  }

  names(most: number): Promise<ReadonlyArray<Named>> {
    return this.acting(async () => {
      const found: Array<Named> = []
      // Closes itself where the loop is left.
      for await (const entry of await Fs.opendir(this.path, { bufferSize: 1_024 })) {
        if (entry.name.includes("\ufffd")) continue
        const kind = kindOf(entry)
        found.push({ name: entry.name, kind: kind === "other" ? undefined : kind })
        if (found.length >= most) break
      }
      return found
    })
  }

  create(name: string, opened: Opened): Promise<Fs.FileHandle> {
    return this.acting((at) => opened.open(at(name), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o666))
  }

  createFolder(name: string): Promise<void> {
    return this.acting(async (at) => void (await Fs.mkdir(at(name))))
  }

  rename(from: string, to: string): Promise<void> {
    return this.acting((at) => Fs.rename(at(from), at(to)))
  }

  link(from: string, to: string): Promise<void> {
    return this.acting((at) => Fs.link(at(from), at(to)))
  }

  remove(name: string): Promise<void> {
    return this.acting((at) => Fs.unlink(at(name)))
  }

  removeFolder(name: string): Promise<void> {
    return this.acting((at) => Fs.rmdir(at(name)))
  }
}

class DescriptorDirectory extends Base implements Directory {
  constructor(handle: Fs.FileHandle, status: Status) {
    super(`/proc/self/fd/${handle.fd}`, status)
  }

  acting<A>(act: (at: (name: string) => string) => Promise<A>): Promise<A> {
    return act((name) => `${this.path}/${name}`)
  }

  async find(name: string, opened: Opened): Promise<Entry | undefined> {
    const place = await orAbsent(opened.open(`${this.path}/${name}`, O_PATH | O_NOFOLLOW))
    if (place === undefined) return undefined
    const status = await fstat(place)
    // Somebody may have given it this name for just a moment, and it counts as many names as it has now. What the system
    // says that this is called ends in " (deleted)" from when it has lost the name: if it does not, it had it all the time.
    if (
      status.kind === "file" &&
      (await Fs.readlink(`/proc/self/fd/${place.fd}`)) !== `${await Fs.readlink(this.path)}/${name}`
    ) {
      throw new Changed()
    }
    return {
      status,
      open: () => opened.open(`/proc/self/fd/${place.fd}`, O_RDONLY | O_NONBLOCK),
      enter: async () => new DescriptorDirectory(place, status)
    }
  }
}

class PathDirectory extends Base implements Directory {
  readonly #root: string

  constructor(path: string, status: Status, root: string) {
    super(path, status)
    this.#root = root
  }

  async acting<A>(act: (at: (name: string) => string) => Promise<A>): Promise<A> {
    await this.#check()
    const result = await act((name) => Path.join(this.path, name))
    await this.#check()
    return result
  }

  async #check(): Promise<void> {
    const real = await orAbsent(Fs.realpath(this.path))
    const inside = real === this.#root || real?.startsWith(withSeparator(this.#root))
    if (real === undefined || !inside || !isSame(await lstat(real), this.status)) throw new Changed()
  }

  async find(name: string, opened: Opened): Promise<Entry | undefined> {
    const status = await this.look(name)
    if (status === undefined) return undefined
    const path = Path.join(this.path, name)
    return {
      status,
      open: () =>
        this.acting(async () => {
          const handle = await opened.open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
          if (!isSame(await fstat(handle), status)) throw new Changed()
          return handle
        }),
      enter: async () => new PathDirectory(path, status, this.#root)
    }
  }
}

const withSeparator = (path: string): string => (path.endsWith(Path.sep) ? path : path + Path.sep)
