/** Whoever changes the log without its keys is found, whatever is changed, and the first place is named. */
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import * as SqlClient from "effect/sql/SqlClient"
import * as TestClock from "effect/testing/TestClock"
import * as fc from "fast-check"
import * as AuditLog from "../src/AuditLog.ts"
import { openLine, signGap, signHead, signLine } from "../src/internal/audit/chain.ts"
import * as Keyring from "../src/Keyring.ts"
import * as SqlAuditLog from "../src/sql/SqlAuditLog.ts"
import * as Sqlite from "../src/sql/Sqlite.ts"
import {
  args,
  called,
  fragileStore,
  keyring,
  type Log,
  overStore,
  refused,
  requirements
} from "./support/audit.ts"

type Line = AuditLog.StoredLine

/** A log as it is stored. */
interface Stored {
  readonly lines: ReadonlyArray<Line>
  readonly head: string
}

/** A ring with the same id for a key that the log's owner does not have. */
const foreign = Keyring.make({
  deployment: "test",
  active: "k1",
  keys: { k1: Redacted.make("a key that somebody else has made up") }
})

// --- Logs ------------------------------------------------------------------

const day = 86_400_000

/** Random records, of which retention has dropped some. */
const fill = Effect.fnUntraced(function* (log: Log, size: number, gaps: boolean) {
  for (let i = 0; i < size; i++) {
    const principal = `p-${i % 3}`
    switch (i % 3) {
      case 0:
        yield* called(
          log,
          i * day,
          { principal, arguments: args({ i, text: "ü".repeat(i) }), cost: { usd: i } },
          { i }
        )
        break
      case 1:
        yield* refused(log, i * day, { principal, metadata: { i: String(i) } })
        break
      default:
        yield* log.append({ kind: "approval", action: "granted", principal, detail: { i } })
    }
  }
  if (!gaps) return
  yield* log.hold({ principal: "p-1" }, { by: "olga", why: "the tests" })
  yield* TestClock.setTime(368 * day)
  yield* log.retain
})

const memoryLogs = Effect.gen(function* () {
  const logs: Array<Stored> = []
  for (let i = 0; i < 24; i++) {
    const { inner } = fragileStore()
    yield* TestClock.setTime(0)
    yield* Effect.scoped(Effect.flatMap(overStore(inner), (log) => fill(log, 2 + (i % 6), i % 3 === 0)))
    logs.push({ lines: yield* Stream.runCollect(inner.read({})), head: (yield* inner.head)! })
  }
  return logs
})

// --- Tampering -------------------------------------------------------------

const acts = [
  "byte",
  "field",
  "remove field",
  "time column",
  "sequence column",
  "delete",
  "delete range",
  "cut the beginning",
  "cut the end",
  "swap",
  "swap contents",
  "insert copy",
  "insert copy renumbered",
  "splice one",
  "splice end",
  "replace all",
  "sign anew",
  "forge a gap",
  "rewrite from here"
] as const

interface Tampering {
  readonly act: (typeof acts)[number]
  readonly log: number
  readonly other: number
  readonly a: number
  readonly b: number
}

const tampering: fc.Arbitrary<Tampering> = fc.record({
  act: fc.constantFrom(...acts),
  log: fc.nat(),
  other: fc.nat(),
  a: fc.nat(),
  b: fc.nat()
})

interface Tampered {
  readonly lines: ReadonlyArray<Line>
  /** The index of the first line that is not what stood there. */
  readonly at: number
  readonly problems: ReadonlyArray<AuditLog.Problem>
}

