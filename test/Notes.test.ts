/** Notes: saved once however often, seen by whose they are, and never a way to another file. */
import * as Fs from "node:fs"
import * as Path from "node:path"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Schema } from "effect"
import { Principal, ToolAnnotations, ToolExecutor } from "effect-interlock"
import * as Testing from "effect-interlock/testing"
import { Notes } from "effect-interlock/toolbox"
import * as Fc from "fast-check"
import { folderOf, format, idOf, parse } from "../src/toolbox/notes/note.ts"
import { folders, secret, snapshot } from "./support/folders.ts"

type Tools = typeof Notes.toolkit.tools
type Run = ToolExecutor.ToolExecutor<Tools>["run"]

const someone = (id: string, tenant?: string) =>
  Principal.make({ id, roles: ["admin"], ...(tenant === undefined ? {} : { tenant }) })
const ada = someone("ada")

const opened = Effect.fnUntraced(function* (options: Partial<Notes.Options> = {}) {
  const { outside, root } = yield* folders
  const directory = Path.join(root, "notes")
  const services = yield* Layer.build(Layer.merge(Notes.layer({ directory, ...options }), Testing.layer()))
  const executor = yield* Effect.provide(ToolExecutor.make(Notes.toolkit), services)
  const as =
    (principal: Principal.Principal): Run =>
    (name, params, options) =>
      Principal.provide(executor.run(name, params, options), principal)
  /** The files, by their paths in the folder. */
  const files = () => Object.keys(snapshot(directory)).filter((path) => path.endsWith(".md"))
  return { as, directory, executor, files, outside, run: as(ada) }
})

const reason = <A, E, R>(call: Effect.Effect<A, E, R>) =>
  Effect.map(Effect.flip(call), (error) =>
    error instanceof Notes.FileError ? error.reason : assert.fail(`${error}`)
  )

const plan = { title: "Plan", content: "First, think.\nThen write.\n" }

describe("note_save", () => {
  it.effect("saves a note once, however often it is called", () =>
    Effect.gen(function* () {
      const { directory, files, run } = yield* opened()
      const { id, saved } = yield* run("note_save", plan)
      assert.strictEqual(saved, "created")
      const [file] = files()
      Fs.utimesSync(Path.join(directory, file!), 1, 1)
      for (let n = 0; n < 3; n++) {
        assert.deepStrictEqual(yield* run("note_save", { ...plan, title: " Plan " }), {
          id,
          saved: "unchanged"
        })
      }
      assert.deepStrictEqual(files(), [file])
      assert.strictEqual(Fs.statSync(Path.join(directory, file!)).mtimeMs, 1_000)
      assert.strictEqual(
        Fs.readFileSync(Path.join(directory, file!), "utf8"),
        "# Plan\n\nFirst, think.\nThen write.\n"
      )
      assert.match(file!, new RegExp(`^ada-[0-9a-f]{24}/${id}\\.md$`))
    })
  )

  it.effect("saves it once when it is called many times at once", () =>
    Effect.gen(function* () {
      const { files, run } = yield* opened()
      const all = yield* Effect.all(
        Array.from({ length: 20 }, () => run("note_save", plan)),
        { concurrency: "unbounded" }
      )
      assert.lengthOf(
        all.filter(({ saved }) => saved === "created"),
        1
      )
      assert.lengthOf(files(), 1)
    })
  )

  it.effect("saves another title or content as another note", () =>
    Effect.gen(function* () {
      const { files, run } = yield* opened()
      const { id } = yield* run("note_save", plan)
      const others = yield* Effect.forEach(
        [
          { ...plan, title: "plan" },
          { ...plan, content: "" }
        ],
        (note) => run("note_save", note)
      )
      assert.strictEqual(new Set([id, ...others.map((other) => other.id)]).size, 3)
      assert.lengthOf(files(), 3)
    })
  )

  it.effect("refuses what is no note, or too much", () =>
    Effect.gen(function* () {
      const { executor, files, run } = yield* opened({ maxNoteBytes: 20, quota: 2 * 4_096 })
      for (const title of ["", " ", "a\nb", "a\u0000", "a\u2028b", "x".repeat(201)]) {
        const call = executor.execute({ tool: "note_save", params: { title, content: "" } })
        assert.strictEqual(
          (yield* Principal.provide(call, ada)).error?.code,
          "INVALID_PARAMS",
          JSON.stringify(title)
        )
      }
      assert.strictEqual(yield* reason(run("note_save", { title: "t", content: "\ud800" })), "not_text")
      assert.strictEqual(yield* reason(run("note_save", { title: "t", content: "x".repeat(20) })), "size")
      // A folder and a note.
      yield* run("note_save", { title: "t", content: "x" })
      assert.strictEqual(yield* reason(run("note_save", { title: "t", content: "y" })), "no_space")
      assert.lengthOf(files(), 1)
    })
  )
})

