/** No path, link, special file or race leads out of a root. All of it with real files. */
import { execFileSync, spawn } from "node:child_process"
import * as Fs from "node:fs"
import * as FsPromises from "node:fs/promises"
import * as Net from "node:net"
import * as Path from "node:path"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Fc from "fast-check"
import type { Holding } from "../src/toolbox/files/directory.ts"
import { FileError } from "../src/toolbox/files/FileError.ts"
import { list } from "../src/toolbox/files/list.ts"
import { namesOf } from "../src/toolbox/files/names.ts"
import { read } from "../src/toolbox/files/read.ts"
import { search } from "../src/toolbox/files/search.ts"
import { type Settings, Tree } from "../src/toolbox/files/tree.ts"
import { remove, write } from "../src/toolbox/files/write.ts"
import { type Folders, quickFolders as folders, isRoot, secret, snapshot } from "./support/folders.ts"
import { interposed } from "./support/interpose.ts"

const linux = process.platform === "linux"
const holdings: ReadonlyArray<Holding> = linux ? ["descriptor", "path"] : ["path"]

const open = (root: string, holding: Holding, settings: Partial<Settings> = {}) =>
  Effect.acquireRelease(
    Effect.promise(() =>
      Tree.open({
        roots: { path: root },
        hidden: true,
        hardLinks: false,
        maxFileBytes: 1e6,
        quota: 1e9,
        holding,
        ...settings
      })
    ),
    (tree) => Effect.promise(() => tree.close())
  )

/** Everything that can be done with a path. */
const operations: Readonly<Record<string, (tree: Tree, path: string) => Promise<unknown>>> = {
  read: (tree, path) => read(tree, { path }, 1e5),
  "read base64": (tree, path) => read(tree, { path, encoding: "base64" }, 1e5),
  "read a line": (tree, path) => read(tree, { path, line: 2, lines: 1 }, 1e5),
  list: (tree, path) => list(tree, { path, limit: 100 }),
  "search names": (tree, path) => search(tree, { path, glob: "*", caseSensitive: true, limit: 100 }),
  "search text": (tree, path) => search(tree, { path, text: "s", caseSensitive: true, limit: 100 }),
  create: (tree, path) => write(tree, { path, bytes: Buffer.from("new"), overwrite: false, parents: true }),
  replace: (tree, path) => write(tree, { path, bytes: Buffer.from("new"), overwrite: true, parents: false }),
  // Whoever hears that nothing had to be written has guessed right.
  "compare with": async (tree, path) => {
    const written = await write(tree, { path, bytes: Buffer.from(secret), overwrite: false, parents: false })
    if (written === "created") await remove(tree, path)
    return written === "unchanged" ? secret : written
  },
  delete: (tree, path) => remove(tree, path)
}

/** What came of it, in one line: never anything but a result or a `FileError`. */
const outcome = async (run: Promise<unknown>): Promise<string> => {
  try {
    return JSON.stringify(await run)
  } catch (error) {
    assert.instanceOf(error, FileError, `${error}`)
    return `${error.reason}: ${error.message}`
  }
}

const encodedSecret = Buffer.from(secret).toString("base64").slice(0, 12)

/** What is told beside what was asked. */
const without = (path: string, told: string): string =>
  [path, path.toWellFormed(), JSON.stringify(path).slice(1, -1)].reduce(
    (left, part) => (part === "" ? left : left.replaceAll(part, "")),
    told
  )

/** Tells nothing of what is outside: neither what is in it nor that it is there. */
const assertTellsNothing = (told: string, what: string) => {
  for (const leak of [secret, encodedSecret, "only-outside", "root:"]) assert.notInclude(told, leak, what)
}

/** Runs every operation on every path, and looks whether anything outside was told or changed. */
const assertStaysInside = async (
  tree: Tree,
  { outside }: Folders,
  paths: ReadonlyArray<string>
): Promise<void> => {
  const before = snapshot(outside)
  for (const path of paths) {
    for (const [name, operation] of Object.entries(operations)) {
      const what = `${name} ${JSON.stringify(path)}`
      assertTellsNothing(without(path, await outcome(operation(tree, path))), what)
      assert.deepStrictEqual(snapshot(outside), before, what)
    }
  }
}

