/** What the file tools do with files that are theirs; what they must not do is in `filesEscape.test.ts`. */
import { execFileSync } from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Schema } from "effect"
import { Principal, ToolAnnotations, ToolExecutor } from "effect-interlock"
import * as Testing from "effect-interlock/testing"
import { Files } from "effect-interlock/toolbox"
import * as Fc from "fast-check"
import { list } from "../src/toolbox/files/list.ts"
import { read } from "../src/toolbox/files/read.ts"
import { search } from "../src/toolbox/files/search.ts"
import { Tree } from "../src/toolbox/files/tree.ts"
import { write } from "../src/toolbox/files/write.ts"
import { folders, isRoot } from "./support/folders.ts"

type Tools = typeof Files.toolkit.tools
type Run = ToolExecutor.ToolExecutor<Tools>["run"]

/** Tools on a root of their own. */
const opened = Effect.fnUntraced(function* (options: Partial<Files.Options> = {}) {
  const { at, root } = yield* folders
  const services = yield* Layer.build(Layer.merge(Files.layer({ roots: root, ...options }), Testing.layer()))
  const executor = yield* Effect.provide(ToolExecutor.make(Files.toolkit), services)
  const ada = Principal.make({ id: "ada", roles: ["admin"] })
  const run: Run = (name, params, options) => Principal.provide(executor.run(name, params, options), ada)
  return { at, root, run, executor }
})

/** The same without tools and without what governs them. */
const bare = Effect.fnUntraced(function* () {
  const there = yield* folders
  const tree = yield* Effect.acquireRelease(
    Effect.promise(() =>
      Tree.open({
        roots: { path: there.root },
        hidden: false,
        hardLinks: false,
        maxFileBytes: 1e6,
        quota: 1e6
      })
    ),
    (tree) => Effect.promise(() => tree.close())
  )
  return { ...there, tree }
})

/** Why a call failed, by the tool's own reason. */
const reason = <A, E, R>(call: Effect.Effect<A, E, R>) =>
  Effect.map(Effect.flip(call), (error) =>
    error instanceof Files.FileError ? error.reason : assert.fail(`${error}`)
  )
const message = <A, E, R>(call: Effect.Effect<A, E, R>) =>
  Effect.map(Effect.flip(call), (error) => `${(error as Error).message}`)

const text = (file: string) => Fs.readFileSync(file, "utf8")

