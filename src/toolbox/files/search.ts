/** Searching: names by glob, and text in files. */
import * as Glob from "effect/Glob"
import type { Directory, Entry } from "./directory.ts"
import { FileError, fileError } from "./FileError.ts"
import { namesIn } from "./list.ts"
import { shown } from "./names.ts"
import { decode, excerpt } from "./text.ts"
import { readBytes, type Tree, type Use } from "./tree.ts"

export interface SearchRequest {
  /** Where; everywhere if it is empty. */
  readonly path: string
  /** What names or paths must look like. */
  readonly glob?: string | undefined
  /** What files must have in one of their lines. */
  readonly text?: string | undefined
  readonly caseSensitive: boolean
  /** The most that is found. */
  readonly limit: number
}

export interface Match {
  readonly path: string
  /** Of a match by text. */
  readonly line?: number
  readonly text?: string
  /** Of a match by name. */
  readonly type?: "file" | "folder"
}

export interface Found {
  readonly matches: ReadonlyArray<Match>
  /** How many files and folders were looked at. */
  readonly searched: number
  /** How many files could not be searched for text: too large, no text, or not to be read. */
  readonly skipped: number
  /** Whether there may be more: at the limit, or after so much work. */
  readonly truncated: boolean
}

const mostEntries = 20_000
const mostBytes = 64 * 1_048_576
const mostDepth = 64
const excerptLength = 200

/** Whether a path is looked for: by name where the glob has no slash, else by the path from where the search began. */
const matcher = ({ glob, path }: SearchRequest): ((relative: string, name: string) => boolean) => {
  if (glob === undefined) return () => true
  // Each group of braces multiplies what has to be compared.
  if (glob.length > 256 || glob.split("{").length > 5) {
    throw fileError(
      "invalid_path",
      shown(path),
      "is searched by a glob of at most 256 characters and 4 groups of braces"
    )
  }
  const compiled = Glob.make(glob, { dot: true })
  return glob.includes("/")
    ? (relative) => Glob.match(compiled, relative)
    : (_, name) => Glob.match(compiled, name)
}

/** Searches a folder and those in it, in the order of their names; links are not followed. */
export const search = (tree: Tree, request: SearchRequest, signal?: AbortSignal): Promise<Found> =>
  tree.use(request.path, signal, async (use) => {
    const run = new Search(tree, request, use)
    const [root] = tree.locate(request.path)
    if (root !== undefined) await run.folder(await tree.openFolder(use, (await tree.find(use)).entry), "", 0)
    else for (const [name, { directory }] of tree.roots) await run.folder(directory, name, 0)
    return run.found()
  })

class Search {
  readonly #tree: Tree
  readonly #use: Use
  readonly #request: SearchRequest
  readonly #isWanted: (relative: string, name: string) => boolean
  readonly #needle: string | undefined
  readonly #matches: Array<Match> = []
  #searched = 0
  #skipped = 0
  #bytes = 0
  #truncated = false

  constructor(tree: Tree, request: SearchRequest, use: Use) {
    this.#tree = tree
    this.#use = use
    this.#request = request
    this.#isWanted = matcher(request)
    this.#needle = request.text === undefined ? undefined : this.#fold(request.text)
  }

  found(): Found {
    return {
      matches: this.#matches,
      searched: this.#searched,
      skipped: this.#skipped,
      truncated: this.#truncated
    }
  }

  async folder(directory: Directory, relative: string, depth: number): Promise<void> {
    const { path, signal } = this.#use
    for (const named of await namesIn(this.#tree, this.#use, directory)) {
      signal?.throwIfAborted()
      if (this.#searched >= mostEntries) this.#truncated = true
      if (this.#truncated) return
      const kind = named.kind ?? (await directory.look(named.name))?.kind
      if (kind !== "file" && kind !== "folder") continue
      this.#searched++
      const at = relative === "" ? named.name : `${relative}/${named.name}`
      const wanted = this.#isWanted(at, named.name)
      if (wanted && this.#needle === undefined) this.#add({ path: this.#pathOf(at), type: kind })
      const needle = wanted ? this.#needle : undefined
      if (kind === "file" && needle === undefined) continue
      try {
        // Closed before the next one: a search opens many, and holds those on its way.
        await this.#tree.use(path, signal, async ({ opened }) => {
          const entry = await directory.find(named.name, opened)
          if (entry?.status.kind === "folder") await this.#enter(entry, at, directory, depth)
          else if (entry !== undefined && needle !== undefined) await this.#text(entry, at, needle)
        })
      } catch (error) {
        // What may not be read, or is gone by now, is passed over.
        if (!(error instanceof FileError)) throw error
        this.#skipped++
      }
    }
  }

  async #enter(entry: Entry, path: string, parent: Directory, depth: number): Promise<void> {
    if (entry.status.device !== parent.status.device) return
    if (depth < mostDepth) await this.folder(await entry.enter(), path, depth + 1)
    else this.#skipped++
  }

  async #text({ open, status }: Entry, path: string, needle: string): Promise<void> {
    const { size } = status
    if (size > this.#tree.settings.maxFileBytes || this.#tree.whyNotReadable(status) !== undefined) {
      this.#skipped++
      return
    }
    this.#bytes += size
    if (this.#bytes > mostBytes) {
      this.#truncated = true
      return
    }
    const text = decode(await readBytes(await open(), 0, size))
    if (text === undefined) {
      this.#skipped++
      return
    }
    for (const [index, line] of text.split("\n").entries()) {
      const at = this.#fold(line).indexOf(needle)
      if (at === -1) continue
      this.#add({
        path: this.#pathOf(path),
        line: index + 1,
        text: excerpt(line.replace(/\r$/, ""), at, excerptLength)
      })
      if (this.#truncated) return
    }
  }

  #add(match: Match): void {
    if (this.#matches.length < this.#request.limit) this.#matches.push(match)
    else this.#truncated = true
  }

  #pathOf(relative: string): string {
    const within = this.#use.path.split("/").filter((name) => name !== "" && name !== ".")
    return [...within, relative].join("/")
  }

  #fold(text: string): string {
    return this.#request.caseSensitive ? text : text.toLowerCase()
  }
}