const climbs = [
  "..",
  "../",
  "../..",
  "../outside/secret.txt",
  "../../../../../../../../etc/passwd",
  "docs/../../outside/secret.txt",
  "docs/deep/../../../outside/secret.txt",
  "./../outside/secret.txt",
  "docs/..",
  "docs/../hello.txt",
  "docs//..//..//outside",
  ["..", "root", "hello.txt"].join("/"),
  ".//..",
  "a/../../outside/secret.txt",
  "hello.txt/../../outside/secret.txt",
  "docs/./../..//outside/secret.txt"
]
const absolutes = [
  "/",
  "//",
  "/etc/passwd",
  "//etc/passwd",
  "///etc/passwd",
  "/proc/self/environ",
  ["/proc/self", "root", "etc/passwd"].join("/"),
  "/proc/self/cwd",
  "/dev/fd/0",
  "/dev/stdin",
  "/.",
  "/..",
  ["", "root", "hello.txt"].join("/")
]
const elsewhere = [
  "C:",
  "C:/",
  "c:secret.txt",
  "C:\\Windows\\win.ini",
  "Z:/x",
  "\\\\server\\share\\x",
  "..\\outside\\secret.txt",
  "docs\\..\\..\\outside",
  "\\etc\\passwd",
  "\\",
  "docs\\plan.md",
  "\\\\?\\C:\\x",
  "\\\\.\\PhysicalDrive0"
]
const unreadable = [
  "\0",
  "hello.txt\0",
  "hello.txt\0.png",
  "../outside/secret.txt\0",
  "a\0/../../outside/secret.txt",
  "\ud800",
  "a/\udfff/b",
  "x".repeat(256),
  "é".repeat(128),
  "😀".repeat(64),
  `${"a/".repeat(64)}b`,
  "a/".repeat(3_000)
]
/** Harmless where every character is what it is. */
const harmless = [
  "%2e%2e/outside/secret.txt",
  "%2e%2e%2foutside%2fsecret.txt",
  "..%2foutside",
  "..%c0%afoutside",
  "．．/outside/secret.txt",
  "‥/outside/secret.txt",
  "…/outside",
  ". ./outside",
  ".. /outside/secret.txt",
  " ../outside",
  "..\u200b/outside/secret.txt",
  "..\u0000".slice(0, 2).concat("\u202e/outside"),
  "..;/outside/secret.txt",
  "...",
  "..../outside",
  "~",
  "~/secret",
  "~root/.ssh/id_rsa",
  "$HOME/x",
  "`id`",
  "$(cat ../outside/secret.txt)",
  "file:///etc/passwd",
  "http://127.0.0.1/",
  "-",
  "--help",
  "*",
  "?",
  "[a-z]",
  "{a,b}",
  "CON",
  "NUL",
  "aux.txt",
  "hello.txt::$DATA",
  "hello.txt.",
  "hello.txt ",
  "HELLO~1.TXT",
  "∕etc∕passwd",
  "⁄etc⁄passwd",
  "\u2215outside",
  "\n../outside",
  "\r\n",
  "\t",
  "",
  " ",
  ".",
  "./",
  "././."
]