describe("file_read", () => {
  it.effect("reads a file, and says how large it is", () =>
    Effect.gen(function* () {
      const { run } = yield* opened()
      const whole = { content: "hello\nworld\n", encoding: "text", size: 12 } as const
      for (const path of ["hello.txt", "./hello.txt", ".//hello.txt", "hello.txt/"]) {
        assert.deepStrictEqual(yield* run("file_read", { path }), whole)
      }
      assert.deepStrictEqual(yield* run("file_read", { path: "hello.txt", encoding: "base64" }), {
        content: Buffer.from("hello\nworld\n").toString("base64"),
        encoding: "base64",
        size: 12
      })
    })
  )

  it.effect("reads lines, and says where to go on", () =>
    Effect.gen(function* () {
      const { at, run } = yield* opened()
      Fs.writeFileSync(at("lines"), "one\ntwo\r\nthree\n\nfive")
      const lines = (line?: number, lines?: number) =>
        run("file_read", {
          path: "lines",
          ...(line === undefined ? {} : { line }),
          ...(lines === undefined ? {} : { lines })
        })
      assert.deepStrictEqual(yield* lines(2, 2), {
        content: "two\r\nthree\n",
        encoding: "text",
        size: 20,
        nextOffset: 15,
        nextLine: 4
      })
      assert.deepStrictEqual(yield* lines(4), { content: "\nfive", encoding: "text", size: 20 })
      assert.deepStrictEqual(yield* lines(5, 9), { content: "five", encoding: "text", size: 20 })
      assert.deepStrictEqual(yield* lines(undefined, 1), {
        content: "one\n",
        encoding: "text",
        size: 20,
        nextOffset: 4,
        nextLine: 2
      })
      assert.match(yield* message(lines(7)), /has only 5 lines/)
      assert.strictEqual(yield* reason(run("file_read", { path: "lines", line: 1, offset: 1 })), "size")
    })
  )

  it.effect("reads bytes by offset and length, and text in whole characters", () =>
    Effect.gen(function* () {
      const { at, run } = yield* opened({ maxReadBytes: 8 })
      Fs.writeFileSync(at("uml.txt"), "äöü€😀z")
      const seen: Array<string> = []
      let offset: number | undefined = 0
      while (offset !== undefined) {
        const part: { content: string; nextOffset?: number } = yield* run("file_read", {
          path: "uml.txt",
          offset,
          length: 5
        })
        seen.push(part.content)
        offset = part.nextOffset
      }
      assert.deepStrictEqual(seen, ["äö", "ü€", "😀z"])
      assert.strictEqual((yield* run("file_read", { path: "uml.txt", offset: 1 })).content, "öü€")
      assert.strictEqual((yield* run("file_read", { path: "uml.txt", offset: 14 })).content, "")
      assert.strictEqual(yield* reason(run("file_read", { path: "uml.txt", offset: 15 })), "size")
    })
  )

  it.effect("puts parts together to the whole, however they are cut", () =>
    Effect.gen(function* () {
      const { at, run } = yield* opened()
      yield* Effect.promise(() =>
        Fc.assert(
          Fc.asyncProperty(
            Fc.string({ unit: "binary", maxLength: 60 }),
            Fc.integer({ min: 1, max: 9 }),
            async (content, length) => {
              const clean = content.replaceAll("\0", "")
              Fs.writeFileSync(at("parts"), clean)
              const parts: Array<string> = []
              let offset: number | undefined = 0
              while (offset !== undefined) {
                const part: { content: string; nextOffset?: number } = await Effect.runPromise(
                  run("file_read", { path: "parts", offset, length })
                )
                parts.push(part.content)
                assert.isAbove(part.nextOffset ?? Number.POSITIVE_INFINITY, offset)
                offset = part.nextOffset
              }
              assert.strictEqual(parts.join(""), clean)
            }
          )
        )
      )
    })
  )

  it.effect("refuses as text what is none, and reads it as base64", () =>
    Effect.gen(function* () {
      const { at, run } = yield* opened()
      for (const bytes of [[0xff, 0xfe, 0x41], [0x41, 0x00], [0xc3], [0xed, 0xa0, 0x80]]) {
        Fs.writeFileSync(at("binary"), Buffer.from(bytes))
        assert.strictEqual(yield* reason(run("file_read", { path: "binary" })), "not_text")
        const { content } = yield* run("file_read", { path: "binary", encoding: "base64" })
        assert.deepStrictEqual([...Buffer.from(content, "base64")], bytes)
      }
      Fs.writeFileSync(at("bom"), "\ufeffx")
      assert.strictEqual((yield* run("file_read", { path: "bom" })).content, "\ufeffx")
    })
  )

  it.effect("reads a part of a huge file, and looks for lines only so far", () =>
    Effect.gen(function* () {
      const { at, run } = yield* opened({ maxFileBytes: 100_000 })
      const huge = Fs.openSync(at("huge"), "w")
      Fs.writeSync(huge, "first\n")
      Fs.writeSync(huge, "last", 2 ** 40)
      Fs.closeSync(huge)
      const whole = yield* run("file_read", { path: "huge", encoding: "base64" })
      assert.deepStrictEqual([whole.size, whole.nextOffset], [2 ** 40 + 4, 262_144])
      assert.strictEqual((yield* run("file_read", { path: "huge", offset: 2 ** 40 })).content, "last")
      assert.strictEqual((yield* run("file_read", { path: "huge", lines: 1 })).content, "first\n")
      assert.match(yield* message(run("file_read", { path: "huge", line: 3 })), /too far behind/)
    })
  )

  it.effect("says what is not there, is a folder, or may not be read", () =>
    Effect.gen(function* () {
      const { at, run } = yield* opened()
      assert.strictEqual(
        yield* message(run("file_read", { path: "docs/none" })),
        '"docs/none" does not exist'
      )
      assert.strictEqual(yield* reason(run("file_read", { path: "none/none" })), "not_found")
      assert.strictEqual(yield* reason(run("file_read", { path: "hello.txt/x" })), "not_a_folder")
      assert.strictEqual(yield* reason(run("file_read", { path: "docs" })), "not_a_file")
      assert.strictEqual(yield* reason(run("file_read", { path: "" })), "not_a_file")
      if (isRoot) return
      Fs.chmodSync(at("hello.txt"), 0)
      assert.strictEqual(yield* reason(run("file_read", { path: "hello.txt" })), "denied")
    })
  )
})

