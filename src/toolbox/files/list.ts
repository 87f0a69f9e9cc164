/** What is in a folder. */
import type { Directory, Named, Status } from "./directory.ts"
import { fileError } from "./FileError.ts"
import { isHidden, shown } from "./names.ts"
import type { Tree, Use } from "./tree.ts"

export interface Listed {
  readonly name: string
  readonly type: "file" | "folder" | "link" | "other"
  /** In bytes, of a file that may be read. */
  readonly size?: number
  /** Of a file that may be read, and of a folder. */
  readonly modified?: string
}

/** More names than this nobody sorts. */
const mostNames = 100_000

/** The names of a folder that may be seen, in order. */
export const namesIn = async (
  tree: Tree,
  { path }: Pick<Use, "path">,
  directory: Directory
): Promise<ReadonlyArray<Named>> => {
  const names = await directory.names(mostNames + 1)
  if (names.length > mostNames) throw fileError("size", shown(path), `has more than ${mostNames} entries`)
  return names
    .filter(({ name }) => !isHidden(name, tree.settings.hidden))
    .sort((left, right) => (left.name < right.name ? -1 : 1))
}

export interface ListRequest {
  /** The root where it is empty; the names of the roots where there are several. */
  readonly path: string
  /** Lists what comes after this name. */
  readonly after?: string | undefined
  readonly limit: number
}

/** Lists a folder by name; `next` is where to go on. */
export const list = (
  tree: Tree,
  { after, limit, path }: ListRequest,
  signal?: AbortSignal
): Promise<{ readonly entries: ReadonlyArray<Listed>; readonly next?: string }> =>
  tree.use(path, signal, async (use) => {
    const [root] = tree.locate(path)
    const directory =
      root === undefined ? undefined : await tree.openFolder(use, (await tree.find(use)).entry)
    const all = directory === undefined ? rootsOf(tree) : await namesIn(tree, use, directory)
    const rest = after === undefined ? all : all.filter(({ name }) => name > after)
    const entries: Array<Listed> = []
    for (const { name } of rest.slice(0, limit)) {
      signal?.throwIfAborted()
      const status =
        directory === undefined
          ? tree.roots.get(name)?.directory.status
          : await tree.statusOf(use, directory, name)
      if (status !== undefined) entries.push(listed(tree, name, status))
    }
    return { entries, ...(rest.length > limit ? { next: rest[limit - 1]!.name } : {}) }
  })

const rootsOf = (tree: Tree): ReadonlyArray<Named> =>
  [...tree.roots.keys()].sort().map((name) => ({ name, kind: "folder" }))

// What may be outside is not told of.
const listed = (tree: Tree, name: string, status: Status): Listed => {
  const { kind, modified, size } = status
  if (kind === "folder") return { name, type: kind, modified: new Date(modified).toISOString() }
  if (tree.whyNotReadable(status) !== undefined) return { name, type: kind }
  return { name, type: kind, size, modified: new Date(modified).toISOString() }
}
