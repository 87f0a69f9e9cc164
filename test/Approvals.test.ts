import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as fc from "fast-check"
import * as Approvals from "../src/Approvals.ts"

const minute = 60_000

const about = (fields: Partial<Approvals.Question> = {}): Approvals.Question => ({
  principal: "ada",
  tenant: undefined,
  callId: "call_1",
  tool: "pay",
  digest: "d1",
  inConversation: true,
  ...fields
})

/** The ledger with answers as plain values: in process it never waits. */
const ledger = (options?: Approvals.Options) => {
  const approvals = Approvals.makeMemory(options)
  return {
    ask: (question: Approvals.Question, now: number) => Effect.runSync(approvals.ask(question, now)),
    redeem: (question: Approvals.Question, now: number) => Effect.runSync(approvals.redeem(question, now))
  }
}

describe("asking", () => {
  it("is refused a bound that bounds nothing", () => {
    for (const maxUndecided of [Number.NaN, -1, 1.5]) {
      assert.throws(() => ledger({ maxUndecided }), /maxUndecided must be an integer of at least 0/)
    }
  })

  it("takes 20 undecided questions of a principal, and says when there is room for another", () => {
    const { ask } = ledger()
    for (let i = 0; i < 20; i++) assert.strictEqual(ask(about({ callId: `c${i}` }), i * 1000), 0)
    // The first expires 15 minutes after it was asked.
    assert.strictEqual(ask(about({ callId: "c20" }), 20_000), 15 * minute - 20_000)
    assert.strictEqual(ask(about({ callId: "c20" }), 15 * minute - 1), 1)
    assert.strictEqual(ask(about({ callId: "c20" }), 15 * minute), 0)
    // Now the second is the oldest.
    assert.strictEqual(ask(about({ callId: "c21" }), 15 * minute), 1000)
  })

  it("counts each principal for itself, and principals of other tenants too", () => {
    const { ask } = ledger({ maxUndecided: 1 })
    assert.strictEqual(ask(about(), 0), 0)
    assert.isAbove(ask(about({ callId: "c2" }), 0), 0)
    assert.strictEqual(ask(about({ principal: "bob" }), 0), 0)
    assert.strictEqual(ask(about({ tenant: "acme" }), 0), 0)
    assert.isAbove(ask(about({ callId: "c2", tenant: "acme" }), 0), 0)
  })

  it("keeps hostile ids of principals and tenants apart", () => {
    const { ask } = ledger({ maxUndecided: 1 })
    for (const [tenant, principal] of [
      ["a", `b","c`],
      [`a","b`, "c"],
      [undefined, "abc"],
      ["null", "abc"],
      ["", "abc"],
      [undefined, "__proto__"]
    ] as const) {
      assert.strictEqual(ask(about({ tenant, principal }), 0), 0, `${tenant} ${principal}`)
    }
  })

  it("takes the same question again for the same one, and lets it stand anew", () => {
    const { ask, redeem } = ledger({ maxUndecided: 2 })
    ask(about(), 0)
    assert.strictEqual(ask(about(), 10 * minute), 0)
    assert.strictEqual(ask(about({ callId: "c2" }), 10 * minute), 0)
    assert.isTrue(redeem(about(), 20 * minute))
  })

  it("has room again when a question is redeemed", () => {
    const { ask, redeem } = ledger({ maxUndecided: 1 })
    ask(about(), 0)
    assert.isAbove(ask(about({ callId: "c2" }), 0), 0)
    redeem(about(), 0)
    assert.strictEqual(ask(about({ callId: "c2" }), 0), 0)
  })

  it("notes nothing of a question that found no room", () => {
    const { ask, redeem } = ledger({ maxUndecided: 1 })
    ask(about(), 0)
    ask(about({ callId: "c2" }), 0)
    assert.isFalse(redeem(about({ callId: "c2" }), 0))
  })
})

describe("redeeming", () => {
  it("works once", () => {
    const { ask, redeem } = ledger()
    ask(about(), 0)
    assert.isTrue(redeem(about(), 1))
    assert.isFalse(redeem(about(), 2))
  })

  it("works for nothing that was not asked", () => {
    assert.isFalse(ledger().redeem(about(), 0))
  })

  it("works only for the same principal, tenant, call, tool, arguments and kind of question", () => {
    const { ask, redeem } = ledger()
    ask(about(), 0)
    const others: ReadonlyArray<Partial<Approvals.Question>> = [
      { principal: "bob" },
      { tenant: "acme" },
      { callId: "call_2" },
      { tool: "refund" },
      { digest: "d2" },
      { inConversation: false }
    ]
    for (const other of others) assert.isFalse(redeem(about(other), 1), JSON.stringify(other))
    // None of them used it up.
    assert.isTrue(redeem(about(), 1))
  })

  it("works until the question expires, and not from then on", () => {
    const { ask, redeem } = ledger({ expiresAfter: "1 minute" })
    ask(about({ callId: "a" }), 0)
    ask(about({ callId: "b" }), 0)
    assert.isTrue(redeem(about({ callId: "a" }), minute - 1))
    assert.isFalse(redeem(about({ callId: "b" }), minute))
  })

  it("agrees with a list of what was asked, whatever the order of events", () => {
    const event = fc.record({
      kind: fc.constantFrom("ask", "redeem"),
      principal: fc.constantFrom("ada", "bob"),
      callId: fc.constantFrom("a", "b", "c", "d"),
      wait: fc.constantFrom(0, 1, 500, 1000, 2500)
    })
    fc.assert(
      fc.property(fc.array(event, { maxLength: 40 }), (events) => {
        const { ask, redeem } = ledger({ maxUndecided: 2, expiresAfter: 1000 })
        let open: ReadonlyArray<{ principal: string; callId: string; until: number }> = []
        let now = 0
        for (const { kind, principal, callId, wait } of events) {
          now += wait
          open = open.filter(({ until }) => until > now)
          const others = open.filter((each) => each.principal !== principal || each.callId !== callId)
          const known = others.length < open.length
          const question = about({ principal, callId })
          if (kind === "redeem") {
            assert.strictEqual(redeem(question, now), known)
            open = others
            continue
          }
          const own = others.filter((each) => each.principal === principal)
          if (own.length < 2) {
            assert.strictEqual(ask(question, now), 0)
            open = [...others, { principal, callId, until: now + 1000 }]
          } else {
            const soonest = Math.min(...own.map(({ until }) => until))
            assert.strictEqual(ask(question, now), soonest - now)
          }
        }
      }),
      { numRuns: 1000 }
    )
  })
})

describe("memory", () => {
  it("keeps nothing of principals whose questions have expired", { timeout: 30_000 }, () => {
    setFlagsFromString("--expose-gc")
    const gc = runInNewContext("gc") as () => void
    const { ask } = ledger()
    const used = () => {
      gc()
      return process.memoryUsage().heapUsed
    }
    const askAll = (round: number) => {
      for (let i = 0; i < 20_000; i++) {
        ask(about({ principal: `p${round}_${i}`, callId: "x".repeat(100) + i }), round * 16 * minute)
      }
    }
    askAll(0)
    const before = used()
    for (let round = 1; round <= 5; round++) askAll(round)
    assert.isBelow(used() - before, 4_000_000)
    ask(about(), 1000 * minute)
    assert.isBelow(used(), before)
  })
})