describe("paths", () => {
  it("that climb, are absolute, name drives or cannot be read are refused as such", () => {
    for (const path of [...climbs, ...absolutes, ...elsewhere, ...unreadable]) {
      assert.throws(() => namesOf(path, false), FileError, undefined, JSON.stringify(path.slice(0, 40)))
    }
  })

  it("on Windows neither name devices and streams, nor lose their end", () => {
    const odd = [
      "CON",
      "con",
      "aux.txt",
      "NUL.",
      "nul .txt",
      "COM1",
      "com¹",
      "LPT9.log",
      "CONIN$",
      "a:b",
      "hello.txt::$DATA",
      "a.",
      "a ",
      "docs./x",
      "a*",
      "a?",
      "a<",
      "a|b",
      'a"b',
      "a\u0001b"
    ]
    for (const path of odd) assert.throws(() => namesOf(path, true), FileError, undefined, path)
    for (const path of ["console", "com", "com10", "a.b.c", "lpt", "nulls/x", ".con"])
      assert.isNotEmpty(namesOf(path, true))
  })

  for (const holding of holdings) {
    it.effect(`lead nowhere but inside (by ${holding})`, () =>
      Effect.gen(function* () {
        const there = yield* folders
        const tree = yield* open(there.root, holding)
        assert.strictEqual(tree.holding, holding)
        const all = [...climbs, ...absolutes, ...elsewhere, ...unreadable, ...harmless]
        yield* Effect.promise(() => assertStaysInside(tree, there, all))
        // What some system takes for more is a name here.
        assert.isTrue(
          Fs.existsSync(there.at("%2e%2e/outside/secret.txt")) || Fs.existsSync(there.at("%2e%2e"))
        )
      })
    )

    it.effect(`of several roots do not lead from one to another (by ${holding})`, () =>
      Effect.gen(function* () {
        const there = yield* folders
        const roots = new Map([["docs", { path: there.at("docs") }]])
        const tree = yield* open(there.root, holding, { roots })
        yield* Effect.promise(() =>
          assertStaysInside(tree, { ...there, outside: there.outside }, [
            "docs/../hello.txt",
            "docs",
            "",
            "hello.txt",
            "__proto__",
            "constructor",
            "docs/../../outside"
          ])
        )
      })
    )
  }
})

// --- Links -------------------------------------------------------------------

/** Links that lead out, by what they are called. */
const leadingOut = ({ outside, root }: Folders): Readonly<Record<string, string>> => ({
  "to-file": Path.join(outside, "secret.txt"),
  "to-folder": outside,
  "to-file-up": "../outside/secret.txt",
  "to-folder-up": "../outside",
  "to-folder-slash": "../outside/",
  "to-folder-dot": "../outside/.",
  "to-above": "..",
  "to-above-and-back": `../${Path.basename(root)}/hello.txt`,
  "to-itself-absolute": Path.join(root, "hello.txt"),
  "to-system": "/",
  "to-etc": "/etc",
  "to-passwd": "/etc/passwd",
  "to-nothing": Path.join(outside, "new.txt"),
  "to-nothing-up": "../outside/new.txt",
  "to-proc": "/proc/self/root",
  "to-cwd": "/proc/self/cwd",
  "to-descriptors": "/proc/self/fd",
  "to-zero": "/dev/zero",
  "to-chain": "docs/chain",
  "docs/chain": "../to-folder",
  "docs/deeper": "deep/../../../outside",
  "docs/deep/three": "../../../outside",
  "to-loop": "to-loop",
  "to-other-loop": "docs/loop",
  "docs/loop": "../to-other-loop"
})

const linked = Effect.map(folders, (there) => {
  for (const [name, target] of Object.entries(leadingOut(there))) Fs.symlinkSync(target, there.at(name))
  return there
})