/** The log changed, or `undefined` where this act changes nothing of it. */
const tamper = (
  { act, a, b }: Tampering,
  { lines }: Stored,
  other: ReadonlyArray<Line>
): Tampered | undefined => {
  const size = lines.length
  const i = a % size
  const j = b % size
  const line = lines[i]!
  const broken = ["changed", "unreadable", "unknown_key"] as const
  const misplaced = ["reordered", "missing", "inserted", "changed", "truncated"] as const
  const withLine = (text: string, at = i) =>
    text === lines[at]!.line ? undefined : lines.with(at, { ...lines[at]!, line: text })
  const result = (
    changed: ReadonlyArray<Line> | undefined,
    at: number,
    problems: ReadonlyArray<AuditLog.Problem>
  ) => (changed === undefined ? undefined : { lines: changed, at, problems })
  const ordered = (changed: ReadonlyArray<Line>) => changed.toSorted((x, y) => x.sequence - y.sequence)

  switch (act) {
    case "byte": {
      const at = b % line.line.length
      const character = String.fromCharCode(32 + ((line.line.charCodeAt(at) + 1 + (a % 90)) % 94))
      return result(withLine(line.line.slice(0, at) + character + line.line.slice(at + 1)), i, broken)
    }
    case "field":
    case "remove field": {
      const body = JSON.parse(line.line)
      const names = Object.keys(body)
      const name = names[b % names.length]!
      if (act === "remove field") delete body[name]
      else body[name] = typeof body[name] === "number" ? body[name] + 1 : `${JSON.stringify(body[name])}x`
      return result(withLine(JSON.stringify(body)), i, broken)
    }
    case "time column":
      return result(lines.with(i, { ...line, time: line.time + 1 + b }), i, ["changed"])
    case "sequence column": {
      const sequence = b % 2 === 0 ? line.sequence + 1000 + b : -b
      return result(ordered(lines.with(i, { ...line, sequence })), sequence < 0 ? 0 : i, misplaced)
    }
    case "delete":
      return result(lines.toSpliced(i, 1), i, ["missing", "truncated"])
    case "delete range":
      return result(lines.toSpliced(i, 1 + (b % 3)), i, ["missing", "truncated"])
    case "cut the beginning":
      return result(lines.slice(1 + (b % size)), 0, ["missing", "truncated"])
    case "cut the end":
      return result(lines.slice(0, j), j, ["truncated"])
    case "swap":
      if (i === j) return undefined
      return result(lines.with(i, lines[j]!).with(j, line), Math.min(i, j), ["reordered"])
    case "swap contents":
      if (i === j) return undefined
      return result(
        lines.with(i, { ...line, line: lines[j]!.line }).with(j, { ...lines[j]!, line: line.line }),
        Math.min(i, j),
        ["reordered"]
      )
    case "insert copy":
      // A copy where its original stands is named behind it.
      return result(lines.toSpliced(j, 0, line), j === i ? i + 1 : j, ["inserted", "reordered"])
    case "insert copy renumbered": {
      const copy = { ...line, sequence: lines.at(-1)!.sequence + 1 }
      return result([...lines, copy], size, ["inserted"])
    }
    case "splice one": {
      const there = other.find(({ sequence }) => sequence === line.sequence)
      return result(there && withLine(there.line), i, misplaced)
    }
    case "splice end":
      return result([...lines.slice(0, i), ...other.slice(i)], i, misplaced)
    case "replace all":
      return result(other, 0, misplaced)
    case "sign anew": {
      const opened = openLine(keyring, line.line)
      if (typeof opened === "string") return undefined
      const { v: _v, sequence, time, keyId: _keyId, previous, hash: _hash, ...fields } = opened.body
      const signed = signLine(
        foreign,
        Number(sequence),
        Number(time),
        { ...fields, status: "success" },
        String(previous)
      )
      return result(lines.with(i, signed.stored), i, ["changed"])
    }
    case "forge a gap": {
      const [first, last] = [Math.min(i, j), Math.max(i, j)]
      const [from, to] = [openLine(keyring, lines[first]!.line), openLine(keyring, lines[last]!.line)]
      if (typeof from === "string" || typeof to === "string") return undefined
      const gap = signGap(foreign, {
        from: from.from,
        previous: from.previous,
        tip: { sequence: to.sequence, hash: to.tip },
        time: to.time,
        why: "deleted"
      })
      return result([...lines.slice(0, first), gap, ...lines.slice(last + 1)], first, ["changed"])
    }
    case "rewrite from here": {
      let previous = String(JSON.parse(line.line).previous)
      const rewritten = lines.slice(i).map((stored) => {
        const signed = signLine(foreign, stored.sequence, stored.time, { kind: "admin" }, previous)
        previous = signed.hash
        return signed.stored
      })
      return result([...lines.slice(0, i), ...rewritten], i, ["changed"])
    }
  }
}

const fromOf = (line: Line): number => {
  const opened = openLine(keyring, line.line)
  return typeof opened === "string" ? Number.NaN : opened.from
}

const assertFound = (
  found: AuditLog.Verification,
  original: Stored,
  tampered: Tampered,
  act: string
): void => {
  assert.isFalse(found.ok, act)
  if (found.ok) return
  assert.include(tampered.problems, found.problem, act)
  const { at } = tampered
  const last = original.lines.at(-1)!.sequence
  const here = at < original.lines.length ? fromOf(original.lines[at]!) : last + 1
  assert.strictEqual(found.sequence, here, `${act}: ${found.problem}`)
}

// --- Tests -----------------------------------------------------------------

