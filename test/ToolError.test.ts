import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Schema from "effect/Schema"
import { errorOf } from "../src/internal/result.ts"
import * as ToolError from "../src/ToolError.ts"

const codec = Schema.toCodecJson(ToolError.ToolError)
const encode = Schema.encodeSync(codec)
const decode = Schema.decodeUnknownSync(codec)

const error = (reason: ToolError.Reason): ToolError.ToolError =>
  new ToolError.ToolError({ callId: "call-1", tool: "pay", reason })

const rows = Object.entries(ToolError.table) as ReadonlyArray<[ToolError.ReasonTag, ToolError.Row]>
const tags = ToolError.Reason.members.map((member) => member.fields._tag.schema.literal)

describe("the table", () => {
  it("has one row per reason, and nothing else", () => {
    assert.deepStrictEqual(Object.keys(ToolError.table).sort(), [...tags].sort())
  })

  it("leads to every status that is not the outcome of a value", () => {
    const reached = new Set<string>(rows.map(([, row]) => row.status))
    // `success` has no reason, and `degraded` is a reason whose fallback answered.
    const ofValues = ["success", "degraded"]
    assert.deepStrictEqual([...reached, ...ofValues].sort(), [...ToolError.Status.literals].sort())
    assert.isTrue(rows.some(([, row]) => row.fallback))
  })

  it("has a code of its own for each reason, and an HTTP status that fits", () => {
    const codes = rows.map(([, row]) => row.code)
    assert.strictEqual(new Set(codes).size, codes.length)
    for (const [tag, row] of rows) {
      assert.match(row.code, /^[A-Z]+(_[A-Z]+)*$/)
      const blamesCaller = row.class === "Caller" || row.class === "Policy" || row.class === "from the error"
      if (tag !== "PendingConfirmation") {
        assert.isTrue(
          blamesCaller ? row.http < 500 || tag === "HandlerFailed" : row.http === 429 || row.http >= 500,
          tag
        )
      }
    }
  })

  it("counts what never reached the handler neither for health nor for the breaker, and retries none of it", () => {
    for (const [tag, row] of rows) {
      if (row.health === "no") assert.deepStrictEqual([row.breaker, row.retry], ["no", "no"], tag)
    }
  })

  it("stops a fail-fast batch for everything but a question to a human", () => {
    const goOn = rows.filter(([, row]) => !row.failFast).map(([tag]) => tag)
    assert.deepStrictEqual(goOn, ["PendingConfirmation"])
  })
})

