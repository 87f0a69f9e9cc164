/**
 * Writing and deleting. A file is written beside its place, under a name of its
 * own, and takes the place when it is whole and on the disk: whoever reads sees
 * the old one or the new one. What had the name before keeps its other names, and
 * a link is replaced and not written through.
 */
import { randomUUID } from "node:crypto"
import type { FileHandle } from "node:fs/promises"
import type { Directory, Status } from "./directory.ts"
import { codeOf, fileError } from "./FileError.ts"
import { checkNew, shown, temporary } from "./names.ts"
import { blocksOf } from "./quota.ts"
import { type Place, readBytes, type Tree, type Use } from "./tree.ts"

export interface WriteRequest {
  readonly path: string
  readonly bytes: Uint8Array
  /** Whether a file of that name is replaced. */
  readonly overwrite: boolean
  /** Whether folders that are missing are made. */
  readonly parents: boolean
}

export type Written = "created" | "replaced" | "unchanged"

/** Writes a file. One that has this content already is left as it is. */
export const write = (
  tree: Tree,
  { bytes, overwrite, parents, path }: WriteRequest,
  signal?: AbortSignal
): Promise<Written> =>
  tree.use(path, signal, async (use) => {
    const [root, names] = tree.locate(path)
    const name = names.at(-1)
    if (root === undefined || name === undefined) throw fileError("not_a_file", shown(path), "is a folder")
    tree.checkWritable(use, root)
    if (bytes.length > tree.settings.maxFileBytes) {
      throw fileError("size", shown(path), `would have more than ${tree.settings.maxFileBytes} bytes`)
    }
    const folder = await tree.walk(
      use,
      root,
      names.slice(0, -1),
      false,
      parents ? makeFolder(tree, use) : undefined
    )
    if (folder.entry === undefined) {
      throw fileError("not_found", shown(path), 'is in a folder that does not exist: "parents" makes it')
    }
    const directory = await tree.openFolder(use, folder.entry)
    return tree.alone(directory, name, async () => {
      while (true) {
        const place = await tree.walk(use, { ...root, directory }, [name], true)
        const before = place.entry?.status
        if (before === undefined) checkNew(path, name)
        else {
          checkReplaceable(use, before)
          if (await hasContent(tree, place, bytes)) return "unchanged"
          if (!overwrite) throw fileError("exists", shown(path), 'exists already: "overwrite" replaces it')
        }
        if (await put(tree, use, directory, name, bytes, before)) {
          return before === undefined ? "created" : "replaced"
        }
        // Another process has created it meanwhile: now it is one that is there.
      }
    })
  })

/** Makes a folder on the way to a file. */
const makeFolder = (tree: Tree, use: Use) => async (parent: Directory, name: string) => {
  checkNew(use.path, name)
  take(tree, use, blocksOf(0))
  try {
    await parent.createFolder(name)
  } catch (error) {
    tree.quota.take(-blocksOf(0))
    // Somebody else has made it: whoever walks looks at what it is.
    if (codeOf(error) !== "EEXIST") throw error
  }
}

const checkReplaceable = ({ path }: Use, { kind }: Status): void => {
  if (kind === "folder") throw fileError("not_a_file", shown(path), "is a folder")
  if (kind === "link") throw fileError("not_a_file", shown(path), "is a link: write to what it leads to")
  if (kind === "other") throw fileError("not_a_file", shown(path), "is not a file")
}

/** Whether a file has exactly these bytes; of one that may not be read nobody learns. */
const hasContent = async (tree: Tree, { entry }: Place, bytes: Uint8Array): Promise<boolean> => {
  const { status } = entry!
  if (status.size !== bytes.length || tree.whyNotReadable(status) !== undefined) return false
  const there = await readBytes(await entry!.open(), 0, bytes.length)
  return Buffer.compare(there, bytes) === 0
}

/** Puts a file in its place; `false` where a new one found it taken. */
const put = async (
  tree: Tree,
  use: Use,
  directory: Directory,
  name: string,
  bytes: Uint8Array,
  before: Status | undefined
): Promise<boolean> => {
  const growth = blocksOf(bytes.length) - (before?.names === 1 ? blocksOf(before.size) : 0)
  take(tree, use, growth)
  const own = temporary(randomUUID())
  let isDone = false
  try {
    const file = await directory.create(own, use.opened)
    await file.writeFile(bytes)
    if (before !== undefined) await file.chmod(before.mode & 0o777)
    // Else a loss of power could leave the new name with nothing in it.
    await file.sync()
    use.signal?.throwIfAborted()
    if (before === undefined) isDone = await place(tree, file, directory, own, name)
    else {
      await directory.rename(own, name)
      isDone = true
    }
    return isDone
  } finally {
    if (!isDone) tree.quota.take(-growth)
    await directory.remove(own).catch(() => {})
  }
}

/** Gives a new file its name, if nothing has it by now. */
const place = async (
  tree: Tree,
  file: FileHandle,
  directory: Directory,
  own: string,
  name: string
): Promise<boolean> => {
  const { ino } = await file.stat({ bigint: true })
  tree.placing.add(ino)
  try {
    await directory.link(own, name)
    await directory.remove(own)
    return true
  } catch (error) {
    const code = codeOf(error) ?? ""
    if (code === "EEXIST") return false
    // Some file systems have no second names. Looking and renaming are two steps there.
    if (!["EPERM", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EMLINK"].includes(code)) throw error
    if ((await directory.look(name)) !== undefined) return false
    await directory.rename(own, name)
    return true
  } finally {
    tree.placing.delete(ino)
  }
}

const take = (tree: Tree, { path }: Pick<Use, "path">, bytes: number): void => {
  if (tree.quota.take(bytes)) return
  throw fileError(
    "no_space",
    shown(path),
    `has no room: these tools may add ${tree.quota.limit} bytes in all`
  )
}

/** Deletes a file, a link (and not what it leads to) or an empty folder; whether there was one. */
export const remove = (tree: Tree, path: string, signal?: AbortSignal): Promise<boolean> =>
  tree.use(path, signal, async (use) => {
    const { entry, name, parent, root } = await tree.find(use, { linkItself: true })
    tree.checkWritable(use, root)
    if (parent === undefined) throw fileError("denied", shown(path), "is a root, which is not deleted")
    if (entry === undefined) return false
    return tree.alone(parent, name, async () => {
      const status = await parent.look(name)
      if (status === undefined) return false
      const { kind, names, size } = status
      try {
        await (kind === "folder" ? parent.removeFolder(name) : parent.remove(name))
      } catch (error) {
        if (codeOf(error) === "ENOENT") return false
        throw error
      }
      if (kind === "folder" || (kind === "file" && names === 1)) {
        tree.quota.take(-blocksOf(kind === "file" ? size : 0))
      }
      return true
    })
  })
