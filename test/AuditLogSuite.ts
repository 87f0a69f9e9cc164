/** What an audit log does, whatever it is kept in. Time comes from `TestClock`. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Random from "effect/Random"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import * as AuditLog from "../src/AuditLog.ts"
import { args, type Backend, called, end, keyring, type Log, refused, running } from "./support/audit.ts"
import { pending } from "./support/records.ts"

const days = (n: number) => n * 86_400_000
const because = { by: "olga", why: "the tests" }

const all = (log: Log) => log.query({ order: "oldest" })
const stored = (log: Log) => Stream.runCollect(log.lines())
const personalOf = (record: AuditLog.AuditRecord | undefined): AuditLog.PersonalPart => {
  assert.isDefined(record)
  assert.notStrictEqual(record.personal, "forgotten")
  return record.personal as AuditLog.PersonalPart
}

const assertWhole = Effect.fnUntraced(function* (log: Log) {
  const verified = yield* log.verify()
  assert.deepInclude(verified, { ok: true })
  return verified as Extract<AuditLog.Verification, { ok: true }>
})

export const suite = (name: string, backend: Backend): void => {
  const opened = (options?: AuditLog.Options) => Effect.flatMap(backend, (place) => place.open(options))

  describe(`AuditLog (${name})`, () => {
    describe("a record", () => {
      it.effect("says of a call what it was, what was made of it, and what it cost", () =>
        Effect.gen(function* () {
          const log = yield* opened()
          const record = pending({
            callId: "c-1",
            parentId: "c-0",
            run: "r-1",
            step: "2",
            session: "s-1",
            tenant: "acme",
            actor: { kind: "model", id: "m" },
            tool: "transfer",
            toolDigest: "tool-digest",
            policyDigest: "policy-digest",
            approval: "a-1",
            breaker: "closed",
            traceId: "trace",
            spanId: "span",
            metadata: { origin: "web" },
            arguments: args({ to: "bob", password: "hunter2" }),
            verdicts: [
              {
                stage: "confirmation",
                verdict: "confirm",
                reasons: [{ rule: "financial", message: "it spends" }]
              }
            ]
          })
          record.attempts = 2
          end(record, "success", { took: 40, cost: { usd: 1200 } })
          yield* log.outcome(record, { balance: 7, note: "sk-live" }, 40)
          const [found] = yield* all(log)
          assert.deepStrictEqual(found, {
            sequence: 1,
            time: 40,
            kind: "tool_call",
            phase: "outcome",
            callId: "c-1",
            parent: "c-0",
            run: "r-1",
            step: "2",
            traceId: "trace",
            spanId: "span",
            door: "execute",
            tool: "transfer",
            toolDigest: "tool-digest",
            policyDigest: "policy-digest",
            verdicts: [{ stage: "confirmation", verdict: "confirm" }],
            status: "success",
            approval: "a-1",
            attempts: 2,
            cost: { usd: 1200 },
            latency: 40,
            breaker: "closed",
            argumentsHash: record.arguments.hash!,
            alias: found!.alias,
            previous: found!.previous,
            hash: found!.hash,
            personal: {
              principal: "ann",
              tenant: "acme",
              actor: { kind: "model", id: "m" },
              session: "s-1",
              metadata: { origin: "web" },
              arguments: { to: "bob", password: "[redacted password]" },
              masked: [{ path: "password", rule: "password" }],
              reasons: [[{ rule: "financial", message: "it spends" }]],
              result: '{"balance":7,"note":"[redacted key]"}'
            }
          })
        })
      )

      it.effect("names nobody in its open part, nor anything of the arguments and the result", () =>
        Effect.gen(function* () {
          const log = yield* opened()
          const fields = {
            principal: "ann-of-it",
            tenant: "tenant-of-ann",
            session: "session-of-ann",
            actor: { kind: "person", id: "actor-of-ann" },
            metadata: { key: "metadata-of-ann" },
            arguments: args({ city: "city-of-ann" }),
            verdicts: [
              { stage: "policy", verdict: "flag", reasons: [{ rule: "rule-of-ann", message: "by ann" }] }
            ]
          } as const
          yield* called(log, 0, fields, "result-of-ann")
          yield* log.append({
            kind: "admin",
            action: "stopped",
            principal: "admin-of-it",
            detail: "detail-of-ann"
          })
          for (const { line } of yield* stored(log)) assert.notMatch(line, /of-ann|of-it|by ann/)
          const [record] = yield* log.query({ principal: "ann-of-it" })
          assert.strictEqual(personalOf(record).result, "result-of-ann")
        })
      )

      it.effect("keeps the first 1,024 characters of a result, and no part of a secret that is cut", () =>
        Effect.gen(function* () {
          const log = yield* opened()
          const secret = `sk-${"x".repeat(200)}`
          yield* called(log, 0, {}, "a".repeat(1024))
          yield* called(log, 0, {}, "a".repeat(1025))
          yield* called(log, 0, {}, `${"a".repeat(900)} ${secret} ${"b".repeat(6000)}`)
          yield* called(log, 0, {}, { many: Array.from({ length: 2000 }, (_, i) => i) })
          // The first is masked and makes room; the second is cut in two, and must not move up into view.
          yield* called(log, 0, {}, `sk-${"y".repeat(4090)} ${"a".repeat(900)} sk-${"z".repeat(500)}`)
          const results = (yield* log.query({ phase: "outcome", order: "oldest" })).map(personalOf)
          assert.deepStrictEqual(
            results.map(({ result, truncated }) => [result!.length, truncated]),
            [
              [1024, undefined],
              [1024, true],
              // Of what was cut, as much is dropped as the longest secret is.
              [835, true],
              [results[3]!.result!.length, true],
              [0, true]
            ]
          )
          assert.isAtMost(results[3]!.result!.length, 1024)
          for (const { result } of results) assert.notMatch(result!, /xx|yy|zz/)
        })
      )

      it.effect("is as it was when it was given, whatever becomes of the result and the detail", () =>
        Effect.gen(function* () {
          const log = yield* opened()
          const result = { items: ["kept"] }
          const detail = { why: "kept" }
          yield* called(log, 0, {}, result)
          yield* log.append({ kind: "policy", action: "changed", detail })
          result.items.push("added")
          detail.why = "changed"
          const texts = (yield* all(log)).map((record) => JSON.stringify(record))
          assert.notMatch(texts.join(), /added|"why":"changed"/)
        })
      )

      it.effect("of a refused call stands alone, with the stage, the verdict and why", () =>
        Effect.gen(function* () {
          const log = yield* opened()
          const reasons = [{ rule: "deny delete_*", message: "not here" }]
          yield* refused(log, 5, {
            tool: "delete_all",
            verdicts: [{ stage: "policy", verdict: "deny", reasons }]
          })
          const [record, ...rest] = yield* all(log)
          assert.deepStrictEqual(rest, [])
          assert.deepInclude(record, {
            phase: "outcome",
            status: "policy_denied",
            stage: "policy",
            attempts: 0,
            verdicts: [{ stage: "policy", verdict: "deny" }]
          })
          assert.isFalse("intent" in record!)
          assert.deepStrictEqual(personalOf(record).reasons, [reasons])
        })
      )

      it.effect("of an event says who did what, when and why", () =>
        Effect.gen(function* () {
          const log = yield* opened()
          yield* TestClock.setTime(1234)
          yield* log.append({
            kind: "model_call",
            action: "generated",
            principal: "ann",
            run: "r-1",
            session: "s-1",
            tool: "gpt",
            cost: { usd: 5 },
            latency: 800,
            detail: { password: "x", tokens: 12 }
          })
          const [record] = yield* all(log)
          assert.deepInclude(record, {
            time: 1234,
            kind: "model_call",
            phase: "event",
            action: "generated",
            run: "r-1",
            tool: "gpt",
            cost: { usd: 5 },
            latency: 800
          })
          assert.deepStrictEqual(personalOf(record), {
            principal: "ann",
            session: "s-1",
            detail: { password: "[redacted password]", tokens: 12 }
          })
        })
      )
    })

    describe("unfinished calls", () => {
      it.effect("are intents without an outcome, older than a grace", () =>
        Effect.gen(function* () {
          const log = yield* opened()
          yield* called(log, 0, { callId: "done" })
          const crashed = running({ callId: "crashed" })
          yield* log.intent(crashed, 10)
          yield* log.intent(running({ callId: "just begun", queuedAt: 299_000 }), 299_000)
          yield* TestClock.setTime(300_011)
          const ids = Effect.map(log.unfinished(), (records) => records.map(({ callId }) => callId))
          assert.deepStrictEqual(yield* ids, ["crashed"])
          assert.strictEqual((yield* log.unfinished({ olderThan: "1 second" })).length, 2)
          yield* log.outcome(end(crashed, "Cancelled"), undefined, 300_012)
          assert.deepStrictEqual(yield* ids, [])
          const [outcome] = yield* log.query({ callId: "crashed", phase: "outcome" })
          const [intent] = yield* log.query({ callId: "crashed", phase: "intent" })
          assert.strictEqual(outcome?.intent, intent?.sequence)
          yield* assertWhole(log)
        })
      )
    })

    describe("a query", () => {
      const filled = Effect.gen(function* () {
        const log = yield* opened()
        yield* called(log, 100, {
          tool: "weather",
          principal: "ann",
          tenant: "acme",
          run: "r-1",
          traceId: "t-1"
        })
        yield* refused(log, 200, { tool: "delete_user", principal: "bob", session: "s-2", callId: "c-2" })
        yield* called(log, 300, {
          tool: "mail",
          principal: "ann",
          arguments: args({ subject: 'Grüße "quoted"' })
        })
        yield* log.append({ kind: "approval", action: "granted", principal: "carl" })
        return log
      })

      it.effect(
        "finds by time, tool, principal, tenant, session, status, call, run, trace, kind and text",
        () =>
          Effect.gen(function* () {
            const log = yield* filled
            const found = (selection: AuditLog.Selection) =>
              Effect.map(log.query({ ...selection, order: "oldest" }), (records) =>
                records.filter(({ phase }) => phase !== "intent").map(({ tool, action }) => action ?? tool)
              )
            assert.deepStrictEqual(yield* found({ since: 200, until: 200 }), ["delete_user"])
            assert.deepStrictEqual(yield* found({ tool: "*_user" }), ["delete_user"])
            assert.deepStrictEqual(yield* found({ tool: "weather" }), ["weather"])
            assert.deepStrictEqual(yield* found({ principal: "ann" }), ["weather", "mail"])
            assert.deepStrictEqual(yield* found({ tenant: "acme" }), ["weather"])
            assert.deepStrictEqual(yield* found({ session: "s-2" }), ["delete_user"])
            assert.deepStrictEqual(yield* found({ status: "policy_denied" }), ["delete_user"])
            assert.deepStrictEqual(yield* found({ callId: "c-2" }), ["delete_user"])
            assert.deepStrictEqual(yield* found({ run: "r-1" }), ["weather"])
            assert.deepStrictEqual(yield* found({ traceId: "t-1" }), ["weather"])
            assert.deepStrictEqual(yield* found({ kind: "approval" }), ["granted"])
            assert.deepStrictEqual(yield* found({ action: "granted" }), ["granted"])
            assert.deepStrictEqual(yield* found({ text: 'GRÜSSE "QUOTED"' }), [])
            assert.deepStrictEqual(yield* found({ text: 'GRÜßE "QUOTED"' }), ["mail"])
            assert.deepStrictEqual(yield* found({ principal: "ann", tool: "delete_user" }), [])
          })
      )

      it.effect("gives the newest first, or the oldest, and no more than its limit", () =>
        Effect.gen(function* () {
          const log = yield* opened()
          const numbers = Array.from({ length: 1203 }, (_, i) => i + 1)
          const append = (i: number) => log.append({ kind: "policy", action: `p-${i}` })
          yield* Effect.forEach(numbers, append, { concurrency: "unbounded" })
          const actions = (options: Parameters<Log["query"]>[0]) =>
            Effect.map(log.query(options), (records) => records.map(({ action }) => action))
          assert.deepStrictEqual(yield* actions({ limit: 2 }), ["p-1203", "p-1202"])
          assert.deepStrictEqual(yield* actions({ limit: 2, order: "oldest" }), ["p-1", "p-2"])
          assert.strictEqual((yield* actions({})).length, 1000)
          const everything = yield* actions({ limit: 5000 })
          assert.deepStrictEqual(
            everything,
            Array.from({ length: 1203 }, (_, i) => `p-${1203 - i}`)
          )
        })
      )

      it.effect("is exported as JSON Lines, oldest first", () =>
        Effect.gen(function* () {
          const log = yield* filled
          const lines = yield* Stream.runCollect(log.export({ phase: "outcome" }))
          assert.deepStrictEqual(
            lines.map((line) => [JSON.parse(line).tool, JSON.parse(line).personal.principal]),
            [
              ["weather", "ann"],
              ["delete_user", "bob"],
              ["mail", "ann"]
            ]
          )
        })
      )
    })

    describe("a report", () => {
      it.effect("counts calls, errors, costs, refused attempts and latencies", () =>
        Effect.gen(function* () {
          const log = yield* opened()
          const search = (took: number) =>
            called(log, took, { tool: "search", principal: "ann", took, cost: { usd: 10 } })
          yield* Effect.forEach(
            Array.from({ length: 100 }, (_, i) => i + 1),
            search,
            { concurrency: "unbounded" }
          )
          const failed = end(running({ tool: "mail", principal: "bob", queuedAt: 500 }), "CircuitOpen", {
            took: 8
          })
          yield* log.outcome(failed, undefined, 508)
          yield* refused(log, 600, { principal: "bob", tenant: "acme", tool: "mail" })
          yield* refused(log, 601, { principal: "bob", tenant: "acme", tool: "mail" })
          yield* log.append({
            kind: "model_call",
            action: "generated",
            tool: "gpt",
            cost: { usd: 7 },
            principal: "ann"
          })
          const report = yield* log.report()
          assert.strictEqual(report.calls, 103)
          assert.deepStrictEqual(report.statuses, [
            { tool: "search", status: "success", calls: 100 },
            { tool: "mail", status: "policy_denied", calls: 2 },
            { tool: "mail", status: "circuit_open", calls: 1 }
          ])
          assert.deepStrictEqual(
            report.errors.map(({ calls }) => calls),
            [2, 1]
          )
          assert.deepStrictEqual(report.costs, [
            { tool: "search", principal: "ann", tenant: undefined, unit: "usd", amount: 1000 },
            { tool: "gpt", principal: "ann", tenant: undefined, unit: "usd", amount: 7 }
          ])
          assert.deepStrictEqual(report.refused, [
            { stage: "policy", principal: "bob", tenant: "acme", calls: 2 }
          ])
          const [latency] = report.latency
          assert.approximately(latency!.p50, 50, 1)
          assert.approximately(latency!.p95, 95, 2)
          assert.approximately(latency!.p99, 99, 2)
          assert.deepStrictEqual(report.events, [{ kind: "model_call", action: "generated", count: 1 }])
          assert.strictEqual((yield* log.report({ since: 600, until: 600 })).calls, 1)
          const text = AuditLog.formatReport(report)
          assert.match(text, /103 calls/)
          assert.match(text, /^policy +acme\/bob +2$/m)
          assert.match(text, /^search +ann +usd +1000$/m)
        })
      )
    })

    describe("forgetting", () => {
      it.effect("makes a principal's records unreadable, under whatever day, and the chain stays whole", () =>
        Effect.gen(function* () {
          const log = yield* opened()
          yield* called(log, 0, { principal: "ann", tenant: "acme" })
          yield* called(log, days(3), { principal: "ann", tenant: "acme" })
          yield* called(log, days(3), { principal: "ann" })
          yield* called(log, days(3), { principal: "bob", tenant: "acme" })
          const before = yield* all(log)
          const forgotten = yield* log.forget({ principal: "ann", tenant: "acme" }, because)
          assert.deepStrictEqual(forgotten, { keys: 2, held: 0 })
          const after = yield* log.query({ kind: "tool_call", phase: "outcome", order: "oldest" })
          assert.deepStrictEqual(
            after.map(({ personal }) => (personal === "forgotten" ? personal : personal.principal)),
            ["forgotten", "forgotten", "ann", "bob"]
          )
          yield* assertWhole(log)
          // Whoever comes back is somebody new.
          yield* called(log, days(3), { principal: "ann", tenant: "acme" })
          const [anew] = yield* log.query({ principal: "ann", tenant: "acme", phase: "outcome" })
          assert.isFalse(before.some(({ alias }) => alias === anew!.alias))
          assert.strictEqual((yield* log.report()).forgotten, 2)
          const admin = yield* log.query({ kind: "admin", order: "oldest" })
          assert.deepStrictEqual(
            admin.map((record) => [record.action, personalOf(record).principal, personalOf(record).detail]),
            [
              ["forget", "olga", { why: "the tests" }],
              ["forgotten", "olga", { why: "the tests", keys: 2, held: 0 }]
            ]
          )
        })
      )

      it.effect("of everybody comes after 30 days", () =>
        Effect.gen(function* () {
          const log = yield* opened()
          yield* called(log, 0)
          yield* called(log, days(1))
          yield* TestClock.setTime(days(31) - 1)
          assert.strictEqual((yield* log.retain).keys, 0)
          yield* TestClock.setTime(days(31))
          assert.strictEqual((yield* log.retain).keys, 1)
          const outcomes = yield* log.query({ kind: "tool_call", phase: "outcome", order: "oldest" })
          assert.deepStrictEqual(
            outcomes.map(({ personal }) => personal === "forgotten"),
            [true, false]
          )
          assert.deepStrictEqual(yield* log.forget({ principal: "ann" }, because), { keys: 1, held: 0 })
          yield* assertWhole(log)
        })
      )
    })

    describe("retention", () => {
      it.effect("archives after 90 days and deletes after a year, and what is left is proven", () =>
        Effect.gen(function* () {
          const archived: Array<AuditLog.StoredLine> = []
          const removed: Array<number> = []
          const archive: AuditLog.Archive = {
            add: (lines) => Effect.sync(() => void archived.push(...lines)),
            removeBefore: (time) => Effect.sync(() => void removed.push(time))
          }
          const log = yield* opened({ archive })
          for (let day = 0; day < 10; day++) yield* refused(log, days(day))
          const original = yield* stored(log)
          yield* TestClock.setTime(days(93))
          assert.deepInclude(yield* log.retain, { archived: 4, deleted: 0, held: 0 })
          assert.deepStrictEqual(archived, original.slice(0, 4))
          assert.deepStrictEqual(removed, [days(93 - 365)])
          assert.deepInclude(yield* assertWhole(log), { dropped: 4, from: 5 })
          // A second pass takes the gap of the first into its own.
          yield* TestClock.setTime(days(95))
          assert.deepInclude(yield* log.retain, { archived: 2 })
          assert.deepInclude(yield* assertWhole(log), { dropped: 6, from: 7 })
          assert.strictEqual(
            (yield* stored(log)).filter(({ line }) => line.includes('"kind":"gap"')).length,
            1
          )
          // The archive is proven on its own.
          assert.deepInclude(AuditLog.verifyLines(archived, keyring), { ok: true, records: 6 })
          yield* TestClock.setTime(days(95))
          assert.deepInclude(yield* log.retain, { archived: 0 })
        })
      )

      it.effect("deletes after a year where there is no archive, the newest record included", () =>
        Effect.gen(function* () {
          const log = yield* opened()
          for (let day = 0; day < 3; day++) yield* refused(log, days(day))
          yield* TestClock.setTime(days(400))
          assert.deepInclude(yield* log.retain, { keys: 3, archived: 0, deleted: 3 })
          const verified = yield* assertWhole(log)
          assert.deepInclude(verified, { dropped: 3, records: 1, from: 4 })
          const [last] = yield* all(log)
          assert.deepStrictEqual(personalOf(last).detail, { keys: 3, archived: 0, deleted: 3, held: 0 })
          yield* refused(log, days(400))
          yield* assertWhole(log)
        })
      )

      it.effect("spares what is held, keys included, until it is released", () =>
        Effect.gen(function* () {
          const log = yield* opened()
          for (let i = 0; i < 9; i++) yield* refused(log, i, { principal: i % 3 === 1 ? "ann" : "bob" })
          const hold = yield* log.hold({ principal: "ann" }, because)
          assert.deepStrictEqual(yield* log.holds, [hold])
          assert.deepInclude(hold, { selection: { principal: "ann" }, by: "olga", why: "the tests", at: 0 })
          yield* TestClock.setTime(days(400))
          assert.deepInclude(yield* log.retain, { deleted: 7, held: 3 })
          assert.strictEqual((yield* log.query({ principal: "ann" })).length, 3)
          assert.deepInclude(yield* assertWhole(log), { dropped: 7, from: 2 })
          assert.isFalse(yield* log.release("0123456789abcdef", because))
          assert.isTrue(yield* log.release(hold.id, because))
          assert.deepStrictEqual(yield* log.holds, [])
          assert.deepInclude(yield* log.retain, { deleted: 3, held: 0 })
          assert.strictEqual((yield* log.query({ principal: "ann" })).length, 0)
          assert.deepInclude(yield* assertWhole(log), { dropped: 10 })
          assert.deepStrictEqual(
            (yield* log.query({ kind: "admin", order: "oldest" })).map(({ action }) => action),
            ["retained", "release", "release", "retained"]
          )
        })
      )

      it.effect("of a principal who is forgotten under a hold ends with the hold", () =>
        Effect.gen(function* () {
          const log = yield* opened()
          yield* refused(log, 0, { principal: "ann", callId: "evidence" })
          const hold = yield* log.hold({ callId: "evidence" }, because)
          assert.deepStrictEqual(yield* log.forget({ principal: "ann" }, because), { keys: 0, held: 1 })
          assert.strictEqual((yield* log.query({ principal: "ann" })).length, 1)
          yield* refused(log, 0, { principal: "ann" })
          const aliases = (yield* log.query({ principal: "ann" })).map(({ alias }) => alias)
          assert.strictEqual(new Set(aliases).size, 2)
          yield* log.retain
          assert.strictEqual((yield* log.query({ principal: "ann" })).length, 2)
          yield* log.release(hold.id, because)
          assert.strictEqual((yield* log.retain).keys, 1)
          const [evidence] = yield* log.query({ callId: "evidence" })
          assert.strictEqual(evidence?.personal, "forgotten")
          assert.strictEqual((yield* log.query({ principal: "ann" })).length, 1)
          yield* assertWhole(log)
        })
      )

      it.effect("fails with the archive, and what was not taken stays", () =>
        Effect.gen(function* () {
          const archive: AuditLog.Archive = {
            add: () => Effect.fail("no"),
            removeBefore: () => Effect.void
          }
          const log = yield* opened({ archive })
          yield* refused(log, 0)
          yield* TestClock.setTime(days(100))
          assert.deepStrictEqual(yield* Effect.flip(log.retain), { _tag: "Unavailable", concern: "audit" })
          assert.deepInclude(yield* assertWhole(log), { dropped: 0, from: 1 })
        })
      )
    })

    describe("proof", () => {
      it.effect("of an empty log is nothing", () =>
        Effect.gen(function* () {
          const log = yield* opened()
          const nothing = {
            ok: true,
            records: 0,
            dropped: 0,
            from: 0,
            to: 0,
            head: { sequence: 0, hash: "" }
          } as const
          assert.deepStrictEqual(yield* log.verify(), nothing)
          assert.deepStrictEqual(yield* log.query(), [])
        })
      )

      it.effect("reaches a head that was kept elsewhere", () =>
        Effect.gen(function* () {
          const log = yield* opened()
          for (let i = 0; i < 5; i++) yield* refused(log, i)
          const head = yield* log.checkpoint
          yield* refused(log, 6)
          assert.deepInclude(yield* log.verify({ expectedHead: head }), { ok: true, records: 6 })
          assert.deepInclude(yield* log.verify({ expectedHead: { sequence: 5, hash: "another" } }), {
            ok: false,
            sequence: 5,
            problem: "changed"
          })
          assert.deepInclude(yield* log.verify({ expectedHead: { sequence: 9, hash: "later" } }), {
            ok: false,
            sequence: 7,
            problem: "truncated"
          })
        })
      )

      it.effect("holds for calls that run at once and are interrupted at random", () =>
        Effect.gen(function* () {
          const log = yield* opened()
          const answered = new Set<string>()
          const call = Effect.fnUntraced(function* (i: number) {
            const record = running({ callId: `c-${i}`, principal: `p-${i % 7}` })
            yield* log.intent(record, i)
            answered.add(`intent c-${i}`)
            yield* Effect.yieldNow
            end(record, "success")
            yield* log.outcome(record, i, i)
            answered.add(`outcome c-${i}`)
          })
          const fibers = yield* Effect.forEach(
            Array.from({ length: 200 }, (_, i) => i),
            (i) => Effect.forkChild(call(i))
          )
          for (const fiber of fibers) {
            if (yield* Random.nextBoolean) yield* Effect.yieldNow
            if ((yield* Random.nextIntBetween(0, 3)) === 0) yield* Fiber.interrupt(fiber)
          }
          yield* Fiber.awaitAll(fibers)
          yield* assertWhole(log)
          const seen = (yield* log.query({ limit: 1000 })).map(({ phase, callId }) => `${phase} ${callId}`)
          assert.strictEqual(new Set(seen).size, seen.length)
          const outcomes = new Set(seen.filter((entry) => entry.startsWith("outcome")))
          for (const entry of answered) {
            // In memory an intent makes room for its outcome.
            const there = seen.includes(entry) || outcomes.has(entry.replace("intent", "outcome"))
            assert.isTrue(there, entry)
          }
        })
      )
    })
  })
}
