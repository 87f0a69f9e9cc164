import { spawn, spawnSync } from "node:child_process"
import {
  appendFileSync,
  cpSync,
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync
} from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { NodeFileSystem, NodePath } from "@effect/platform-node"
import { afterAll, afterEach, assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import type * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import type * as Path from "effect/Path"
import * as Queue from "effect/Queue"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import * as fc from "fast-check"
import type { AuditStore, AuditStoreError, StoredLine } from "../src/AuditLog.ts"
import { AuditLog as Log } from "../src/AuditLog.ts"
import * as FileAuditLog from "../src/FileAuditLog.ts"
import { suite } from "./AuditLogSuite.ts"
import { type Backend, end, requirements, running } from "./support/audit.ts"
import * as FaultyFiles from "./support/faultyFiles.ts"

// --- Directories, lines, stores --------------------------------------------

const root = mkdtempSync(join(tmpdir(), "file-audit-log-"))
let directories = 0
const newDirectory = (): string => join(root, String(++directories))
afterEach(() => {
  for (const name of readdirSync(root)) rmSync(join(root, name), { recursive: true })
})
afterAll(() => rmSync(root, { recursive: true }))

const day = 86_400_000
const lineOf = (sequence: number, time = sequence, text = `é${sequence}`): StoredLine => ({
  sequence,
  time,
  line: JSON.stringify({ v: 1, sequence, time, text })
})
const linesOf = (from: number, to: number, time?: number): Array<StoredLine> =>
  Array.from({ length: to - from + 1 }, (_, index) => lineOf(from + index, time))

const recordFiles = (directory: string): Array<string> =>
  readdirSync(directory)
    .filter((name) => name.endsWith(".jsonl"))
    .toSorted()
const textOf = (directory: string): string =>
  recordFiles(directory)
    .map((name) => readFileSync(join(directory, name), "utf8"))
    .join("")

const nodeFiles = Layer.merge(NodeFileSystem.layer, NodePath.layer)
const withFaults = (faults: FaultyFiles.Faults) =>
  Layer.merge(FaultyFiles.layer(faults).pipe(Layer.provide(NodeFileSystem.layer)), NodePath.layer)

type Files = Layer.Layer<FileSystem.FileSystem | Path.Path>

/** Opens a store for as long as `use` runs. */
const opened = <A, E>(
  options: FileAuditLog.StoreOptions,
  use: (store: AuditStore) => Effect.Effect<A, E>,
  files: Files = nodeFiles
): Effect.Effect<A, E | AuditStoreError> =>
  Effect.scoped(Effect.flatMap(FileAuditLog.makeStore(options), use)).pipe(Effect.provide(files))

const openIn = (scope: Scope.Scope, options: FileAuditLog.StoreOptions, files: Files = nodeFiles) =>
  FileAuditLog.makeStore(options).pipe(Scope.provide(scope), Effect.provide(files))

const readAll = (store: AuditStore, range: { from?: number; to?: number } = {}) =>
  Effect.map(Stream.runCollect(store.read(range)), (found) => [...found])

/** Appends each batch after the one before. */
const appendAll = Effect.fnUntraced(function* (
  store: AuditStore,
  batches: ReadonlyArray<ReadonlyArray<StoredLine>>
) {
  for (const batch of batches) {
    const head = yield* store.head
    const next = `head ${batch.at(-1)?.sequence}`
    assert.strictEqual(yield* store.append(batch, head, next), "appended")
  }
})

/** A process that was killed removes nothing: its lock names a process that is gone. */
const dead = (directory: string): void => {
  for (const name of readdirSync(directory).filter((name) => name.endsWith(".lock"))) {
    const lock = JSON.parse(readFileSync(join(directory, name), "utf8"))
    writeFileSync(join(directory, name), JSON.stringify({ ...lock, pid: ended }))
  }
}
const ended = spawnSync(process.execPath, ["--version"]).pid

const run = <A, E>(effect: Effect.Effect<A, E>): Promise<A> =>
  Effect.runPromise(Effect.provide(effect, Logger.layer([])))

// --- The files -------------------------------------------------------------

describe("FileAuditLog", () => {
  describe("files", () => {
    it.effect("are private, in a private directory", () =>
      Effect.gen(function* () {
        const directory = join(newDirectory(), "deep", "log")
        yield* opened({ directory, maxBytes: 100 }, (store) =>
          Effect.gen(function* () {
            yield* appendAll(store, [linesOf(1, 2), linesOf(3, 4)])
            yield* store.put("principal/a", "sealed")
            yield* store.append([], "head 4", "head 4 signed")
            assert.strictEqual(statSync(directory).mode & 0o777, 0o700)
            assert.strictEqual(statSync(join(directory, "values")).mode & 0o777, 0o700)
            const names = readdirSync(directory, { recursive: true, encoding: "utf8" })
            const files = names.filter((name) => statSync(join(directory, name)).isFile())
            // Two of records, the head, a value, the lock.
            assert.strictEqual(files.length, 5)
            for (const name of files)
              assert.strictEqual(statSync(join(directory, name)).mode & 0o777, 0o600, name)
          })
        )
      })
    )

    it.effect("hold one record per line, and go on where they ended when they are opened again", () =>
      Effect.gen(function* () {
        const directory = newDirectory()
        yield* opened({ directory }, (store) => appendAll(store, [linesOf(1, 3), linesOf(4, 4)]))
        yield* opened({ directory }, (store) =>
          Effect.gen(function* () {
            assert.strictEqual(yield* store.head, "head 4")
            assert.deepStrictEqual(yield* store.last, lineOf(4))
            yield* appendAll(store, [linesOf(5, 6)])
            assert.deepStrictEqual(yield* readAll(store), linesOf(1, 6))
            assert.deepStrictEqual(yield* readAll(store, { from: 2, to: 4 }), linesOf(2, 4))
          })
        )
        assert.strictEqual(
          textOf(directory),
          linesOf(1, 6)
            .map(({ line }) => `${line}\n`)
            .join("")
        )
      })
    )

    it.effect("are empty of records at first", () =>
      opened({ directory: newDirectory() }, (store) =>
        Effect.gen(function* () {
          assert.isUndefined(yield* store.head)
          assert.isUndefined(yield* store.last)
          assert.deepStrictEqual(yield* readAll(store), [])
        })
      )
    )

    it.effect("rotate by size, never within a batch, whatever the batches are", () =>
      Effect.promise(() =>
        fc.assert(
          fc.asyncProperty(
            fc.array(fc.integer({ min: 1, max: 12 }), { minLength: 1, maxLength: 12 }),
            fc.integer({ min: 1, max: 600 }),
            (sizes, maxBytes) =>
              run(
                Effect.gen(function* () {
                  const directory = newDirectory()
                  const batches: Array<ReadonlyArray<StoredLine>> = []
                  for (const size of sizes) {
                    const last = batches.at(-1)?.at(-1)?.sequence ?? 0
                    batches.push(linesOf(last + 1, last + size, 0))
                  }
                  yield* opened({ directory, maxBytes, fsync: "never" }, (store) => appendAll(store, batches))
                  yield* opened({ directory, maxBytes }, (store) =>
                    Effect.gen(function* () {
                      assert.deepStrictEqual(yield* readAll(store), batches.flat())
                    })
                  )
                  const firsts = new Set(batches.map((batch) => batch[0]!.sequence))
                  const bytesOf = (batch: ReadonlyArray<StoredLine>) =>
                    Buffer.byteLength(batch.map(({ line }) => `${line}\n`).join(""))
                  for (const name of recordFiles(directory)) {
                    const first = Number(name.slice("audit-".length, -".jsonl".length))
                    assert.isTrue(firsts.has(first))
                    const alone = bytesOf(batches.find((batch) => batch[0]!.sequence === first)!)
                    assert.isAtMost(statSync(join(directory, name)).size, Math.max(maxBytes, alone))
                  }
                })
              )
          ),
          { numRuns: 30 }
        )
      )
    )

    it.effect("rotate at midnight UTC of the records' time, across a restart too", () =>
      Effect.gen(function* () {
        const directory = newDirectory()
        yield* opened({ directory }, (store) =>
          appendAll(store, [[lineOf(1, day - 2)], [lineOf(2, day - 1), lineOf(3, day)]])
        )
        yield* opened({ directory }, (store) =>
          // A clock that went back begins nothing.
          appendAll(store, [[lineOf(4, day)], [lineOf(5, day - 1)], [lineOf(6, 3 * day)]])
        )
        assert.deepStrictEqual(recordFiles(directory), [
          "audit-0000000000000001.jsonl",
          "audit-0000000000000004.jsonl",
          "audit-0000000000000006.jsonl"
        ])
        const one = newDirectory()
        yield* opened({ directory: one, rotateDaily: false }, (store) =>
          appendAll(store, [[lineOf(1, 0)], [lineOf(2, 3 * day)]])
        )
        assert.strictEqual(recordFiles(one).length, 1)
      })
    )

    it("refuses options that make no sense", async () => {
      const directory = newDirectory()
      const cases: ReadonlyArray<readonly [FileAuditLog.StoreOptions, string]> = [
        [{ directory: "" }, "directory"],
        [{ directory, maxBytes: 0 }, "maxBytes"],
        [{ directory, maxBytes: 1.5 }, "maxBytes"],
        [{ directory, fsync: { interval: 0 } }, "fsync.interval"],
        [{ directory, fsync: { interval: "Infinity" } }, "fsync.interval"]
      ]
      for (const [options, name] of cases) {
        const exit = await Effect.runPromiseExit(opened(options, () => Effect.void))
        assert.isTrue(Exit.isFailure(exit))
        assert.include(String(exit), `RangeError: FileAuditLog: ${name} must be`)
      }
    })
  })

  // --- Crashes -------------------------------------------------------------

  describe("after a crash", () => {
    it.effect("keeps every whole line and saves the rest, wherever a write was cut", () =>
      Effect.gen(function* () {
        const whole = newDirectory()
        yield* opened({ directory: whole, fsync: "never" }, (store) =>
          appendAll(store, [linesOf(1, 2), linesOf(3, 4)])
        )
        const bytes = readFileSync(join(whole, recordFiles(whole)[0]!))
        for (let cut = 0; cut <= bytes.length; cut++) {
          const directory = newDirectory()
          cpSync(whole, directory, { recursive: true })
          truncateSync(join(directory, recordFiles(directory)[0]!), cut)
          const left = bytes.subarray(0, cut)
          const kept = left.subarray(0, left.lastIndexOf(10) + 1)
          const lines = kept.toString("utf8").split("\n").slice(0, -1)
          yield* opened({ directory, fsync: "never" }, (store) =>
            Effect.gen(function* () {
              const found = yield* readAll(store)
              assert.deepStrictEqual(found, linesOf(1, lines.length))
              assert.deepStrictEqual(yield* store.last, found.at(-1))
              const next = lineOf(lines.length + 1)
              yield* appendAll(store, [[next]])
              assert.deepStrictEqual(yield* readAll(store), [...found, next])
            })
          )
          const torn = readdirSync(directory).filter((name) => name.endsWith(".torn"))
          const saved = torn.map((name) => readFileSync(join(directory, name)))
          assert.deepStrictEqual(Buffer.concat(saved), left.subarray(kept.length))
          for (const name of torn) assert.strictEqual(statSync(join(directory, name)).mode & 0o777, 0o600)
        }
      })
    )

    it.effect("warns of what is torn, and keeps what is torn at the same place a second time", () =>
      Effect.gen(function* () {
        const directory = newDirectory()
        const warnings: Array<unknown> = []
        const logger = Logger.make(({ message }) => warnings.push(message))
        yield* opened({ directory }, (store) => appendAll(store, [linesOf(1, 1)]))
        const [file] = recordFiles(directory)
        const offset = statSync(join(directory, file!)).size
        for (const rest of ["first", "second"]) {
          appendFileSync(join(directory, file!), rest)
          yield* opened({ directory }, (store) => store.last).pipe(Effect.provide(Logger.layer([logger])))
        }
        const torn = ["audit-0000000000000001-43.torn", "audit-0000000000000001-43-2.torn"]
        assert.deepStrictEqual(
          torn.map((name) => readFileSync(join(directory, name), "utf8")),
          ["first", "second"]
        )
        const message = "The audit log ended in the middle of a line, which was saved aside."
        assert.deepStrictEqual(warnings, [
          [message, { file, offset, bytes: 5, savedAs: torn[0] }],
          [message, { file, offset, bytes: 6, savedAs: torn[1] }]
        ])
      })
    )

    it.effect("takes an empty file after a rotation for none", () =>
      Effect.gen(function* () {
        const directory = newDirectory()
        yield* opened({ directory }, (store) => appendAll(store, [linesOf(1, 2)]))
        writeFileSync(join(directory, "audit-0000000000000003.jsonl"), "")
        yield* opened({ directory, maxBytes: 1 }, (store) =>
          Effect.gen(function* () {
            assert.deepStrictEqual(yield* store.last, lineOf(2))
            yield* appendAll(store, [linesOf(3, 3)])
            assert.deepStrictEqual(yield* readAll(store), linesOf(1, 3))
          })
        )
      })
    )

    it.effect("hands on what is no record, at the number where one should be", () =>
      Effect.gen(function* () {
        const directory = newDirectory()
        yield* opened({ directory }, (store) => appendAll(store, [linesOf(1, 4)]))
        const file = join(directory, recordFiles(directory)[0]!)
        const lines = readFileSync(file, "utf8").split("\n")
        writeFileSync(file, [lines[0], "garbage", lines[2], "{}", ""].join("\n"))
        yield* opened({ directory }, (store) =>
          Effect.gen(function* () {
            const found = yield* readAll(store)
            assert.deepStrictEqual(
              found.map(({ sequence, line }) => [sequence, line]),
              [
                [1, lines[0]],
                [2, "garbage"],
                [3, lines[2]],
                [4, "{}"]
              ]
            )
            assert.deepStrictEqual((yield* store.last)?.sequence, 4)
          })
        )
      })
    )
  })

  // --- The lock ------------------------------------------------------------

  describe("the lock", () => {
    const foreign = (directory: string, name: string) => {
      mkdirSync(directory, { recursive: true })
      writeFileSync(
        join(directory, name),
        JSON.stringify({ pid: 1, start: "1", place: "elsewhere", since: 0 })
      )
    }

    it.effect("refuses a second opener while the first lives, and says who has it", () =>
      Effect.gen(function* () {
        const directory = newDirectory()
        const error = yield* opened({ directory }, () =>
          Effect.flip(opened({ directory }, () => Effect.void))
        )
        assert.strictEqual(error.message, "Another process has the audit log's directory open.")
        assert.strictEqual((error.cause as { pid: number }).pid, process.pid)
        yield* opened({ directory }, () => Effect.void)
        assert.deepStrictEqual(
          readdirSync(directory).filter((name) => name.endsWith(".lock")),
          []
        )
      })
    )

    it.effect("never lets two of many that open at once go on together", () =>
      Effect.gen(function* () {
        const directory = newDirectory()
        let open = 0
        let most = 0
        yield* Effect.forEach(
          Array.from({ length: 40 }),
          () =>
            opened({ directory }, () =>
              Effect.gen(function* () {
                most = Math.max(most, ++open)
                yield* Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
                open--
              })
            ).pipe(Effect.exit),
          { concurrency: 8 }
        )
        assert.isAtMost(most, 1)
        yield* opened({ directory }, () => Effect.void)
      })
    )

    it.effect("does not let a dead process lock out the next, nor another that got its number", () =>
      Effect.gen(function* () {
        const directory = newDirectory()
        const scope = yield* Scope.make()
        yield* openIn(scope, { directory })
        dead(directory)
        yield* opened({ directory }, () => Effect.void)
        yield* Scope.close(scope, Exit.void)

        yield* opened({ directory }, () =>
          Effect.sync(() => {
            const [name] = readdirSync(directory).filter((name) => name.endsWith(".lock"))
            const lock = JSON.parse(readFileSync(join(directory, name!), "utf8"))
            writeFileSync(join(directory, "reused.lock"), JSON.stringify({ ...lock, start: "1" }))
          })
        )
        yield* opened({ directory }, () => Effect.void)
        assert.isFalse(existsSync(join(directory, "reused.lock")))
      })
    )

    it.effect(
      "is taken over from where nobody can see who lives once it was untouched for five seconds",
      () =>
        Effect.gen(function* () {
          const directory = newDirectory()
          foreign(directory, "foreign.lock")
          const fiber = yield* Effect.forkChild(opened({ directory }, () => Effect.void))
          yield* asTimePasses(fiber)
          yield* Fiber.join(fiber)
          assert.isFalse(existsSync(join(directory, "foreign.lock")))
        })
    )

    it.effect("is left to whoever touches it", () =>
      Effect.gen(function* () {
        const directory = newDirectory()
        foreign(directory, "foreign.lock")
        const fiber = yield* Effect.forkChild(Effect.flip(opened({ directory }, () => Effect.void)))
        let touched = 0
        yield* asTimePasses(fiber, () => {
          utimesSync(join(directory, "foreign.lock"), ++touched, touched)
        })
        assert.strictEqual((yield* Fiber.join(fiber))._tag, "AuditStoreError")
        assert.isTrue(existsSync(join(directory, "foreign.lock")))
      })
    )

    it.effect("is touched every second", () =>
      Effect.gen(function* () {
        const directory = newDirectory()
        yield* opened({ directory }, (store) =>
          Effect.gen(function* () {
            yield* TestClock.adjust("1 hour")
            yield* store.last
            const [name] = readdirSync(directory).filter((name) => name.endsWith(".lock"))
            yield* Effect.promise(async () => {
              while (statSync(join(directory, name!)).mtimeMs < 1000) await new Promise(setImmediate)
            })
          })
        )
      })
    )

    it.effect("that was taken away stops whoever had it", () =>
      Effect.gen(function* () {
        const directory = newDirectory()
        yield* opened({ directory }, (store) =>
          Effect.gen(function* () {
            yield* appendAll(store, [linesOf(1, 1)])
            for (const name of readdirSync(directory)) {
              if (name.endsWith(".lock")) rmSync(join(directory, name))
            }
            const error = yield* Effect.flip(store.append(linesOf(2, 2), "head 1", "head 2"))
            assert.include(error.message, "lock")
            assert.strictEqual((yield* Effect.flip(store.put("a", "b")))._tag, "AuditStoreError")
          })
        )
        assert.strictEqual(textOf(directory), `${lineOf(1).line}\n`)
        assert.isFalse(existsSync(join(directory, "head")))
      })
    )

    it("of a process that was killed with SIGKILL is free at once, and not before", async () => {
      const directory = newDirectory()
      const program = new URL("support/fileAuditLogHolder.ts", import.meta.url).pathname
      const child = spawn(process.execPath, [program, directory], { stdio: ["ignore", "pipe", "inherit"] })
      await new Promise((resolve) => child.stdout.once("data", resolve))
      const refused = await run(Effect.flip(opened({ directory }, () => Effect.void)))
      assert.strictEqual((refused.cause as { pid: number }).pid, child.pid)
      const exited = new Promise((resolve) => child.once("exit", resolve))
      child.kill("SIGKILL")
      await exited
      await run(
        opened({ directory }, (store) =>
          Effect.gen(function* () {
            assert.deepStrictEqual(yield* readAll(store), linesOf(1, 1))
          })
        )
      )
    })
  })

  // --- Failures ------------------------------------------------------------

  describe("when the disk fails", () => {
    const fault = fc.constantFrom<FaultyFiles.Fault>("before", "after", "short")
    /** What fails: the so manieth operation from now, and then so many of those that follow. */
    const step = fc.record({
      size: fc.integer({ min: 1, max: 4 }),
      faults: fc.array(fc.tuple(fc.integer({ min: 0, max: 6 }), fault), { maxLength: 2 }),
      reopens: fc.boolean()
    })

    it.effect("keeps what was acknowledged and nothing that was refused, whatever fails", () =>
      Effect.promise(() =>
        fc.assert(
          fc.asyncProperty(
            fc.array(step, { minLength: 1, maxLength: 10 }),
            fc.constantFrom<FileAuditLog.StoreOptions["fsync"]>("every", "never", { interval: "1 hour" }),
            (steps, fsync) =>
              run(
                Effect.gen(function* () {
                  const directory = newDirectory()
                  const options = { directory, fsync, maxBytes: 250 }
                  const faults = FaultyFiles.make()
                  const files = withFaults(faults)
                  let scope = yield* Scope.make()
                  let store = yield* openIn(scope, options, files)
                  const acknowledged: Array<StoredLine> = []
                  let head: string | undefined
                  for (const [index, { faults: planned, reopens, size }] of steps.entries()) {
                    const batch = Array.from({ length: size }, (_, at) =>
                      lineOf(acknowledged.length + 1 + at, index, `of step ${index}`)
                    )
                    let left = [...planned]
                    let count = 0
                    faults.decide = () => {
                      const found = left.find(([at]) => at === count)
                      count += 1
                      left = left.filter((one) => one !== found)
                      return found?.[1]
                    }
                    const exit = yield* Effect.exit(store.append(batch, head, `head ${index}`))
                    faults.decide = () => undefined
                    if (planned.length === 0) assert.isTrue(Exit.isSuccess(exit), String(exit))
                    if (Exit.isSuccess(exit)) {
                      assert.strictEqual(exit.value, "appended")
                      acknowledged.push(...batch)
                      head = `head ${index}`
                    }
                    if (reopens) {
                      yield* Scope.close(scope, Exit.void)
                      scope = yield* Scope.make()
                      store = yield* openIn(scope, options, files)
                    }
                    assert.deepStrictEqual(yield* readAll(store), acknowledged)
                    assert.deepStrictEqual(yield* store.last, acknowledged.at(-1))
                    assert.strictEqual(yield* store.head, head)
                  }
                  yield* Scope.close(scope, Exit.void)
                  assert.strictEqual(textOf(directory), acknowledged.map(({ line }) => `${line}\n`).join(""))
                  assert.deepStrictEqual(
                    readdirSync(directory).filter((name) => name.endsWith(".torn")),
                    []
                  )
                })
              )
          ),
          { numRuns: 80 }
        )
      )
    )

    it.effect("loses nothing that was acknowledged when the process dies after a failure", () =>
      Effect.promise(() =>
        fc.assert(
          fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 6 }), (steps) =>
            run(
              Effect.gen(function* () {
                const directory = newDirectory()
                const options = { directory, maxBytes: 250 }
                let acknowledged: ReadonlyArray<StoredLine> = []
                for (const [index, { faults: planned, size }] of steps.entries()) {
                  const faults = FaultyFiles.make()
                  const scope = yield* Scope.make()
                  const store = yield* openIn(scope, options, withFaults(faults))
                  const found = yield* readAll(store)
                  // What was refused may be there: it was whole when the process died.
                  assert.deepStrictEqual(found.slice(0, acknowledged.length), acknowledged)
                  acknowledged = found
                  const batch = Array.from({ length: size }, (_, at) =>
                    lineOf(acknowledged.length + 1 + at, index)
                  )
                  const first = planned[0]
                  let count = 0
                  // From the first fault on nothing is done any more.
                  faults.decide = () => {
                    const at = count++
                    if (first === undefined || at < first[0]) return undefined
                    return at === first[0] ? first[1] : "before"
                  }
                  const exit = yield* Effect.exit(
                    store.append(batch, yield* Effect.succeed(undefined), "head")
                  )
                  if (Exit.isSuccess(exit) && exit.value === "appended")
                    acknowledged = [...acknowledged, ...batch]
                  faults.decide = () => "before"
                  yield* Scope.close(scope, Exit.void)
                  dead(directory)
                  rmSync(join(directory, "head"), { force: true })
                }
                yield* opened(options, (store) =>
                  Effect.gen(function* () {
                    const found = yield* readAll(store)
                    assert.deepStrictEqual(found.slice(0, acknowledged.length), acknowledged)
                    found.forEach((line, index) => {
                      assert.strictEqual(line.sequence, index + 1)
                    })
                  })
                )
              })
            )
          ),
          { numRuns: 40 }
        )
      )
    )

    it.effect("says what the failure was to operators only", () =>
      Effect.gen(function* () {
        const faults = FaultyFiles.make()
        yield* opened(
          { directory: newDirectory() },
          (store) =>
            Effect.gen(function* () {
              faults.decide = ({ operation }) => (operation === "write" ? "short" : undefined)
              const error = yield* Effect.flip(store.append(linesOf(1, 1), undefined, "head"))
              assert.strictEqual(error.message, "The audit log's files cannot be read or written.")
              assert.include(String((error.cause as { cause: unknown }).cause), "no space left")
              faults.decide = () => undefined
            }),
          withFaults(faults)
        )
      })
    )

    it.effect("ends a write that has begun, whoever waits for it is interrupted or not", () =>
      Effect.gen(function* () {
        const directory = newDirectory()
        yield* opened({ directory }, (store) =>
          Effect.gen(function* () {
            const fibers = []
            for (let n = 1; n <= 20; n++) {
              const fiber = yield* Effect.forkChild(store.append([lineOf(n)], undefined, "head"))
              for (let turns = 0; turns < n; turns++) yield* Effect.yieldNow
              fibers.push(fiber)
            }
            yield* Effect.forEach(fibers, Fiber.interrupt, { discard: true })
            const found = yield* readAll(store)
            // One was first; the others were not, or never began.
            assert.isAtMost(found.length, 1)
            assert.strictEqual(yield* store.head, found.length === 0 ? undefined : "head")
            assert.strictEqual(textOf(directory), found.map(({ line }) => `${line}\n`).join(""))
          })
        )
      })
    )
  })

  // --- fsync ---------------------------------------------------------------

  describe("fsync", () => {
    const syncsOf = (faults: FaultyFiles.Faults): number => {
      const found = faults.asked.filter(
        ({ operation, path }) => operation === "sync" && path.endsWith(".jsonl")
      )
      faults.asked.length = 0
      return found.length
    }
    const counting = (
      fsync: FileAuditLog.StoreOptions["fsync"],
      use: (
        store: AuditStore,
        syncs: () => number,
        faults: FaultyFiles.Faults
      ) => Effect.Effect<void, unknown>
    ) =>
      Effect.gen(function* () {
        const faults = FaultyFiles.make()
        const options = { directory: newDirectory(), fsync }
        yield* opened(options, (store) => use(store, () => syncsOf(faults), faults), withFaults(faults))
        return syncsOf(faults)
      })

    it.effect("every: syncs once per batch, however many records it has", () =>
      Effect.gen(function* () {
        yield* counting("every", (store, syncs) =>
          Effect.gen(function* () {
            yield* appendAll(store, [linesOf(1, 50)])
            assert.strictEqual(syncs(), 1)
            yield* appendAll(store, [linesOf(51, 51), linesOf(52, 52)])
            assert.strictEqual(syncs(), 2)
          })
        )
      })
    )

    it.effect("interval: syncs when the interval is over, if there is anything, and at the end", () =>
      Effect.gen(function* () {
        const atTheEnd = yield* counting({ interval: "10 seconds" }, (store, syncs) =>
          Effect.gen(function* () {
            yield* appendAll(store, [linesOf(1, 1), linesOf(2, 2)])
            assert.strictEqual(syncs(), 0)
            yield* TestClock.adjust("10 seconds")
            yield* store.last
            assert.strictEqual(syncs(), 1)
            yield* settled(store)
            yield* TestClock.adjust("10 seconds")
            yield* store.last
            assert.strictEqual(syncs(), 0)
            yield* appendAll(store, [linesOf(3, 3)])
          })
        )
        assert.strictEqual(atTheEnd, 1)
      })
    )

    it.effect("interval: a sync that fails is told to the next who appends, once", () =>
      counting({ interval: "10 seconds" }, (store, _, faults) =>
        Effect.gen(function* () {
          yield* appendAll(store, [linesOf(1, 1)])
          faults.decide = ({ operation }) => (operation === "sync" ? "before" : undefined)
          yield* TestClock.adjust("10 seconds")
          yield* store.last
          faults.decide = () => undefined
          const error = yield* Effect.flip(store.append(linesOf(2, 2), "head 1", "head 2"))
          assert.strictEqual(error._tag, "AuditStoreError")
          yield* appendAll(store, [linesOf(2, 2)])
          assert.deepStrictEqual(yield* readAll(store), linesOf(1, 2))
        })
      )
    )

    it.effect("never: syncs no records", () =>
      Effect.gen(function* () {
        const atTheEnd = yield* counting("never", (store, syncs) =>
          Effect.gen(function* () {
            yield* appendAll(store, [linesOf(1, 1)])
            yield* TestClock.adjust("1 hour")
            yield* store.last
            assert.strictEqual(syncs(), 0)
          })
        )
        assert.strictEqual(atTheEnd, 0)
      })
    )

    for (const fsync of ["every", "never", { interval: "1 hour" }] as const) {
      it.effect(
        `${JSON.stringify(fsync)}: a checkpoint's head is there when it returns, and its records before it`,
        () =>
          Effect.gen(function* () {
            const directory = newDirectory()
            const faults = FaultyFiles.make()
            yield* opened(
              { directory, fsync },
              (store) =>
                Effect.gen(function* () {
                  yield* appendAll(store, [linesOf(1, 2)])
                  faults.asked.length = 0
                  yield* store.append([], "head 2", "signed")
                  assert.strictEqual(readFileSync(join(directory, "head"), "utf8"), "signed")
                  const synced = faults.asked
                    .filter(({ operation }) => operation === "sync")
                    .map(({ path }) => path)
                  if (fsync !== "every") assert.match(synced.shift() ?? "", /\.jsonl$/)
                  assert.match(synced.shift() ?? "", /head\.tmp$/)
                  assert.strictEqual(synced.length, 1)
                }),
              withFaults(faults)
            )
          })
      )
    }

    it.effect("writes the head within a second", () =>
      Effect.gen(function* () {
        const directory = newDirectory()
        yield* opened({ directory }, (store) =>
          Effect.gen(function* () {
            yield* appendAll(store, [linesOf(1, 2)])
            assert.isFalse(existsSync(join(directory, "head")))
            yield* TestClock.adjust("1 second")
            yield* store.last
            yield* settled(store)
            yield* Effect.promise(async () => {
              while (!existsSync(join(directory, "head"))) await new Promise(setImmediate)
            })
          })
        )
      })
    )
  })

  // --- Replacing -----------------------------------------------------------

  describe("replace", () => {
    const batches = [linesOf(1, 3), linesOf(4, 6), linesOf(7, 9), linesOf(10, 10)]
    const all = batches.flat()
    const gap = (to: number) => lineOf(to, 0, "gap")
    /** Three records to a file. */
    const written = Effect.fnUntraced(function* () {
      const directory = newDirectory()
      const options = { directory, maxBytes: 150, fsync: "never" as const }
      yield* opened(options, (store) => appendAll(store, batches))
      assert.strictEqual(recordFiles(directory).length, 4)
      return options
    })
    const replaced = (from: number, to: number) => [
      ...all.filter(({ sequence }) => sequence < from),
      gap(to),
      ...all.filter(({ sequence }) => sequence > to)
    ]

    it.effect("puts one line in the place of any range, and goes on", () =>
      Effect.gen(function* () {
        for (let from = 1; from <= 10; from++) {
          for (let to = from; to <= 10; to++) {
            const options = yield* written()
            yield* opened(options, (store) =>
              Effect.gen(function* () {
                const range = { from, to, lines: to - from + 1 }
                assert.strictEqual(
                  yield* store.replace({ ...range, lines: range.lines + 1 }, gap(to)),
                  "moved"
                )
                assert.deepStrictEqual(yield* readAll(store), all)
                assert.strictEqual(yield* store.replace(range, gap(to)), "replaced")
                assert.deepStrictEqual(yield* readAll(store), replaced(from, to))
                assert.deepStrictEqual(yield* store.last, to === 10 ? gap(10) : lineOf(10))
                yield* appendAll(store, [linesOf(11, 12)])
              })
            )
            yield* opened(options, (store) =>
              Effect.gen(function* () {
                assert.deepStrictEqual(yield* readAll(store), [...replaced(from, to), ...linesOf(11, 12)])
                assert.deepStrictEqual(
                  yield* readAll(store, { from: to, to: 11 }),
                  [...replaced(from, to), ...linesOf(11, 12)].filter(
                    (one) => one.sequence >= to && one.sequence <= 11
                  )
                )
              })
            )
          }
        }
      })
    )

    const ranges = [
      [1, 3],
      [2, 8]
    ] as const

    for (const kind of ["before", "after", "short"] as const) {
      it.effect(`is done or not done, wherever the process dies (the last operation: ${kind})`, () =>
        Effect.gen(function* () {
          let outcomes = ""
          for (const [from, to] of kind === "short" ? ranges.slice(1) : ranges) {
            for (let at = 0; ; at++) {
              const options = yield* written()
              const faults = FaultyFiles.make()
              const scope = yield* Scope.make()
              const store = yield* openIn(scope, options, withFaults(faults))
              let count = 0
              faults.decide = () => (count++ < at ? undefined : count === at + 1 ? kind : "before")
              const exit = yield* Effect.exit(store.replace({ from, to, lines: to - from + 1 }, gap(to)))
              faults.decide = () => "before"
              yield* Scope.close(scope, Exit.void)
              dead(options.directory)
              yield* opened(options, (store) =>
                Effect.gen(function* () {
                  const found = yield* readAll(store)
                  const done = found.some(({ line }) => line === gap(to).line)
                  assert.deepStrictEqual(found, done ? replaced(from, to) : all)
                  if (Exit.isSuccess(exit)) assert.isTrue(done)
                  outcomes += done ? "+" : "-"
                  yield* appendAll(store, [linesOf(11, 11)])
                })
              )
              const left = readdirSync(options.directory).filter((name) => /tmp|retired|replacing/.test(name))
              assert.deepStrictEqual(left, [])
              if (Exit.isSuccess(exit)) break
            }
          }
          assert.match(outcomes, /-\+/)
        })
      )

      it.effect(`goes on after one operation that fails (${kind})`, () =>
        Effect.gen(function* () {
          for (const [from, to] of ranges) {
            for (let at = 0; ; at++) {
              const options = yield* written()
              const faults = FaultyFiles.make()
              const succeeded = yield* opened(
                options,
                (store) =>
                  Effect.gen(function* () {
                    let count = 0
                    faults.decide = () => (count++ === at ? kind : undefined)
                    const range = { from, to, lines: to - from + 1 }
                    const exit = yield* Effect.exit(store.replace(range, gap(to)))
                    faults.decide = () => undefined
                    const found = yield* readAll(store)
                    const done = found.some(({ line }) => line === gap(to).line)
                    assert.deepStrictEqual(found, done ? replaced(from, to) : all)
                    const again = yield* store.replace(range, gap(to))
                    assert.strictEqual(again, done ? "moved" : "replaced")
                    assert.deepStrictEqual(yield* readAll(store), replaced(from, to))
                    yield* appendAll(store, [linesOf(11, 11)])
                    return Exit.isSuccess(exit)
                  }),
                withFaults(faults)
              )
              if (succeeded) break
            }
          }
        })
      )
    }

    it.effect("is finished where a loss of power kept a removal back and not the new file", () =>
      Effect.gen(function* () {
        const options = yield* written()
        const before = newDirectory()
        cpSync(options.directory, before, { recursive: true })
        yield* opened(options, (store) => store.replace({ from: 2, to: 8, lines: 7 }, gap(8)))
        const retire = recordFiles(before).slice(0, 3)
        const [as] = retire
        writeFileSync(
          join(options.directory, "replacing.json"),
          JSON.stringify({ written: `${as}.tmp`, as, retire })
        )
        for (const name of retire.slice(1)) cpSync(join(before, name), join(options.directory, name))
        yield* opened(options, (store) =>
          Effect.gen(function* () {
            assert.deepStrictEqual(yield* readAll(store), replaced(2, 8))
          })
        )
        assert.isFalse(existsSync(join(options.directory, "replacing.json")))
      })
    )

    it.effect("takes nothing from whoever reads meanwhile, and leaves nothing behind", () =>
      Effect.gen(function* () {
        const options = yield* written()
        yield* opened(options, (store) =>
          Effect.gen(function* () {
            const lines = yield* Queue.unbounded<StoredLine>()
            const go = yield* Queue.unbounded<void>()
            const reader = yield* Effect.forkChild(
              Stream.runForEach(store.read({}), (line) =>
                Effect.andThen(Queue.offer(lines, line), Queue.take(go))
              )
            )
            yield* Queue.take(lines)
            assert.strictEqual(yield* store.replace({ from: 2, to: 8, lines: 7 }, gap(8)), "replaced")
            assert.strictEqual(yield* store.replace({ from: 1, to: 9, lines: 3 }, gap(9)), "replaced")
            yield* appendAll(store, [linesOf(11, 11)])
            yield* Effect.forEach(all, () => Queue.offer(go, undefined), { discard: true })
            yield* Fiber.join(reader)
            assert.deepStrictEqual([lineOf(1), ...(yield* Queue.takeAll(lines))], all)
            assert.deepStrictEqual(yield* readAll(store), [gap(9), ...linesOf(10, 11)])
            assert.deepStrictEqual(
              recordFiles(options.directory).length,
              readdirSync(options.directory).filter((name) => name.startsWith("audit")).length
            )
          })
        )
      })
    )
  })

  // --- Named values --------------------------------------------------------

  describe("named values", () => {
    it.effect("are kept until they are removed, and listed by prefix", () =>
      Effect.gen(function* () {
        const directory = newDirectory()
        yield* opened({ directory }, (store) =>
          Effect.gen(function* () {
            yield* store.put("key/a-1.x", "one")
            yield* store.put("key/a-2", "two")
            yield* store.put("hold/a", "three")
            yield* store.put("key/a-2", "two, again")
          })
        )
        yield* opened({ directory }, (store) =>
          Effect.gen(function* () {
            assert.strictEqual(yield* store.get("key/a-1.x"), "one")
            assert.strictEqual(yield* store.get("key/a-2"), "two, again")
            assert.isUndefined(yield* store.get("key/a"))
            assert.deepStrictEqual((yield* store.names("key/")).toSorted(), ["key/a-1.x", "key/a-2"])
            yield* store.remove(["key/a-2", "key/none", "hold/a"])
            assert.isUndefined(yield* store.get("key/a-2"))
            assert.deepStrictEqual(yield* store.names(""), ["key/a-1.x"])
          })
        )
      })
    )

    it.effect("are overwritten where they were, when they are removed and when they are replaced", () =>
      Effect.gen(function* () {
        const directory = newDirectory()
        yield* opened({ directory }, (store) =>
          Effect.gen(function* () {
            const watch = (name: string, as: string) => {
              linkSync(join(directory, "values", name), join(directory, as))
              return () => readFileSync(join(directory, as))
            }
            yield* store.put("a", "secret")
            const replaced = watch("a.value", "spy-1")
            yield* store.put("a", "another")
            assert.deepStrictEqual(replaced(), Buffer.alloc(6))
            const removed = watch("a.value", "spy-2")
            yield* store.remove(["a"])
            assert.deepStrictEqual(removed(), Buffer.alloc(7))
          })
        )
      })
    )

    for (const kind of ["before", "after", "short"] as const) {
      it.effect(`are whole, old or new, wherever the process dies (the last operation: ${kind})`, () =>
        Effect.gen(function* () {
          for (const change of ["put", "remove"] as const) {
            for (let at = 0; ; at++) {
              const directory = newDirectory()
              const faults = FaultyFiles.make()
              const scope = yield* Scope.make()
              const store = yield* openIn(scope, { directory }, withFaults(faults))
              yield* store.put("a", "old")
              let count = 0
              faults.decide = () => (count++ < at ? undefined : count === at + 1 ? kind : "before")
              const exit = yield* Effect.exit(change === "put" ? store.put("a", "new") : store.remove(["a"]))
              faults.decide = () => "before"
              yield* Scope.close(scope, Exit.void)
              dead(directory)
              yield* opened({ directory }, (store) =>
                Effect.gen(function* () {
                  const next = change === "put" ? "new" : undefined
                  const found = yield* store.get("a")
                  assert.include(Exit.isSuccess(exit) ? [next] : ["old", next], found)
                  const left = readdirSync(join(directory, "values"))
                  assert.deepStrictEqual(left, found === undefined ? [] : ["a.value"])
                })
              )
              if (Exit.isSuccess(exit)) break
            }
          }
        })
      )
    }
  })
})