describe("note_read and note_delete", () => {
  it.effect("give back what was saved, and take it away", () =>
    Effect.gen(function* () {
      const { run } = yield* opened()
      const { id } = yield* run("note_save", plan)
      const { modified, ...note } = yield* run("note_read", { id })
      assert.deepStrictEqual(note, { id, ...plan })
      assert.strictEqual(new Date(modified).toISOString(), modified)
      assert.deepStrictEqual(yield* run("note_delete", { id }), { deleted: true })
      assert.deepStrictEqual(yield* run("note_delete", { id }), { deleted: false })
      const error = yield* Effect.flip(run("note_read", { id }))
      assert.strictEqual(error.message, `"${id}" does not exist`)
    })
  )

  it.effect("take nothing for an id that is none", () =>
    Effect.gen(function* () {
      const { directory, executor, outside } = yield* opened()
      const before = snapshot(outside)
      const ids = [
        "",
        "x",
        "../../outside/secret.txt",
        "/etc/passwd",
        `${"0".repeat(31)}/`,
        `../${"0".repeat(29)}`,
        "0".repeat(33),
        "G".repeat(32),
        "A".repeat(32),
        `${"0".repeat(32)}\n`,
        `${"0".repeat(32)}\0`,
        "０".repeat(32),
        "%2e%2e%2f",
        1,
        null,
        {}
      ]
      for (const id of ids) {
        for (const tool of ["note_read", "note_delete"]) {
          const { error } = yield* Principal.provide(executor.execute({ tool, params: { id } }), ada)
          assert.strictEqual(error?.code, "INVALID_PARAMS", JSON.stringify(id))
        }
      }
      assert.deepStrictEqual(snapshot(outside), before)
      assert.deepStrictEqual(snapshot(directory), {})
    })
  )
})