describe("file_list", () => {
  it.effect("lists what is in a folder, by name, with sizes and times", () =>
    Effect.gen(function* () {
      const { at, run } = yield* opened()
      Fs.utimesSync(at("hello.txt"), 1, 1)
      Fs.utimesSync(at("docs"), 2, 2)
      const listing = [
        { name: "docs", type: "folder", modified: "1970-01-01T00:00:02.000Z" },
        { name: "hello.txt", type: "file", size: 12, modified: "1970-01-01T00:00:01.000Z" }
      ] as const
      assert.deepStrictEqual(yield* run("file_list", {}), { entries: listing })
      assert.deepStrictEqual(yield* run("file_list", { path: "." }), { entries: listing })
      const names = (yield* run("file_list", { path: "docs/" })).entries.map(({ name }) => name)
      assert.deepStrictEqual(names, ["deep", "plan.md"])
      assert.strictEqual(yield* reason(run("file_list", { path: "hello.txt" })), "not_a_folder")
      assert.strictEqual(yield* reason(run("file_list", { path: "none" })), "not_found")
    })
  )

  it.effect("lists many in pages", () =>
    Effect.gen(function* () {
      const { at, run } = yield* opened()
      const names = Array.from({ length: 25 }, (_, n) => `f${String(n).padStart(2, "0")}`)
      Fs.mkdirSync(at("many"))
      for (const name of names) Fs.writeFileSync(at(`many/${name}`), "")
      const seen: Array<string> = []
      let after: string | undefined
      do {
        const page: { entries: ReadonlyArray<{ name: string }>; next?: string } = yield* run("file_list", {
          path: "many",
          limit: 10,
          ...(after === undefined ? {} : { after })
        })
        seen.push(...page.entries.map(({ name }) => name))
        after = page.next
      } while (after !== undefined)
      assert.deepStrictEqual(seen, names)
    })
  )
})

describe("file_search", () => {
  it.effect("finds names by glob, anywhere or by path", () =>
    Effect.gen(function* () {
      const { run } = yield* opened()
      const found = (params: Parameters<typeof run<"file_search">>[1]) =>
        Effect.map(run("file_search", params), ({ matches }) =>
          matches.map(({ path, type }) => `${path} ${type}`)
        )
      assert.deepStrictEqual(yield* found({ glob: "*.md" }), ["docs/deep/notes.md file", "docs/plan.md file"])
      assert.deepStrictEqual(yield* found({ glob: "docs/*.md" }), ["docs/plan.md file"])
      assert.deepStrictEqual(yield* found({ glob: "**/deep" }), ["docs/deep folder"])
      assert.deepStrictEqual(yield* found({ path: "docs", glob: "deep/*" }), ["docs/deep/notes.md file"])
      assert.deepStrictEqual(yield* found({ glob: "{plan,notes}.*" }), [
        "docs/deep/notes.md file",
        "docs/plan.md file"
      ])
      assert.deepStrictEqual(yield* found({ glob: "*.none" }), [])
      assert.strictEqual(yield* reason(found({ glob: "{a,b}".repeat(5) })), "invalid_path")
      assert.strictEqual(yield* reason(found({ glob: "*".repeat(257) })), "invalid_path")
      assert.lengthOf(yield* found({}), 5)
    })
  )

  it.effect("finds lines by a text, in files by glob", () =>
    Effect.gen(function* () {
      const { at, run } = yield* opened()
      const found = (params: Parameters<typeof run<"file_search">>[1]) =>
        Effect.map(run("file_search", params), ({ matches }) =>
          matches.map(({ line, path, text }) => `${path}:${line} ${text}`)
        )
      assert.deepStrictEqual(yield* found({ text: "THINK" }), [
        "docs/deep/notes.md:1 think again",
        "docs/plan.md:3 First, think."
      ])
      assert.deepStrictEqual(yield* found({ text: "Think", caseSensitive: true }), [])
      assert.deepStrictEqual(yield* found({ text: "think", glob: "plan.*" }), [
        "docs/plan.md:3 First, think."
      ])
      assert.deepStrictEqual(yield* found({ text: "hello", path: "docs" }), [])
      // A pattern is only a text.
      assert.deepStrictEqual(yield* found({ text: "(think|.)*" }), [])
      Fs.writeFileSync(at("long"), `${"x".repeat(5_000)}needle${"y".repeat(5_000)}\r\n`)
      const [line] = yield* found({ text: "needle" })
      assert.match(line!, /^long:1 …x{50}needley{144}…$/)
    })
  )

  it.effect("passes over what is too large, no text or not to be read, and says how much", () =>
    Effect.gen(function* () {
      const { at, run } = yield* opened({ maxFileBytes: 1_000 })
      Fs.writeFileSync(at("binary"), Buffer.from("think\0"))
      Fs.writeFileSync(at("large"), "think".repeat(1_000))
      Fs.linkSync(at("hello.txt"), at("other-name.txt"))
      const { matches, searched, skipped, truncated } = yield* run("file_search", { text: "think" })
      assert.lengthOf(matches, 2)
      assert.deepStrictEqual([searched, skipped, truncated], [8, 4, false])
    })
  )

  it.effect("stops at its limit, and says so", () =>
    Effect.gen(function* () {
      const { at, run } = yield* opened()
      Fs.writeFileSync(at("many"), "x\n".repeat(10))
      const ten = yield* run("file_search", { text: "x", glob: "many", limit: 10 })
      const nine = yield* run("file_search", { text: "x", glob: "many", limit: 9 })
      assert.deepStrictEqual(
        [ten.matches.length, ten.truncated, nine.matches.length, nine.truncated],
        [10, false, 9, true]
      )
    })
  )

  it.effect("ends when its call does", () =>
    Effect.gen(function* () {
      const { tree } = yield* bare()
      const stopping = new AbortController()
      const searching = search(tree, { path: "", glob: "*", caseSensitive: false, limit: 1 }, stopping.signal)
      stopping.abort(new Error("stopped"))
      const error = yield* Effect.flip(Effect.tryPromise({ try: () => searching, catch: (error) => error }))
      assert.strictEqual((error as Error).message, "stopped")
    })
  )
})