/** Lets time pass, a second at a time, until a fiber has ended. */
const asTimePasses = Effect.fnUntraced(function* (fiber: Fiber.Fiber<unknown, unknown>, each = () => {}) {
  while (fiber.pollUnsafe() === undefined) {
    each()
    yield* TestClock.adjust("1 second")
    yield* Effect.promise(() => new Promise(setImmediate))
  }
})

/** Until what the store does by itself is done: it sleeps again. */
const settled = (store: AuditStore) => Effect.repeat(store.last, { times: 20 })

// --- The log over the files ------------------------------------------------

const openLog = (options: FileAuditLog.Options, files: Files = nodeFiles) =>
  Layer.build(Layer.fresh(FileAuditLog.layer(options))).pipe(
    Effect.map(Context.get(Log)),
    Effect.provide([files, requirements]),
    Effect.orDie
  )

const backend = (files: Partial<FileAuditLog.StoreOptions>): Backend =>
  Effect.sync(() => {
    const directory = newDirectory()
    return { open: (options) => openLog({ directory, ...files, ...options }) }
  })

describe("the log over files that fail", () => {
  it.effect("has every record that was acknowledged, and verifies, whatever failed", () =>
    Effect.promise(() =>
      fc.assert(
        fc.asyncProperty(
          fc.array(fc.tuple(fc.integer({ min: 0, max: 120 }), fc.constantFrom("before", "after", "short")), {
            maxLength: 8
          }),
          (planned) =>
            run(
              Effect.gen(function* () {
                const faults = FaultyFiles.make()
                const acknowledged = new Set<string>()
                const options = { directory: newDirectory(), maxBytes: 5000, retryAfter: "1 milli" } as const
                yield* Effect.scoped(
                  Effect.gen(function* () {
                    const log = yield* openLog(options, withFaults(faults))
                    let count = 0
                    faults.decide = () => {
                      const at = count++
                      return planned.find(([planned]) => planned === at)?.[1]
                    }
                    const write = (phase: string, callId: string, effect: Effect.Effect<void, unknown>) =>
                      Effect.map(Effect.exit(effect), (exit) => {
                        if (Exit.isSuccess(exit)) acknowledged.add(`${phase} ${callId}`)
                      })
                    yield* Effect.forEach(
                      Array.from({ length: 24 }, (_, index) => `c-${index}`),
                      Effect.fnUntraced(function* (callId, index) {
                        const record = running({ callId, principal: `p-${index % 3}` })
                        yield* write("intent", callId, log.intent(record, index))
                        end(record, "success")
                        yield* write("outcome", callId, log.outcome(record, { index }, index))
                      }),
                      { concurrency: 4 }
                    )
                    faults.decide = () => undefined
                  })
                )
                yield* Effect.scoped(
                  Effect.gen(function* () {
                    const log = yield* openLog(options)
                    const verified = yield* log.verify()
                    assert.isTrue(verified.ok, JSON.stringify(verified))
                    const records = yield* log.query({ kind: "tool_call" })
                    const found = records.map(({ callId, phase }) => `${phase} ${callId}`)
                    // What was refused is late, not lost; nothing is there twice.
                    assert.strictEqual(found.length, 48)
                    assert.strictEqual(new Set(found).size, 48)
                    assert.isTrue([...acknowledged].every((one) => found.includes(one)))
                  })
                )
              })
            )
        ),
        { numRuns: 40 }
      )
    )
  )
})

suite("files", backend({}))
suite("small files, never synced", backend({ maxBytes: 2000, fsync: "never" }))