describe("note_list and note_search", () => {
  const three = Effect.fnUntraced(function* () {
    const world = yield* opened()
    const notes = [
      { title: "Shopping", content: "bread\nApples and pears" },
      { title: "Meeting with Ada", content: "about the engine" },
      { title: "Engine", content: "it weaves\nalgebraic patterns" }
    ]
    const ids = yield* Effect.forEach(notes, (note) =>
      Effect.map(world.run("note_save", note), ({ id }) => id)
    )
    for (const [n, id] of ids.entries()) {
      const file = world.files().find((path) => path.includes(id))!
      Fs.utimesSync(Path.join(world.directory, file), n + 1, n + 1)
    }
    return { ...world, ids }
  })

  it.effect("list the one saved last first, in parts", () =>
    Effect.gen(function* () {
      const { ids, run } = yield* three()
      const all = yield* run("note_list", {})
      assert.deepStrictEqual(all, {
        notes: [
          { id: ids[2]!, title: "Engine", modified: "1970-01-01T00:00:03.000Z" },
          { id: ids[1]!, title: "Meeting with Ada", modified: "1970-01-01T00:00:02.000Z" },
          { id: ids[0]!, title: "Shopping", modified: "1970-01-01T00:00:01.000Z" }
        ],
        total: 3
      })
      const part = yield* run("note_list", { offset: 1, limit: 1 })
      assert.deepStrictEqual(part, { notes: [all.notes[1]!], total: 3 })
      assert.deepStrictEqual(yield* run("note_list", { offset: 9 }), { notes: [], total: 3 })
    })
  )

  it.effect("find notes with all the words, wherever they are", () =>
    Effect.gen(function* () {
      const { ids, run } = yield* three()
      const found = (text: string, limit?: number) =>
        Effect.map(
          run("note_search", { text, ...(limit === undefined ? {} : { limit }) }),
          ({ more, notes }) => [
            ...notes.map(({ excerpt, id }) => `${ids.indexOf(id)} ${excerpt}`),
            ...(more ? ["more"] : [])
          ]
        )
      assert.deepStrictEqual(yield* found("engine"), ["2 Engine", "1 about the engine"])
      assert.deepStrictEqual(yield* found("ENGINE  ada"), ["1 about the engine"])
      assert.deepStrictEqual(yield* found("pears shopping"), ["0 Apples and pears"])
      assert.deepStrictEqual(yield* found("engine pears"), [])
      assert.deepStrictEqual(yield* found("(engine|.*)"), [])
      assert.deepStrictEqual(yield* found("e", 2), ["2 Engine", "1 Meeting with Ada", "more"])
      assert.deepStrictEqual(yield* found("e", 3), ["2 Engine", "1 Meeting with Ada", "0 bread"])
    })
  )

  it.effect("know of no notes where there are none, and of no other files", () =>
    Effect.gen(function* () {
      const { directory, outside, run } = yield* opened()
      assert.deepStrictEqual(yield* run("note_list", {}), { notes: [], total: 0 })
      assert.deepStrictEqual(yield* run("note_search", { text: "x" }), { notes: [], more: false })
      assert.deepStrictEqual(yield* run("note_delete", { id: "0".repeat(32) }), { deleted: false })
      const { id } = yield* run("note_save", plan)
      const folder = Path.join(directory, Fs.readdirSync(directory)[0]!)
      Fs.writeFileSync(Path.join(folder, "README.md"), secret)
      Fs.writeFileSync(Path.join(folder, `${"1".repeat(32)}.txt`), secret)
      Fs.mkdirSync(Path.join(folder, `${"2".repeat(32)}.md`))
      Fs.symlinkSync(Path.join(outside, "secret.txt"), Path.join(folder, `${"3".repeat(32)}.md`))
      Fs.linkSync(Path.join(outside, "secret.txt"), Path.join(folder, `${"4".repeat(32)}.md`))
      Fs.writeFileSync(Path.join(folder, `${"5".repeat(32)}.md`), Buffer.from([0xff]))
      const { notes } = yield* run("note_list", {})
      assert.deepStrictEqual(
        notes.map((note) => note.id),
        [id]
      )
      assert.deepStrictEqual((yield* run("note_search", { text: secret })).notes, [])
      for (const digit of "2345") {
        assert.include(
          ["not_a_file", "hard_link", "not_text"],
          yield* reason(run("note_read", { id: digit.repeat(32) }))
        )
      }
    })
  )
})

