/** `interlock approvals`: asked in one process, answered in another, used in a third. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { acts, type Folder, hasTerminals, patience, project } from "./support/cli.ts"

interface Request {
  readonly id: string
  readonly state: string
  readonly tool: string
  readonly reason?: string
  readonly decidedBy?: string
  readonly view: { readonly value: unknown }
}

const evil = "evil\u001b[2J\u202etool"

const call = (folder: Folder, tool: string, text: string) =>
  folder.run(["call", tool, JSON.stringify({ text })])

/** Makes a call that has to wait; the id of its request. */
const ask = (folder: Folder, tool: string, text: string) =>
  Effect.gen(function* () {
    const asked = yield* call(folder, tool, text)
    assert.strictEqual(asked.code, 4, asked.stdout + asked.stderr)
    const requests = yield* folder.json<ReadonlyArray<Request>>(["approvals"])
    // Ids may begin with what an option begins with.
    return ["--", requests[0]?.id ?? ""] as const
  })

describe("interlock approvals", patience, () => {
  it.live("shows what waits, lets the right person grant it, and the grant runs the call once", () =>
    Effect.gen(function* () {
      const folder = yield* project()
      const [, id] = yield* ask(folder, "delete_note", "n1")
      const [list, shown, own, absent, notOurs] = yield* Effect.all(
        [
          folder.run(["approvals", "list"]),
          folder.run(["approvals", "show", "--", id]),
          folder.run(["approvals", "approve", "--", id]),
          folder.run(["approvals", "show", "none"]),
          folder.run(["--as", "boss", "approvals", "approve", "--run", "--", id])
        ],
        { concurrency: 2 }
      )
      assert.match(list.stdout, new RegExp(`${id} +pending +delete_note +me +somebody else +high`))
      assert.include(shown.stdout, "delete_note  pending  risk: high")
      assert.include(shown.stdout, '"text": "n1"')
      assert.notInclude(shown.stdout, "[y/N]")
      assert.strictEqual(own.code, 3)
      assert.include(own.stderr, "Another person must approve this")
      assert.strictEqual(absent.code, 5)
      assert.strictEqual(notOurs.code, 2)

      const granted = yield* folder.run(["--as", "boss", "approvals", "approve", "--", id])
      assert.strictEqual(granted.code, 0)
      const [, token = ""] = /interlock call --as me --resume (\S+)/.exec(granted.stdout) ?? []
      const ran = yield* folder.run(["call", "--as", "me", "--resume", token])
      assert.deepStrictEqual([ran.code, ran.stdout], [0, "deleted n1\n"])
      const again = yield* folder.run(["call", "--resume", token])
      assert.strictEqual(again.code, 3)
      const [used] = yield* folder.json<ReadonlyArray<Request>>(["approvals", "list", "--state", "used"])
      assert.deepInclude(used, { id, state: "used", tool: "delete_note", decidedBy: "boss" })
    })
  )

  it.live(
    "confirms and runs one's own call at once, and says no with a reason that cannot act on a terminal",
    () =>
      Effect.gen(function* () {
        const folder = yield* project()
        const own = yield* ask(folder, "send_note", "hello")
        const ran = yield* folder.run(["approvals", "approve", "--run", ...own])
        assert.deepStrictEqual([ran.code, ran.stdout], [0, "sent hello\n"])

        const [, hostile] = yield* ask(folder, evil, "x")
        const [list, shown, denied] = yield* Effect.all([
          folder.run(["approvals"]),
          folder.run(["approvals", "show", "--", hostile]),
          folder.run(["--as", "boss", "approvals", "deny", "--reason", "no\u001b[2Jway\u202e", "--", hostile])
        ])
        assert.include(list.stdout, "evil\\u{1b}[2J\\u{202e}tool")
        assert.include(denied.stdout, "rejected")
        const after = yield* folder.run(["approvals", "show", "--", hostile])
        assert.include(after.stdout, "reason  no\\u{1b}[2Jway\\u{202e}")
        for (const { stderr, stdout } of [list, shown, denied, after]) assert.notMatch(stdout + stderr, acts)
        const late = yield* folder.run(["--as", "boss", "approvals", "approve", "--", hostile])
        assert.strictEqual(late.code, 3)
        assert.include(late.stderr, "rejected; it cannot be decided any more")
      })
  )

  it.live("asks anew about edited arguments, and takes back what was granted", () =>
    Effect.gen(function* () {
      const folder = yield* project()
      const [, id] = yield* ask(folder, "delete_note", "n1")
      const edited = yield* folder.run([
        "--as",
        "boss",
        "--json",
        "approvals",
        "edit",
        "--",
        id,
        `{"text":"n2"}`
      ])
      assert.strictEqual(edited.code, 4)
      const request: Request = JSON.parse(edited.stdout)
      assert.deepStrictEqual(request.view.value, { text: "n2" })
      const [editor, before] = yield* Effect.all([
        folder.run(["--as", "boss", "approvals", "approve", "--", request.id]),
        folder.json<Request>(["approvals", "show", "--", id])
      ])
      assert.include(editor.stderr, "Whoever edited the arguments cannot approve them")
      assert.strictEqual(before.state, "replaced")
      const revoked = yield* folder.json<Request>([
        "approvals",
        "revoke",
        "--reason",
        "done",
        "--",
        request.id
      ])
      assert.deepInclude(revoked, { state: "revoked", reason: "done" })
    })
  )

  it.live("lets a second terminal approve what a first one waits for, while a third one watches", () =>
    Effect.gen(function* () {
      const folder = yield* project()
      const watching = yield* folder.start(["--json", "approvals", "watch"])
      const waiting = yield* folder.start(["call", "--wait", "delete_note", `{"text":"n1"}`])
      const request: Request = JSON.parse(yield* watching.printed(/^.*"pending".*\n/))
      const granted = yield* folder.run(["--as", "boss", "approvals", "approve", "--", request.id])
      assert.strictEqual(granted.code, 0)
      const ran = yield* waiting.ended
      assert.deepStrictEqual([ran.code, ran.stdout], [0, "deleted n1\n"])
      assert.strictEqual(
        JSON.parse(
          yield* watching
            .printed(/.*"used".*\n/)
            .pipe(Effect.map((lines) => lines.trim().split("\n").at(-1) ?? ""))
        ).id,
        request.id
      )
      yield* watching.signal("SIGINT")
      assert.strictEqual((yield* watching.ended).code, 130)
    }).pipe(Effect.scoped)
  )

  it.live.skipIf(!hasTerminals)(
    "asks at a terminal about what one may decide, and lets go of what was decided elsewhere",
    () =>
      Effect.gen(function* () {
        const folder = yield* project()
        const asking = yield* folder.terminal("--as boss approvals watch --ask")
        // Typed before anything was asked, so that it answers nothing.
        yield* asking.type("n")
        const waiting = yield* folder.start(["call", "--wait", "delete_note", `{"text":"n1"}`])
        const card = yield* asking.printed(/Let delete_note run\?/)
        assert.include(card, '"text": "n1"')
        yield* asking.type("y")
        yield* asking.printed(/interlock call --as me --resume v1\.\S+/)
        assert.strictEqual((yield* waiting.ended).stdout, "deleted n1\n")

        const second = yield* ask(folder, "delete_note", "n2")
        yield* asking.printed(/Let delete_note run\?/)
        yield* folder.run(["approvals", "revoke", ...second])
        yield* asking.printed(/It was decided elsewhere/)
        yield* ask(folder, "delete_note", "n3")
        yield* asking.printed(/Let delete_note run\?/)
        yield* asking.type("\u0003")
        assert.strictEqual((yield* asking.ended).code, 130)
      }).pipe(Effect.scoped)
  )

  it.live("does not ask where there is no terminal", () =>
    Effect.gen(function* () {
      const folder = yield* project()
      const { code, stderr } = yield* folder.run(["approvals", "watch", "--ask"])
      assert.strictEqual(code, 2)
      assert.include(stderr, "--ask needs a terminal")
    })
  )
})