describe("links", () => {
  for (const holding of holdings) {
    it.effect(`that lead out are not followed, by any operation (by ${holding})`, () =>
      Effect.gen(function* () {
        for (const link of Object.keys(leadingOut({ root: "", outside: "", at: String }))) {
          // New ones each time, for they can be deleted.
          yield* Effect.scoped(
            Effect.gen(function* () {
              const there = yield* linked
              const tree = yield* open(there.root, holding)
              const told = yield* Effect.promise(() => outcome(read(tree, { path: link }, 1e5)))
              assert.match(told, /^outside: /, link)
              const below = ["secret.txt", "only-outside", "new.txt", "a/b", "", ".", "secret.txt/"]
              const paths = [...below.map((path) => `${link}/${path}`), link]
              yield* Effect.promise(() => assertStaysInside(tree, there, paths))
              const left = Fs.lstatSync(there.at(link), { throwIfNoEntry: false })
              assert.isFalse(left?.isSymbolicLink() ?? false, link)
            })
          )
        }
      })
    )

    it.effect(`that stay inside are followed, but neither replaced nor searched (by ${holding})`, () =>
      Effect.gen(function* () {
        const { at, root } = yield* folders
        Fs.symlinkSync("hello.txt", at("file"))
        Fs.symlinkSync("docs/deep", at("folder"))
        Fs.symlinkSync("../.././hello.txt", at("docs/deep/up"))
        Fs.symlinkSync("..", at("docs/parent"))
        Fs.symlinkSync("new.txt", at("dangling"))
        const tree = yield* open(root, holding)
        const content = (path: string) =>
          Effect.map(
            Effect.promise(() => read(tree, { path }, 100)),
            ({ content }) => content
          )
        for (const path of [
          "file",
          "docs/deep/up",
          "docs/parent/hello.txt",
          "folder/up",
          "docs/parent/docs/parent/file"
        ]) {
          assert.strictEqual(yield* content(path), "hello\nworld\n", path)
        }
        const listing = yield* Effect.promise(() => list(tree, { path: "docs/parent", limit: 100 }))
        assert.deepInclude(listing.entries, { name: "file", type: "link" })
        const run = (operation: string, path: string) =>
          Effect.promise(() => outcome(operations[operation]!(tree, path)))
        assert.match(yield* run("replace", "file"), /^not_a_file: "file" is a link/)
        assert.match(yield* run("create", "dangling"), /^not_a_file/)
        assert.strictEqual(yield* run("create", "folder/new.txt"), '"created"')
        assert.strictEqual(Fs.readFileSync(at("docs/deep/new.txt"), "utf8"), "new")
        const { matches } = yield* Effect.promise(() =>
          search(tree, { path: "", text: "hello", caseSensitive: true, limit: 9 })
        )
        assert.deepStrictEqual(
          matches.map(({ path }) => path),
          ["hello.txt"]
        )
        assert.strictEqual(yield* run("delete", "file"), "true")
        assert.isTrue(Fs.existsSync(at("hello.txt")))
      })
    )

    it.effect(`however they are laid never lead out (by ${holding})`, () =>
      Effect.gen(function* () {
        const there = yield* folders
        const tree = yield* open(there.root, holding)
        const names = ["a", "b", "c", "docs/d", "docs/deep/e"]
        const part = Fc.constantFrom(
          "..",
          ".",
          "a",
          "b",
          "c",
          "d",
          "docs",
          "deep",
          "outside",
          "secret.txt",
          "root",
          "hello.txt"
        )
        const target = Fc.array(part, { minLength: 1, maxLength: 5 }).map((parts) => parts.join("/"))
        const anyTarget = Fc.oneof(
          target,
          target.map((path) => Path.join(there.root, path)),
          Fc.constant(there.outside)
        )
        const before = snapshot(there.outside)
        yield* Effect.promise(() =>
          Fc.assert(
            Fc.asyncProperty(Fc.tuple(...names.map(() => anyTarget)), target, async (targets, path) => {
              names.forEach((name, n) => {
                Fs.rmSync(there.at(name), { recursive: true, force: true })
                Fs.symlinkSync(targets[n]!, there.at(name))
              })
              for (const name of ["read", "list", "search text", "compare with"]) {
                assertTellsNothing(
                  without(path, await outcome(operations[name]!(tree, path))),
                  `${name} ${path}`
                )
              }
              await outcome(operations["create"]!(tree, `${path}/new`))
              assert.deepStrictEqual(snapshot(there.outside), before)
            }),
            { numRuns: 200 }
          )
        )
      })
    )
  }
})

// --- Special files -------------------------------------------------------------