describe("notes", () => {
  it.effect("are of whoever saved them, or of those who share them", () =>
    Effect.gen(function* () {
      const people = [
        someone("ada"),
        someone("ada", "acme"),
        someone("bob", "acme"),
        someone("ADA"),
        Principal.make({ ...someone("ada"), session: "2" })
      ]
      const seen = Effect.fnUntraced(function* (by: Notes.Options["by"]) {
        const { as } = yield* opened(by === undefined ? {} : { by })
        yield* as(people[1]!)("note_save", plan)
        return yield* Effect.forEach(people, (person) =>
          Effect.map(as(person)("note_list", {}), ({ total }) => total)
        )
      })
      assert.deepStrictEqual(yield* seen(undefined), [0, 1, 0, 0, 0])
      assert.deepStrictEqual(yield* seen("principal"), [0, 1, 0, 0, 0])
      assert.deepStrictEqual(yield* seen("tenant"), [0, 1, 1, 0, 0])
      assert.deepStrictEqual(yield* seen("everyone"), [1, 1, 1, 1, 1])
    })
  )

  it("have a folder per owner that no name can choose", () => {
    const ids = [
      "ada",
      "Ada",
      "ada ",
      "a-d-a",
      "../x",
      "/etc",
      "..",
      ".",
      "\0",
      "é",
      "",
      "x".repeat(500),
      "ada/bob",
      "CON"
    ]
    const owners = ids.flatMap((id) => [someone(id), someone(id, "acme"), someone("x", id)])
    const names = owners.map((owner) => folderOf("principal", owner))
    for (const name of names) assert.match(name, /^[a-z0-9-]{1,40}-[0-9a-f]{24}$/)
    assert.strictEqual(
      new Set(names).size,
      new Set(owners.map(({ id, tenant }) => JSON.stringify([tenant, id]))).size
    )
    assert.notStrictEqual(folderOf("tenant", someone("a", "x")), folderOf("principal", someone("x")))
  })

  it("read as they were written, whatever is in them", () => {
    const title = Fc.string({ unit: "binary", minLength: 1 }).filter((text) => !text.includes("\n"))
    Fc.assert(
      Fc.property(title, Fc.string({ unit: "binary" }), (title, content) => {
        assert.deepStrictEqual(parse(format({ title, content })), { title, content })
        assert.match(idOf({ title, content }), /^[0-9a-f]{32}$/)
      })
    )
    assert.deepStrictEqual(parse("## By hand\nand so on"), { title: "By hand", content: "and so on" })
  })

  it.effect("that somebody has rewritten are neither replaced nor taken for what was saved", () =>
    Effect.gen(function* () {
      const { directory, files, run } = yield* opened()
      const { id } = yield* run("note_save", plan)
      const [file] = files()
      Fs.writeFileSync(Path.join(directory, file!), "# Another plan\n\nRest.\n")
      const error = yield* Effect.flip(run("note_save", plan))
      assert.match(error.message, new RegExp(`^"${id}" was changed by somebody`))
      assert.strictEqual((yield* run("note_read", { id })).title, "Another plan")
    })
  )

  it.effect("are kept in a folder that is made for them alone, and outlive the layer", () =>
    Effect.gen(function* () {
      const { root } = yield* folders
      const directory = Path.join(root, "a/b")
      const once = Effect.scoped(
        Effect.gen(function* () {
          const { run } = yield* opened({ directory })
          return (yield* run("note_save", plan)).saved
        })
      )
      assert.strictEqual(yield* once, "created")
      assert.strictEqual(yield* once, "unchanged")
      assert.strictEqual(Fs.statSync(directory).mode & 0o777, 0o700)
      const fails = yield* Effect.flip(
        Effect.scoped(Layer.build(Notes.layer({ directory: Path.join(root, "hello.txt") })))
      )
      assert.include(["exists", "not_a_folder"], fails.reason)
    })
  )

  it("have options that make sense, and that a configuration can say", () => {
    assert.throws(() => Notes.layer({ directory: "/x", maxNoteBytes: -1 }), RangeError)
    assert.throws(() => Notes.layer({ directory: "/x", quota: 0.5 }), RangeError)
    const decode = Schema.decodeUnknownSync(Notes.Options, { onExcessProperty: "error" })
    assert.strictEqual(decode({ directory: "notes", by: "tenant", quota: 1 }).by, "tenant")
    for (const wrong of [{}, { directory: "" }, { directory: "x", by: "all" }])
      assert.throws(() => decode(wrong))
  })

  it("say what they need and may do", () => {
    const said = Object.values(Notes.toolkit.tools).map((tool) => {
      const { capabilities, destructive, idempotent, name, openWorld, readonly, risk } =
        ToolAnnotations.read(tool)
      return [name, capabilities?.join(), destructive, idempotent, openWorld, readonly, risk]
    })
    assert.deepStrictEqual(said, [
      ["note_save", "write_data", false, true, false, false, "medium"],
      ["note_read", "read_data", false, true, false, true, "low"],
      ["note_list", "read_data", false, true, false, true, "low"],
      ["note_search", "read_data", false, true, false, true, "low"],
      ["note_delete", "delete_data", true, true, false, false, "high"]
    ])
  })
})