describe("file_write", () => {
  it.effect("creates a file, and leaves nothing else", () =>
    Effect.gen(function* () {
      const { at, run } = yield* opened()
      assert.deepStrictEqual(yield* run("file_write", { path: "new.txt", content: "né" }), {
        written: "created",
        size: 3
      })
      assert.strictEqual(text(at("new.txt")), "né")
      assert.deepStrictEqual(Fs.readdirSync(at(".")), [".hidden", "docs", "hello.txt", "new.txt"])
      const umask = process.umask()
      assert.strictEqual(Fs.statSync(at("new.txt")).mode & 0o777, 0o666 & ~umask)
      yield* run("file_write", { path: "bytes", content: "AP8=", encoding: "base64" })
      assert.deepStrictEqual([...Fs.readFileSync(at("bytes"))], [0, 255])
      yield* run("file_write", { path: "empty", content: "" })
      assert.strictEqual(text(at("empty")), "")
    })
  )

  it.effect("replaces a file only if it is told to, as a whole and with its mode", () =>
    Effect.gen(function* () {
      const { at, run } = yield* opened()
      Fs.chmodSync(at("hello.txt"), 0o640)
      const reader = Fs.openSync(at("hello.txt"), "r")
      const content = "new"
      assert.match(
        yield* message(run("file_write", { path: "hello.txt", content })),
        /exists already: "overwrite"/
      )
      assert.strictEqual(text(at("hello.txt")), "hello\nworld\n")
      assert.strictEqual(
        (yield* run("file_write", { path: "hello.txt", content, overwrite: true })).written,
        "replaced"
      )
      assert.strictEqual(text(at("hello.txt")), "new")
      assert.strictEqual(Fs.statSync(at("hello.txt")).mode & 0o777, 0o640)
      assert.strictEqual(Fs.readFileSync(reader, "utf8"), "hello\nworld\n")
      Fs.closeSync(reader)
    })
  )

  it.effect("changes nothing where the content is there already", () =>
    Effect.gen(function* () {
      const { at, run } = yield* opened()
      Fs.utimesSync(at("hello.txt"), 1, 1)
      for (const overwrite of [false, true]) {
        const written = yield* run("file_write", { path: "hello.txt", content: "hello\nworld\n", overwrite })
        assert.deepStrictEqual(written, { written: "unchanged", size: 12 })
      }
      assert.strictEqual(Fs.statSync(at("hello.txt")).mtimeMs, 1_000)
    })
  )

  it.effect("makes missing folders only if it is told to", () =>
    Effect.gen(function* () {
      const { at, run } = yield* opened()
      const file = { path: "a/b/c.txt", content: "x" }
      assert.strictEqual(yield* reason(run("file_write", file)), "not_found")
      assert.match(yield* message(run("file_write", { path: "a/c.txt", content: "x" })), /"parents" makes it/)
      assert.isFalse(Fs.existsSync(at("a")))
      assert.strictEqual((yield* run("file_write", { ...file, parents: true })).written, "created")
      assert.strictEqual(text(at("a/b/c.txt")), "x")
      assert.strictEqual(
        (yield* run("file_write", { path: "a/d.txt", content: "x", parents: true })).written,
        "created"
      )
    })
  )

  it.effect("refuses what is no content, or too much of it", () =>
    Effect.gen(function* () {
      const { at, run } = yield* opened({ maxFileBytes: 4 })
      for (const [content, encoding] of [
        ["\ud800", "text"],
        ["AA=A", "base64"],
        ["AA", "base64"],
        ["A A=", "base64"],
        ["AB==", "base64"]
      ] as const) {
        assert.strictEqual(yield* reason(run("file_write", { path: "x", content, encoding })), "not_text")
      }
      assert.strictEqual(yield* reason(run("file_write", { path: "x", content: "12345" })), "size")
      assert.strictEqual(
        yield* reason(run("file_write", { path: "docs", content: "x", overwrite: true })),
        "not_a_file"
      )
      assert.strictEqual(yield* reason(run("file_write", { path: "", content: "x" })), "not_a_file")
      assert.isFalse(Fs.existsSync(at("x")))
    })
  )

  it.effect("gives no names that nobody can see or type, and reads those that are there", () =>
    Effect.gen(function* () {
      const { at, tree } = yield* bare()
      const put = (path: string) =>
        write(tree, { path, bytes: Buffer.from("x"), overwrite: false, parents: true }).catch(
          (error) => error.reason
        )
      const odd = [
        "a\nb",
        "a\u202eb",
        "a\u200bb",
        " a",
        "a ",
        "e\u0301",
        "\ufeffa",
        "a\u2028b",
        "a\u0007",
        "\u{e0041}"
      ]
      for (const name of odd) {
        assert.strictEqual(yield* Effect.promise(() => put(name)), "invalid_path", JSON.stringify(name))
        assert.strictEqual(
          yield* Effect.promise(() => put(`${name}/x`)),
          "invalid_path",
          JSON.stringify(name)
        )
        Fs.writeFileSync(at(name), "there")
        const { content } = yield* Effect.promise(() => read(tree, { path: name }, 9))
        assert.strictEqual(content, "there")
      }
      const fine = [
        "é",
        "日本語",
        "a b",
        "🙂",
        "x'y\"z",
        "$(id)",
        "-rf",
        "%2e%2e",
        "．．",
        "10:30.log",
        "CON",
        "x".repeat(255)
      ]
      for (const path of fine) assert.strictEqual(yield* Effect.promise(() => put(path)), "created")
      const { entries } = yield* Effect.promise(() => list(tree, { path: "", limit: 100 }))
      assert.includeMembers(
        entries.map(({ name }) => name),
        [...fine, ...odd]
      )
    })
  )

  it.effect("writes at once what is written at once: one of them wins, whole", () =>
    Effect.gen(function* () {
      const { at, run } = yield* opened()
      const write = (n: number, overwrite: boolean) =>
        run("file_write", { path: "same", content: `${n}`.repeat(10_000), overwrite })
      const all = Array.from({ length: 20 }, (_, n) => n % 10)
      const first = yield* Effect.forEach(all, (n) => Effect.result(write(n, false)), {
        concurrency: "unbounded"
      })
      const created = first.filter(
        (result) => result._tag === "Success" && result.success.written === "created"
      )
      assert.lengthOf(created, 1)
      assert.match(text(at("same")), /^(\d)\1{9999}$/)
      yield* Effect.forEach(all, (n) => write(n, true), { concurrency: "unbounded" })
      assert.match(text(at("same")), /^(\d)\1{9999}$/)
      assert.deepStrictEqual(Fs.readdirSync(at(".")), [".hidden", "docs", "hello.txt", "same"])
    })
  )

  it.effect("never shows a file that is being created as one with two names", () =>
    Effect.gen(function* () {
      const { run } = yield* opened()
      const seen = new Set<string>()
      const numbers = Array.from({ length: 150 }, (_, n) => n)
      yield* Effect.all(
        [
          Effect.forEach(numbers, (n) => run("file_write", { path: `f${n}`, content: "x" })),
          Effect.forEach(numbers, (n) =>
            Effect.map(Effect.result(run("file_read", { path: `f${n}` })), (result) =>
              seen.add(result._tag === "Success" ? "read" : (result.failure as Files.FileError).reason)
            )
          ).pipe(Effect.repeat({ times: 3 }))
        ],
        { concurrency: "unbounded" }
      )
      assert.isTrue(seen.has("read"))
      assert.deepStrictEqual(
        [...seen].filter((outcome) => outcome !== "read" && outcome !== "not_found"),
        []
      )
    })
  )
})