describe("special files", () => {
  for (const holding of holdings) {
    it.effect(`are never opened: nothing waits, and nothing is told (by ${holding})`, () =>
      Effect.gen(function* () {
        const { at, root } = yield* folders
        execFileSync("mkfifo", [at("pipe")])
        const special = ["pipe", "socket"]
        const server = Net.createServer()
        yield* Effect.acquireRelease(
          Effect.callback<void>((resume) => void server.listen(at("socket"), () => resume(Effect.void))),
          () => Effect.callback<void>((resume) => void server.close(() => resume(Effect.void)))
        )
        if (isRoot) {
          // Not everywhere may even root make devices.
          try {
            execFileSync("mknod", [at("zero"), "c", "1", "5"], { stdio: "ignore" })
            special.push("zero")
          } catch {}
        }
        const tree = yield* open(root, holding)
        for (const name of special) {
          for (const operation of ["read", "read base64", "replace", "compare with"]) {
            const told = yield* Effect.promise(() => outcome(operations[operation]!(tree, name)))
            assert.match(told, /^not_a_file/, `${operation} ${name}`)
          }
          assert.match(yield* Effect.promise(() => outcome(operations["list"]!(tree, name))), /^not_a_folder/)
        }
        const { matches } = yield* Effect.promise(() =>
          search(tree, { path: "", text: "\0", caseSensitive: true, limit: 9 })
        )
        assert.isEmpty(matches)
        const listing = yield* Effect.promise(() => list(tree, { path: "", limit: 100 }))
        for (const name of special) assert.deepInclude(listing.entries, { name, type: "other" })
        assert.isTrue(yield* Effect.promise(() => remove(tree, "pipe")))
      })
    )

    it.effect(
      `with another name are neither read nor compared, and replaced without changing what has it (by ${holding})`,
      () =>
        Effect.gen(function* () {
          const { at, outside, root } = yield* folders
          Fs.linkSync(Path.join(outside, "secret.txt"), at("docs/second"))
          const tree = yield* open(root, holding)
          const before = snapshot(outside)
          const run = (operation: string) =>
            Effect.promise(() => outcome(operations[operation]!(tree, "docs/second")))
          for (const operation of ["read", "read base64", "read a line"])
            assert.match(yield* run(operation), /^hard_link/)
          assert.match(yield* run("compare with"), /^exists/)
          assertTellsNothing(
            yield* Effect.promise(() => outcome(operations["search text"]!(tree, ""))),
            "search"
          )
          const listing = yield* Effect.promise(() => list(tree, { path: "docs", limit: 100 }))
          assert.deepInclude(listing.entries, { name: "second", type: "file" })
          assert.strictEqual(yield* run("replace"), '"replaced"')
          assert.strictEqual(Fs.readFileSync(at("docs/second"), "utf8"), "new")
          assert.deepStrictEqual(snapshot(outside), before)
          const trusting = yield* open(root, holding, { hardLinks: true })
          Fs.linkSync(at("hello.txt"), at("second"))
          assert.strictEqual((yield* Effect.promise(() => read(trusting, { path: "second" }, 99))).size, 12)
        })
    )

    it.effect.skipIf(!linux)(
      `of other file systems are not reached from a root above them (by ${holding})`,
      () =>
        Effect.gen(function* () {
          const tree = yield* open("/", holding)
          for (const path of [
            "proc/self/environ",
            "proc/1/cmdline",
            "proc/self/fd/0",
            "sys/kernel/notes",
            ["proc/self", "root", "etc/passwd"].join("/")
          ]) {
            assert.match(
              yield* Effect.promise(() => outcome(operations["read"]!(tree, path))),
              /^(denied|not_found)/,
              path
            )
          }
          assert.match(
            yield* Effect.promise(() => outcome(operations["list"]!(tree, "proc"))),
            /^denied: .*another file system/
          )
          const devices = yield* open("/dev", holding)
          const found = yield* Effect.promise(() =>
            search(devices, { path: "", glob: "*", caseSensitive: true, limit: 1_000 })
          )
          const mounted = Fs.readdirSync("/dev").filter(
            (name) => Fs.lstatSync(`/dev/${name}`).dev !== Fs.statSync("/dev").dev
          )
          for (const { path } of found.matches) {
            assert.isFalse(
              mounted.some((name) => path.startsWith(`${name}/`)),
              path
            )
          }
        })
    )
  }
})

// --- Races -----------------------------------------------------------------

