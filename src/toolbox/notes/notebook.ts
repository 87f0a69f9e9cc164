/** The notes of one folder. */
import type { Entry } from "../files/directory.ts"
import { FileError, fileError, renamed } from "../files/FileError.ts"
import { namesIn } from "../files/list.ts"
import { decode, excerpt } from "../files/text.ts"
import { readBytes, type Tree, type Use } from "../files/tree.ts"
import { remove, write } from "../files/write.ts"
import { fileOf, format, idOf, idOfFile, type Note, parse, placeOf, wordsOf } from "./note.ts"

export interface Listed {
  readonly id: string
  readonly title: string
  /** When it was saved, or changed by somebody. */
  readonly modified: string
}

export interface Found extends Listed {
  /** The line of the first word, or a part of it. */
  readonly excerpt: string
}

const excerptLength = 200

export class Notebook {
  readonly #tree: Tree
  readonly #folder: string
  readonly #signal: AbortSignal

  constructor(tree: Tree, folder: string, signal: AbortSignal) {
    this.#tree = tree
    this.#folder = folder
    this.#signal = signal
  }

  /** Saves a note; one that is there is left as it is. */
  async save(note: Note): Promise<{ readonly id: string; readonly saved: "created" | "unchanged" }> {
    const id = idOf(note)
    const text = format(note)
    if (!text.isWellFormed()) throw fileError("not_text", id, "is not well-formed Unicode")
    const request = { path: this.#pathOf(id), bytes: Buffer.from(text), overwrite: false, parents: true }
    const written = await this.#named(id, write(this.#tree, request, this.#signal))
    return { id, saved: written === "created" ? written : "unchanged" }
  }

  async read(id: string): Promise<Listed & Note> {
    const path = this.#pathOf(id)
    const reading = this.#tree.use(path, this.#signal, async (use) => {
      const { entry } = await this.#tree.find(use, { linkItself: true })
      return this.#noteOf(use, id, entry)
    })
    return this.#named(id, reading)
  }

  /** Deletes a note; whether there was one. */
  delete(id: string): Promise<boolean> {
    return this.#named(id, remove(this.#tree, this.#pathOf(id), this.#signal)).catch(whereThere(false))
  }

  /** Those that were saved last, first. */
  async list(
    offset: number,
    limit: number
  ): Promise<{ readonly notes: ReadonlyArray<Listed>; readonly total: number }> {
    const ids = await this.#ids()
    const notes: Array<Listed> = []
    for await (const { id, modified, title } of this.#each(ids.slice(offset, offset + limit))) {
      notes.push({ id, title, modified })
    }
    return { notes, total: ids.length }
  }

  /** Those in which all words are, in the order of `list`. */
  async search(
    text: string,
    limit: number
  ): Promise<{ readonly notes: ReadonlyArray<Found>; readonly more: boolean }> {
    const words = wordsOf(text)
    const notes: Array<Found> = []
    for await (const { content, id, modified, title } of this.#each(await this.#ids())) {
      const whole = `${title}\n${content}`
      const at = placeOf(words, whole)
      if (at === undefined) continue
      if (notes.length === limit) return { notes, more: true }
      const start = whole.lastIndexOf("\n", at - 1) + 1
      const end = whole.indexOf("\n", at)
      const line = whole.slice(start, end === -1 ? undefined : end)
      notes.push({ id, title, modified, excerpt: excerpt(line, at - start, excerptLength) })
    }
    return { notes, more: false }
  }

  /** The notes that are there, the last one first. */
  #ids(): Promise<ReadonlyArray<string>> {
    return this.#tree
      .use(this.#folder, this.#signal, async (use) => {
        const directory = await this.#tree.openFolder(use, (await this.#tree.find(use)).entry)
        const found: Array<{ readonly id: string; readonly modified: number }> = []
        for (const { name } of await namesIn(this.#tree, use, directory)) {
          this.#signal.throwIfAborted()
          const id = idOfFile(name)
          const status = id === undefined ? undefined : await directory.look(name)
          if (id !== undefined && status?.kind === "file") found.push({ id, modified: status.modified })
        }
        // By name where they are of the same time.
        return found.sort((left, right) => right.modified - left.modified).map(({ id }) => id)
      })
      .catch(whereThere<ReadonlyArray<string>>([]))
  }

  /** Their notes; without those that are gone, or are none. */
  async *#each(ids: ReadonlyArray<string>): AsyncGenerator<Listed & Note> {
    for (const id of ids) {
      try {
        yield await this.read(id)
      } catch (error) {
        if (!(error instanceof FileError)) throw error
      }
    }
  }

  async #noteOf(use: Use, id: string, entry: Entry | undefined): Promise<Listed & Note> {
    const [file, { modified, size }] = await this.#tree.openFile(use, entry)
    if (size > this.#tree.settings.maxFileBytes)
      throw fileError("size", use.path, "is too large to be a note")
    const text = decode(await readBytes(file, 0, size))
    if (text === undefined) throw fileError("not_text", use.path, "is not UTF-8 text")
    return { id, ...parse(text), modified: new Date(modified).toISOString() }
  }

  #pathOf(id: string): string {
    return this.#folder === "" ? fileOf(id) : `${this.#folder}/${fileOf(id)}`
  }

  /** Tells of notes, and not of their files. */
  async #named<A>(id: string, result: Promise<A>): Promise<A> {
    try {
      return await result
    } catch (error) {
      if (!(error instanceof FileError)) throw error
      if (error.reason !== "exists") throw renamed(error, id)
      throw fileError("exists", id, "was changed by somebody after it was saved, and is not replaced")
    }
  }
}

/** Who has saved nothing has no folder. */
const whereThere =
  <A>(otherwise: A) =>
  (error: unknown): A => {
    if (error instanceof FileError && error.reason === "not_found") return otherwise
    throw error
  }