describe("file_delete", () => {
  it.effect("deletes a file or an empty folder, and says whether there was one", () =>
    Effect.gen(function* () {
      const { at, run } = yield* opened()
      assert.deepStrictEqual(yield* run("file_delete", { path: "hello.txt" }), { deleted: true })
      assert.deepStrictEqual(yield* run("file_delete", { path: "hello.txt" }), { deleted: false })
      assert.strictEqual(yield* reason(run("file_delete", { path: "docs" })), "not_empty")
      Fs.mkdirSync(at("empty"))
      assert.deepStrictEqual(yield* run("file_delete", { path: "empty" }), { deleted: true })
      for (const path of ["", ".", "./"])
        assert.strictEqual(yield* reason(run("file_delete", { path })), "denied")
      assert.strictEqual(yield* reason(run("file_delete", { path: "docs/plan.md/x" })), "not_a_folder")
      assert.deepStrictEqual(Fs.readdirSync(at(".")), [".hidden", "docs"])
    })
  )
})

describe("roots", () => {
  it.effect("can be several, which paths begin with", () =>
    Effect.gen(function* () {
      const { root } = yield* folders
      const { root: other } = yield* folders
      const { run } = yield* opened({
        roots: { mine: root, "their-docs": { path: Path.join(other, "docs"), readonly: true } }
      })
      const names = (path?: string) =>
        Effect.map(run("file_list", path === undefined ? {} : { path }), ({ entries }) =>
          entries.map(({ name, type }) => `${name} ${type}`)
        )
      assert.deepStrictEqual(yield* names(), ["mine folder", "their-docs folder"])
      assert.deepStrictEqual(yield* names("their-docs"), ["deep folder", "plan.md file"])
      assert.strictEqual((yield* run("file_read", { path: "mine/hello.txt" })).size, 12)
      assert.match(
        yield* message(run("file_read", { path: "hello.txt" })),
        /roots?, which are: mine, their-docs$/
      )
      assert.strictEqual(yield* reason(run("file_write", { path: "their-docs/x", content: "x" })), "denied")
      assert.strictEqual(yield* reason(run("file_delete", { path: "their-docs/plan.md" })), "denied")
      assert.strictEqual(yield* reason(run("file_write", { path: "x", content: "x" })), "not_found")
      assert.strictEqual(yield* reason(run("file_delete", { path: "" })), "not_a_file")
      assert.strictEqual((yield* run("file_write", { path: "mine/x", content: "x" })).written, "created")
      const { matches } = yield* run("file_search", { glob: "*.md" })
      assert.deepStrictEqual(
        matches.map(({ path }) => path),
        ["mine/docs/deep/notes.md", "mine/docs/plan.md", "their-docs/deep/notes.md", "their-docs/plan.md"]
      )
    })
  )

  it.effect("have to be folders that are there", () =>
    Effect.gen(function* () {
      const { at, root } = yield* folders
      const fails = (roots: Files.Options["roots"]) =>
        Effect.map(Effect.flip(Effect.scoped(Layer.build(Files.layer({ roots })))), ({ reason }) => reason)
      assert.strictEqual(yield* fails(at("none")), "not_found")
      assert.strictEqual(yield* fails(at("hello.txt")), "not_a_folder")
      assert.strictEqual(yield* fails({ fine: root, none: at("none") }), "not_found")
    })
  )

  it("have names, and limits that make sense", () => {
    const refused = (options: object) =>
      assert.throws(() => Files.layer(options as Files.Options), RangeError)
    refused({ roots: {} })
    for (const name of ["", "a/b", "..", "a b", "é", "x".repeat(65)]) refused({ roots: { [name]: "/" } })
    refused({ roots: "/", quota: -1 })
    refused({ roots: "/", maxFileBytes: 1.5 })
    refused({ roots: "/", maxReadBytes: 3 })
  })

  it("are what a configuration can say", () => {
    const decode = Schema.decodeUnknownSync(Files.Options, { onExcessProperty: "error" })
    for (const roots of ["/a", { path: "/a", readonly: true }, { a: "/a", b: { path: "/b" } }]) {
      assert.deepStrictEqual(decode({ roots, hidden: true, quota: 1 }).roots, roots)
    }
    for (const roots of [undefined, 1, [], "", { a: 1 }]) assert.throws(() => decode({ roots }))
  })

  it.effect("stay what they were when the layer was built", () =>
    Effect.gen(function* () {
      const { at, root, run } = yield* opened()
      Fs.renameSync(root, `${root}-moved`)
      Fs.mkdirSync(root)
      Fs.writeFileSync(at("hello.txt"), "another")
      assert.strictEqual((yield* run("file_read", { path: "hello.txt" })).content, "hello\nworld\n")
    })
  )
})