/** What somebody else may do at any moment, to a file `docs/plan.md` and its folder. */
const attacks: Readonly<Record<string, (there: Folders) => void>> = {
  "the folder becomes a link": ({ at, outside }) => {
    Fs.renameSync(at("docs"), at("aside"))
    Fs.symlinkSync(outside, at("docs"))
  },
  "the file becomes a link": ({ at, outside }) => {
    Fs.symlinkSync(Path.join(outside, "plan.md"), at("next"))
    Fs.renameSync(at("next"), at("docs/plan.md"))
  },
  "the file becomes a second name": ({ at, outside }) => {
    Fs.linkSync(Path.join(outside, "plan.md"), at("next"))
    Fs.renameSync(at("next"), at("docs/plan.md"))
  },
  "the file becomes a pipe": ({ at }) => {
    execFileSync("mkfifo", [at("next")])
    Fs.renameSync(at("next"), at("docs/plan.md"))
  },
  "the file becomes a folder": ({ at }) => {
    Fs.rmSync(at("docs/plan.md"))
    Fs.mkdirSync(at("docs/plan.md"))
  },
  "the folder becomes a file": ({ at }) => {
    Fs.renameSync(at("docs"), at("aside"))
    Fs.writeFileSync(at("docs"), "")
  },
  "the folder goes": ({ at }) => Fs.rmSync(at("docs"), { recursive: true }),
  "the folder is moved out, and a link put there": ({ at, outside }) => {
    Fs.renameSync(at("docs"), Path.join(outside, "moved"))
    Fs.symlinkSync(outside, at("docs"))
  },
  "the root is moved, and becomes a link": ({ outside, root }) => {
    Fs.renameSync(root, `${root}-moved`)
    Fs.symlinkSync(Path.dirname(outside), root)
  }
}

/** What somebody may do for a moment, and how it ends. */
const momentary: Readonly<Record<string, readonly [(there: Folders) => void, (there: Folders) => void]>> = {
  "the folder is a link for a moment": [
    attacks["the folder becomes a link"]!,
    ({ at }) => {
      Fs.rmSync(at("docs"))
      Fs.renameSync(at("aside"), at("docs"))
    }
  ],
  ...Object.fromEntries(
    ["the file becomes a link", "the file becomes a second name"].map((name) => [
      `${name} for a moment`,
      [
        attacks[name]!,
        ({ at }: Folders) => {
          Fs.writeFileSync(at("next"), "inside\n")
          Fs.renameSync(at("next"), at("docs/plan.md"))
        }
      ] as const
    ])
  )
}

/** Operations that go to the file or the folder. */
const raced: Readonly<Record<string, (tree: Tree) => Promise<unknown>>> = {
  read: (tree) => operations["read"]!(tree, "docs/plan.md"),
  list: (tree) => operations["list"]!(tree, "docs"),
  "search names": (tree) => operations["search names"]!(tree, "docs"),
  "search text": (tree) => operations["search text"]!(tree, "docs"),
  create: (tree) => operations["create"]!(tree, "docs/new.txt"),
  "create folders": (tree) => operations["create"]!(tree, "docs/made/new.txt"),
  replace: (tree) => operations["replace"]!(tree, "docs/plan.md"),
  "compare with": (tree) => operations["compare with"]!(tree, "docs/plan.md"),
  delete: (tree) => operations["delete"]!(tree, "docs/plan.md")
}

/** Somebody outside has files of the same names. */
const prepared = Effect.map(folders, (there) => {
  Fs.writeFileSync(Path.join(there.outside, "plan.md"), secret)
  return there
})

/** Attacks an operation in front of each of its calls, each time on new folders; how often there was something to attack. */
const attackedEverywhere = Effect.fnUntraced(function* (
  holding: Holding,
  operation: (tree: Tree, there: Folders) => Promise<unknown>,
  attack: (there: Folders, since: number) => void,
  what: string,
  check: (told: string, before: Readonly<Record<string, string>>, there: Folders) => void
) {
  let moments = 0
  for (let at = 1; ; at++) {
    const calls = yield* Effect.scoped(
      Effect.gen(function* () {
        const there = yield* prepared
        const tree = yield* open(there.root, holding)
        const before = snapshot(there.outside)
        let told = ""
        const calls = yield* Effect.promise(() =>
          interposed(
            async () => {
              told = await outcome(operation(tree, there))
            },
            (call) => {
              if (call >= at) attack(there, call - at)
            }
          )
        )
        if (calls >= at) check(told, before, there)
        return calls
      })
    )
    if (calls < at) return moments
    moments++
    assert.isBelow(moments, 500, what)
  }
})