describe("tampering", () => {
  it("is found 9,000 times out of 9,000 in lines, and the first place is named", async () => {
    const logs = await Effect.runPromise(Effect.provide(memoryLogs, TestClock.layer()))
    for (const { lines, head } of logs) {
      assert.deepInclude(AuditLog.verifyLines(lines, keyring, { head }), { ok: true })
    }
    const done = new Map<string, number>()
    fc.assert(
      fc.property(tampering, (given) => {
        const original = logs[given.log % logs.length]!
        const other = logs[given.other % logs.length]!
        const tampered = other === original ? undefined : tamper(given, original, other.lines)
        fc.pre(tampered !== undefined)
        const found = AuditLog.verifyLines(tampered.lines, keyring, { head: original.head })
        assertFound(found, original, tampered, given.act)
        done.set(given.act, (done.get(given.act) ?? 0) + 1)
      }),
      { numRuns: 9000 }
    )
    assert.deepStrictEqual([...done.keys()].sort(), [...acts].sort())
  })

  it("is found 1,000 times out of 1,000 in the rows of SQLite", async () => {
    const context = await Effect.runPromise(
      Effect.scoped(
        Effect.gen(function* () {
          const logs: Array<{
            readonly sql: SqlClient.SqlClient
            readonly log: Log
            readonly stored: Stored
          }> = []
          for (let i = 0; i < 4; i++) {
            const sql = Context.get(
              yield* Layer.build(Layer.fresh(Sqlite.layer({ filename: ":memory:" }))),
              SqlClient.SqlClient
            )
            const log = yield* SqlAuditLog.make().pipe(
              Effect.provideService(SqlClient.SqlClient, sql),
              Effect.provide(requirements)
            )
            yield* TestClock.setTime(0)
            yield* fill(log, 4 + i, i === 0)
            const [row] = yield* sql<{ readonly head: string }>`SELECT head FROM interlock_audit_head`
            logs.push({ sql, log, stored: { lines: yield* Stream.runCollect(log.lines()), head: row!.head } })
          }
          const write = Effect.fnUntraced(function* (sql: SqlClient.SqlClient, lines: ReadonlyArray<Line>) {
            yield* sql`DELETE FROM interlock_audit_lines`
            for (const line of lines) yield* sql`INSERT INTO interlock_audit_lines ${sql.insert({ ...line })}`
          })
          let count = 0
          for (const given of fc.sample(tampering, 2000)) {
            if (count === 1000) break
            const { sql, log, stored } = logs[given.log % logs.length]!
            const other = logs[given.other % logs.length]!
            const tampered = other.log === log ? undefined : tamper(given, stored, other.stored.lines)
            // Rows have an order of their own, and no two stand in one place.
            const rows = tampered?.lines.toSorted((a, b) => a.sequence - b.sequence)
            if (tampered === undefined || rows === undefined) continue
            if (new Set(rows.map(({ sequence }) => sequence)).size < rows.length) continue
            if (JSON.stringify(rows) === JSON.stringify(stored.lines)) continue
            yield* write(sql, rows)
            const found = yield* log.verify()
            assert.isFalse(found.ok, given.act)
            yield* write(sql, stored.lines)
            count += 1
            if (count % 100 === 0) assert.isTrue((yield* log.verify()).ok)
          }
          return count
        })
      ).pipe(Effect.provide(TestClock.layer()))
    )
    assert.strictEqual(context, 1000)
  })

  it("with the head is found by what was kept elsewhere, and only by that", async () => {
    const [log] = await Effect.runPromise(Effect.provide(memoryLogs, TestClock.layer()))
    const { lines, head } = log!
    const kept = JSON.parse(head) as AuditLog.Head
    const earlier = lines.slice(0, -1)
    const last = openLine(keyring, earlier.at(-1)!.line)
    assert.isObject(last)
    if (typeof last === "string") return
    // An older head that somebody kept, put back with the lines as they were then.
    const older = JSON.stringify(signHead(keyring, kept.log, { sequence: last.sequence, hash: last.tip }, 0))
    assert.deepInclude(AuditLog.verifyLines(earlier, keyring, { head: older }), { ok: true })
    assert.deepInclude(AuditLog.verifyLines(earlier, keyring, { head: older, expected: [kept] }), {
      ok: false,
      problem: "truncated",
      sequence: kept.sequence
    })
    // A head cannot be made, changed or taken away.
    const forged = JSON.stringify(signHead(foreign, kept.log, { sequence: last.sequence, hash: last.tip }, 0))
    assert.deepInclude(AuditLog.verifyLines(earlier, keyring, { head: forged }), {
      ok: false,
      problem: "changed"
    })
    assert.deepInclude(AuditLog.verifyLines(earlier, keyring, { head: "{}" }), {
      ok: false,
      problem: "unreadable"
    })
    assert.deepInclude(AuditLog.verifyLines(earlier, keyring, { head: undefined }), {
      ok: false,
      problem: "truncated"
    })
    assert.deepInclude(AuditLog.verifyLines([], keyring, { head }), {
      ok: false,
      problem: "truncated",
      sequence: 1
    })
  })

  it("cannot be told from a keyring that lacks the key, which is named as such", async () => {
    const [log] = await Effect.runPromise(Effect.provide(memoryLogs, TestClock.layer()))
    const another = Keyring.make({
      active: "k2",
      keys: { k2: Redacted.make("a key of the tests, long enough for it") }
    })
    assert.deepInclude(AuditLog.verifyLines(log!.lines, another), {
      ok: false,
      problem: "unknown_key",
      sequence: 1
    })
  })
})