describe("a layer that has ended", () => {
  it.effect("lets what is under way end, and begins nothing more", () =>
    Effect.gen(function* () {
      const { tree } = yield* bare()
      const reading = read(tree, { path: "docs/deep/notes.md" }, 99)
      yield* Effect.promise(() => tree.close())
      assert.strictEqual((yield* Effect.promise(() => reading)).content, "think again\n")
      const refused = yield* Effect.promise(() =>
        read(tree, { path: "hello.txt" }, 99).catch((error) => error)
      )
      assert.strictEqual((refused as Files.FileError).reason, "changed")
    })
  )
})

describe("hidden names", () => {
  it.effect("are not there unless they are shown", () =>
    Effect.gen(function* () {
      const { at, run } = yield* opened()
      Fs.mkdirSync(at(".git"))
      Fs.writeFileSync(at(".git/config"), "x")
      for (const path of [".hidden", ".git/config", ".git"]) {
        assert.strictEqual(yield* reason(run("file_read", { path })), "denied")
        assert.strictEqual(
          yield* reason(run("file_write", { path, content: "x", overwrite: true })),
          "denied"
        )
        assert.strictEqual(yield* reason(run("file_delete", { path })), "denied")
      }
      Fs.symlinkSync(".hidden", at("shown"))
      assert.strictEqual(yield* reason(run("file_read", { path: "shown" })), "denied")
      assert.deepStrictEqual((yield* run("file_search", { text: "nothing" })).matches, [])
    })
  )

  it.effect("are like any other where they are shown", () =>
    Effect.gen(function* () {
      const { at, run } = yield* opened({ hidden: true })
      assert.strictEqual((yield* run("file_read", { path: ".hidden" })).content, "think of nothing\n")
      assert.strictEqual((yield* run("file_search", { glob: ".h*" })).matches.length, 1)
      const left = ".interlock-00000000-0000-0000-0000-000000000000.tmp"
      Fs.writeFileSync(at(left), "of somebody who died")
      assert.isFalse((yield* run("file_list", {})).entries.some(({ name }) => name === left))
      assert.strictEqual(yield* reason(run("file_delete", { path: left })), "denied")
    })
  )
})