const once = (attack: (there: Folders) => void) => (there: Folders, since: number) => {
  if (since === 0) attack(there)
}

/** What was outside is as it was. What is moved out by the attacker is the attacker's. */
const assertUntouched = (before: Readonly<Record<string, string>>, { outside }: Folders, what: string) =>
  assert.deepStrictEqual(
    Object.fromEntries(Object.entries(snapshot(outside)).filter(([path]) => !path.startsWith("moved"))),
    before,
    what
  )

describe("races", () => {
  for (const [name, operation] of Object.entries(raced)) {
    it.effect.skipIf(!linux)(`are lost by whoever changes something between any two calls: ${name}`, () =>
      Effect.gen(function* () {
        for (const [attackName, attack] of Object.entries(attacks)) {
          const what = `${name}, when ${attackName}`
          const moments = yield* attackedEverywhere(
            "descriptor",
            operation,
            once(attack),
            what,
            (told, before, there) => {
              assertTellsNothing(told, what)
              assertUntouched(before, there, what)
            }
          )
          assert.isAbove(moments, 2, what)
        }
      })
    )
  }

  it.effect.skipIf(!linux)("are lost by whoever changes something for a moment, and puts it back", () =>
    Effect.gen(function* () {
      for (const name of ["read", "list", "search text", "compare with", "replace"]) {
        for (const [attackName, [begin, end]] of Object.entries(momentary)) {
          for (const duration of [1, 2]) {
            const what = `${name}, when ${attackName} of ${duration}`
            yield* attackedEverywhere(
              "descriptor",
              raced[name]!,
              (there, since) => {
                if (since === 0) begin(there)
                if (since === duration) end(there)
              },
              what,
              (told, before, there) => {
                assertTellsNothing(told, what)
                assertUntouched(before, there, what)
              }
            )
          }
        }
      }
    })
  )

  it.effect.skipIf(!linux)(
    "are lost by the layer that ends meanwhile, and by whoever gets its descriptors then",
    () =>
      Effect.gen(function* () {
        for (const name of ["read", "list", "search text", "create", "replace", "compare with", "delete"]) {
          for (let at = 1; ; at++) {
            const calls = yield* Effect.scoped(
              Effect.gen(function* () {
                const there = yield* prepared
                const tree = yield* open(there.root, "descriptor")
                // A folder outside that has everything that the root has.
                const other = Path.join(there.outside, "other")
                Fs.mkdirSync(Path.join(other, "docs"), { recursive: true })
                Fs.writeFileSync(Path.join(other, "docs/plan.md"), secret)
                const before = snapshot(there.outside)
                const taken: Array<number> = []
                let told = ""
                const calls = yield* Effect.promise(() =>
                  interposed(
                    async () => {
                      told = await outcome(raced[name]!(tree))
                    },
                    (call) => {
                      if (call === at) void tree.close()
                      if (call > at) for (let n = 0; n < 3; n++) taken.push(Fs.openSync(other, "r"))
                    }
                  )
                )
                for (const descriptor of taken) Fs.closeSync(descriptor)
                assertTellsNothing(told, name)
                assertUntouched(before, there, name)
                return calls
              })
            )
            if (calls < at) break
          }
        }
      })
  )

  it.effect("are seen by reads where folders are held by their paths", () =>
    Effect.gen(function* () {
      for (const name of ["read", "compare with"]) {
        for (const [attackName, attack] of Object.entries(attacks)) {
          const what = `${name}, when ${attackName}`
          yield* attackedEverywhere("path", raced[name]!, once(attack), what, (told, before, there) => {
            assertTellsNothing(told, what)
            assertUntouched(before, there, what)
          })
        }
      }
    })
  )

  it.effect(
    "are won against a check of the real path: these attacks find something where there is something to find",
    () =>
      Effect.gen(function* () {
        const naive = async (_: Tree, { root }: Folders) => {
          const real = await FsPromises.realpath(Path.join(root, "docs/plan.md"))
          if (!real.startsWith(`${root}/`)) return "outside"
          return FsPromises.open(real, "r").then((file) => file.readFile("utf8").finally(() => file.close()))
        }
        let leaks = 0
        for (const attack of [
          "the folder becomes a link",
          "the file becomes a link",
          "the file becomes a second name"
        ]) {
          yield* attackedEverywhere("path", naive, once(attacks[attack]!), attack, (told) => {
            if (told.includes(secret)) leaks++
          })
        }
        assert.isAbove(leaks, 2)
      })
  )

  it.effect.skipIf(!linux)(
    "are lost by another process that exchanges folders and files thousands of times",
    () =>
      Effect.gen(function* () {
        const there = yield* prepared
        Fs.writeFileSync(there.at("file.txt"), "inside")
        Fs.writeFileSync(Path.join(there.outside, "delete.me"), secret)
        const tree = yield* open(there.root, "descriptor")
        const before = snapshot(there.outside)
        yield* swapper(there)
        const outcomes = new Map<string, Map<string, number>>()
        const tries: Readonly<Record<string, (n: number) => Promise<unknown>>> = {
          "read in folder": () => read(tree, { path: "docs/plan.md" }, 1e5),
          "read file": () => read(tree, { path: "file.txt" }, 1e5),
          list: () => list(tree, { path: "docs", limit: 100 }),
          search: () => search(tree, { path: "docs", text: "e", caseSensitive: true, limit: 100 }),
          write: (n) =>
            write(tree, {
              path: "docs/plan.md",
              bytes: Buffer.from(`${n}`),
              overwrite: true,
              parents: false
            }),
          create: (n) =>
            write(tree, {
              path: `docs/new-${n % 5}`,
              bytes: Buffer.from("x"),
              overwrite: false,
              parents: false
            }),
          "write file": (n) =>
            write(tree, { path: "file.txt", bytes: Buffer.from(`${n}`), overwrite: true, parents: false }),
          compare: () => operations["compare with"]!(tree, "file.txt"),
          delete: () => remove(tree, "docs/delete.me"),
          "delete new": (n) => remove(tree, `docs/new-${n % 5}`)
        }
        const tryOnce = async (n: number) => {
          for (const [name, run] of Object.entries(tries)) {
            const told = await outcome(run(n))
            assertTellsNothing(told, name)
            const kind = /^\w+(?=: )/.exec(told)?.[0] ?? "done"
            const seen = outcomes.get(name) ?? new Map<string, number>()
            outcomes.set(name, seen.set(kind, (seen.get(kind) ?? 0) + 1))
          }
        }
        // Goes on until every operation has ended in more than one way, which shows that there was a race.
        const isHit = () => [...outcomes.values()].every((seen) => seen.size > 1)
        let tried = 0
        while (tried < 400 || (tried < 20_000 && !isHit())) {
          yield* Effect.promise(() => Promise.all(Array.from({ length: 8 }, (_, n) => tryOnce(tried + n))))
          tried += 8
        }
        assert.isTrue(isHit(), JSON.stringify([...outcomes].map(([name, seen]) => [name, [...seen]])))
        assert.deepStrictEqual(snapshot(there.outside), before)
      })
  )
})

/** A process that exchanges things until the scope ends. */
const swapper = ({ outside, root }: Folders) =>
  Effect.acquireRelease(
    Effect.callback<ReturnType<typeof spawn>>((resume) => {
      const script = new URL("./support/folderSwapper.ts", import.meta.url).pathname
      const child = spawn(process.execPath, [script, root, outside], { stdio: ["ignore", "pipe", "inherit"] })
      child.stdout!.once("data", () => resume(Effect.succeed(child)))
    }),
    (child) =>
      Effect.callback<void>((resume) => {
        child.once("exit", () => resume(Effect.void))
        child.kill("SIGKILL")
      })
  )