describe("ToolError", () => {
  it.prop(
    "that a refusal gives is what its constructor makes, but for the stack",
    [ToolError.Reason],
    ([reason]) => {
      const made = error(reason)
      const given = errorOf({ callId: "call-1", tool: "pay", reason })
      assert.instanceOf(given, ToolError.ToolError)
      assert.isTrue(given instanceof Error && Object.prototype.toString.call(given) === "[object Error]")
      assert.isTrue(Schema.is(ToolError.ToolError)(given))
      const parts = (of: ToolError.ToolError) => [
        { ...of },
        String(of),
        of.name,
        of.message,
        of.code,
        of.toJSON(),
        encode(of)
      ]
      assert.deepStrictEqual(parts(given), parts(made))
      assert.deepStrictEqual(Effect.runSyncExit(given), Exit.fail(given))
      assert.notInclude(given.stack ?? "", "\n    at ")
    }
  )

  it.prop("survives JSON with any reason", [ToolError.Reason], ([reason]) => {
    const json = encode(error(reason))
    const back = decode(JSON.parse(JSON.stringify(json)))
    assert.instanceOf(back, ToolError.ToolError)
    // Durations are written in milliseconds, so that below them only what is written can be compared.
    assert.strictEqual(JSON.stringify(encode(back)), JSON.stringify(json))
    assert.deepStrictEqual(
      [back.message, back.code, back.status, back.class],
      [error(reason).message, error(reason).code, error(reason).status, error(reason).class]
    )
  })

  it("keeps durations, and a failure that is nothing, through JSON", () => {
    const through = (reason: ToolError.Reason) =>
      decode(JSON.parse(JSON.stringify(encode(error(reason))))).reason
    const limited: ToolError.Reason = {
      _tag: "RateLimited",
      limit: "calls",
      retryAfter: Duration.seconds(90)
    }
    assert.deepStrictEqual(through(limited), limited)
    const nothing: ToolError.Reason = { _tag: "ToolFailed", class: "Caller" }
    assert.deepStrictEqual(through(nothing), nothing)
  })

  it.prop(
    "reads its status, code and class from the table, or from the failure itself",
    [ToolError.Reason],
    ([reason]) => {
      const row = ToolError.table[reason._tag]
      const made = error(reason)
      assert.deepStrictEqual([made.status, made.code], [row.status, row.code])
      const own = "class" in reason ? reason.class : undefined
      assert.strictEqual(made.class, row.class === "from the error" ? own : row.class)
      assert.strictEqual(made.retryAfter, "retryAfter" in reason ? reason.retryAfter : undefined)
    }
  )

  it("says in its message nothing of what a tool's failure holds", () => {
    const failed = error({ _tag: "ToolFailed", class: "Caller", failure: { card: "s3cret" } })
    assert.notInclude(failed.message, "s3cret")
    assert.notInclude(String(failed), "s3cret")
    assert.notInclude(Cause.pretty(Cause.fail(failed)), "s3cret")
  })

  it("has a sentence for every reason, that begins with the tool's name", () => {
    const samples: { readonly [Tag in ToolError.ReasonTag]: Extract<ToolError.Reason, { _tag: Tag }> } = {
      ToolNotFound: { _tag: "ToolNotFound", tool: "s3cret" },
      PermissionDenied: {
        _tag: "PermissionDenied",
        missing: ["financial"],
        message: "This needs financial."
      },
      PolicyDenied: { _tag: "PolicyDenied", rule: "deny", message: "The security policy denies this tool." },
      RateLimited: { _tag: "RateLimited", limit: "calls", retryAfter: Duration.millis(1) },
      ArgumentsRefused: { _tag: "ArgumentsRefused", limit: "depth", message: "Too deep." },
      InvalidParams: {
        _tag: "InvalidParams",
        issues: [{ path: ["a"], expected: "a string", found: "number", message: '"a" must be a string' }]
      },
      ArgumentsScreened: {
        _tag: "ArgumentsScreened",
        findings: [{ rule: "control", path: "a", message: '"a" has a control character.' }]
      },
      Killed: { _tag: "Killed", scope: "tool", why: "incident 7", until: 5 },
      LoopDetected: { _tag: "LoopDetected", kind: "repeat", stopped: false, message: "Do something else." },
      IdempotencyConflict: { _tag: "IdempotencyConflict", key: "order-7" },
      OutcomeUnknown: { _tag: "OutcomeUnknown", callId: "1" },
      PendingConfirmation: {
        _tag: "PendingConfirmation",
        callId: "1",
        request: "r",
        expiresAt: 5,
        by: "approve",
        tool: "pay",
        why: []
      },
      ApprovalRejected: { _tag: "ApprovalRejected", request: "r", message: "Not today" },
      ApprovalInvalid: { _tag: "ApprovalInvalid", why: "forged" },
      BudgetExceeded: {
        _tag: "BudgetExceeded",
        limit: "team",
        unit: "usd",
        retryAfter: Duration.hours(3)
      },
      Unavailable: { _tag: "Unavailable", concern: "audit" },
      Overloaded: { _tag: "Overloaded", scope: "tool" },
      CircuitOpen: { _tag: "CircuitOpen", key: "pay", why: "5 failures", retryAfter: Duration.seconds(60) },
      TimedOut: { _tag: "TimedOut", scope: "attempt", after: Duration.seconds(30) },
      Cancelled: { _tag: "Cancelled" },
      Skipped: { _tag: "Skipped", why: "the batch was stopped" },
      ToolFailed: { _tag: "ToolFailed", class: "Caller", failure: "s3cret" },
      HandlerFailed: { _tag: "HandlerFailed", class: "Retryable" },
      InvalidResult: {
        _tag: "InvalidResult",
        issues: [{ path: [], expected: "a string", found: "number", message: "The result must be a string" }]
      },
      HandlerDefect: { _tag: "HandlerDefect" }
    }
    for (const reason of Object.values(samples)) {
      const { message } = error(reason)
      assert.match(message, /^pay: [A-Z"].*\.$/, reason._tag)
      assert.notMatch(message, /undefined|NaN|\[object|s3cret/, reason._tag)
    }
    assert.include(error(samples.RateLimited).message, "1 ms")
    assert.include(error(samples.CircuitOpen).message, "5 failures")
    assert.include(error(samples.CircuitOpen).message, "60 s")
  })
})

describe("what counts for the breaker", () => {
  it("is a failure that says something about the tool, never one that is the caller's", () => {
    const counts = (errorClass: ToolError.ErrorClass) =>
      ToolError.countsForBreaker({ _tag: "HandlerFailed", class: errorClass })
    const counted = ToolError.ErrorClass.literals.filter(counts)
    assert.deepStrictEqual(counted, ["Retryable", "Overload", "Defect"])
    assert.isTrue(ToolError.countsForBreaker({ _tag: "HandlerDefect" }))
    assert.isFalse(ToolError.countsForBreaker({ _tag: "Cancelled" }))
    assert.isFalse(ToolError.countsForBreaker({ _tag: "InvalidParams", issues: [] }))
  })
})