describe("the quota", () => {
  it.effect("bounds by how much the roots grow, in blocks", () =>
    Effect.gen(function* () {
      const { at, run } = yield* opened({ quota: 3 * 4_096 })
      const write = (path: string, size: number) =>
        run("file_write", { path, content: "x".repeat(size), overwrite: true, parents: true })
      yield* write("a", 4_097)
      assert.strictEqual(yield* reason(write("b", 4_097)), "no_space")
      assert.isFalse(Fs.existsSync(at("b")))
      yield* write("b", 0)
      assert.strictEqual(yield* reason(write("c", 0)), "no_space")
      assert.strictEqual(yield* reason(write("folder/c", 0)), "no_space")
      // What is replaced or deleted is given back, and what fails is not taken.
      yield* write("a", 1)
      assert.strictEqual(yield* reason(write("docs", 1)), "not_a_file")
      yield* write("c", 1)
      yield* run("file_delete", { path: "hello.txt" })
      yield* write("d", 1)
      assert.strictEqual(yield* reason(write("e", 1)), "no_space")
    })
  )

  it.effect("counts what is replaced and deleted at once for once", () =>
    Effect.gen(function* () {
      const { run } = yield* opened({ quota: 20 * 4_096 })
      const write = (path: string, blocks: number) =>
        run("file_write", { path, content: "x".repeat(blocks * 4_096), overwrite: true })
      for (let round = 0; round < 5; round++) {
        yield* write("a", 10)
        // Each of them shrinks it or deletes it, and only one gives back what it took.
        yield* Effect.all(
          [
            ...Array.from({ length: 6 }, (_, n) =>
              run("file_write", { path: "a", content: `${n}`, overwrite: true })
            ),
            ...Array.from({ length: 6 }, () => run("file_delete", { path: "a" }))
          ],
          { concurrency: "unbounded" }
        )
        yield* run("file_delete", { path: "a" })
      }
      yield* write("a", 20)
      assert.strictEqual(yield* reason(write("b", 1)), "no_space")
    })
  )

  it.effect("holds for what is written at once", () =>
    Effect.gen(function* () {
      const { at, run } = yield* opened({ quota: 5 * 4_096 })
      const names = Array.from({ length: 30 }, (_, n) => `q${n}`)
      yield* Effect.forEach(names, (path) => Effect.ignore(run("file_write", { path, content: "x" })), {
        concurrency: "unbounded"
      })
      assert.lengthOf(
        names.filter((name) => Fs.existsSync(at(name))),
        5
      )
    })
  )
})

describe("the tools", () => {
  it("say what they need and may do", () => {
    const said = Object.values(Files.toolkit.tools).map((tool) => {
      const { capabilities, destructive, idempotent, name, openWorld, readonly, risk, sendsData } =
        ToolAnnotations.read(tool)
      return { name, capabilities, destructive, idempotent, openWorld, readonly, risk, sendsData }
    })
    const common = { idempotent: true, openWorld: false, sendsData: undefined }
    const reads = {
      ...common,
      capabilities: ["read_data", "file_system"],
      destructive: false,
      readonly: true,
      risk: "low"
    }
    assert.deepStrictEqual<unknown>(said, [
      { name: "file_read", ...reads },
      { name: "file_list", ...reads },
      { name: "file_search", ...reads },
      {
        name: "file_write",
        ...common,
        capabilities: ["write_data", "file_system"],
        destructive: true,
        readonly: false,
        risk: "high"
      },
      {
        name: "file_delete",
        ...common,
        capabilities: ["delete_data", "file_system"],
        destructive: true,
        readonly: false,
        risk: "high"
      }
    ])
  })

  it.effect("are for whoever may use files", () =>
    Effect.gen(function* () {
      const { executor } = yield* opened()
      const status = (capabilities: ReadonlyArray<string>) =>
        Effect.map(
          Principal.provide(
            executor.execute({ tool: "file_read", params: { path: "hello.txt" } }),
            Principal.make({ id: "a", capabilities })
          ),
          (result) => result.status
        )
      assert.strictEqual(yield* status(["read_data"]), "permission_denied")
      assert.strictEqual(yield* status(["read_data", "file_system"]), "success")
    })
  )

  it.effect("tell a model why, without paths of the system", () =>
    Effect.gen(function* () {
      const { executor, root } = yield* opened()
      const ada = Principal.make({ id: "ada", roles: ["admin"] })
      const { error } = yield* Principal.provide(
        executor.execute({ tool: "file_read", params: { path: "none" } }),
        ada
      )
      assert.deepInclude(error?.reason, {
        _tag: "ToolFailed",
        class: "Caller",
        failure: { _tag: "FileError", reason: "not_found", path: "none", message: '"none" does not exist' }
      })
      assert.notInclude(JSON.stringify(error), root)
    })
  )

  it.effect("leave no file open", () =>
    Effect.gen(function* () {
      if (process.platform !== "linux") return
      const open = () => Fs.readdirSync("/proc/self/fd").length
      const before = open()
      yield* Effect.scoped(
        Effect.gen(function* () {
          const { at, run } = yield* opened()
          execFileSync("mkfifo", [at("pipe")])
          const one = open()
          for (let n = 0; n < 10; n++) {
            yield* run("file_read", { path: "docs/deep/notes.md" })
            yield* run("file_list", { path: "docs" })
            yield* run("file_search", { text: "think" })
            yield* run("file_write", { path: "docs/new.md", content: `${n}`, overwrite: true })
            yield* run("file_delete", { path: "docs/new.md" })
            yield* reason(run("file_read", { path: "docs/none" }))
            yield* reason(run("file_read", { path: "pipe" }))
          }
          assert.strictEqual(open(), one)
        })
      )
      assert.strictEqual(open(), before)
    })
  )
})
