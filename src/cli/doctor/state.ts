/** What the state says: whether the audit log is sound, and what waits, is stopped, open or used up. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { Approvals } from "../../Approvals.ts"
import { AuditLog, verifyLines } from "../../AuditLog.ts"
import { Budget } from "../../Budget.ts"
import { CircuitBreaker } from "../../CircuitBreaker.ts"
import { openLine } from "../../internal/audit/chain.ts"
import { Keyring } from "../../Keyring.ts"
import { KillSwitch } from "../../KillSwitch.ts"
import type { Config } from "../Config.ts"
import * as Output from "../Output.ts"
import { type Finding, note, ok, problem, some, warning } from "./Finding.ts"

const day = 86_400_000

/** Records that are verified: a log of more has its last part looked at. */
const verified = 20_000

// --- Audit -----------------------------------------------------------------

const verification = Effect.gen(function* () {
  const audit = yield* AuditLog
  const keyring = yield* Keyring
  const [last] = yield* audit.query({ limit: 1 })
  const to = last?.sequence ?? 0
  if (to <= verified) return { part: "", result: yield* audit.verify() }
  const [first, ...lines] = yield* Stream.runCollect(audit.lines({ from: to - verified }))
  // The line before the part is taken as it is: what is chained to it was chained to this one.
  const opened = first === undefined ? undefined : openLine(keyring, first.line)
  const part = `the last ${verified} records; all of them: interlock audit verify`
  if (opened === undefined || typeof opened === "string") return { part, result: yield* audit.verify() }
  const head = yield* audit.checkpoint
  const after = { sequence: opened.sequence, hash: opened.tip }
  return { part, result: verifyLines(lines, keyring, { after, expected: [head] }) }
})

const ofAudit = Effect.gen(function* () {
  const audit = yield* AuditLog
  const now = yield* Clock.currentTimeMillis
  const findings: Array<Finding> = []
  const { part, result } = yield* verification
  if (result.ok) {
    findings.push(
      ok("audit", part === "" ? `${result.records} records, and the chain is sound` : `sound: ${part}`)
    )
  } else {
    findings.push(
      problem(
        "audit",
        `the chain is broken at record ${result.sequence}: ${result.message}`,
        "Somebody has changed the log, or a part of it was lost: what it says from there on proves nothing.",
        "Keep the state as it is, and compare it with a backup and with interlock audit verify."
      )
    )
  }
  const open = yield* audit.records({ kind: "tool_call", since: now - 7 * day }).pipe(
    Stream.runFold(
      () => new Map<number, { readonly time: number; readonly tool: string | undefined }>(),
      (open, { intent, phase, sequence, time, tool }) => {
        if (phase === "intent") open.set(sequence, { time, tool })
        else if (intent !== undefined) open.delete(intent)
        return open
      }
    )
  )
  const unfinished = [...open.values()].filter(({ time }) => time < now - 300_000)
  if (unfinished.length > 0) {
    findings.push(
      warning(
        "audit",
        `${unfinished.length} calls of the last 7 days began and have no end: ${some(unfinished.map(({ tool }) => tool ?? ""))}`,
        "Their process crashed or was killed; what they did may be half done.",
        "Look at them: interlock audit unfinished"
      )
    )
  }
  return findings
})

/** What should have been let go of long ago. */
const ofRetention = Effect.fnUntraced(function* ({ audit: options }: Config) {
  const audit = yield* AuditLog
  const now = yield* Clock.currentTimeMillis
  const [oldest] = yield* audit.query({ order: "oldest", limit: 1 })
  // A pass lets go of whole days.
  const slack = 2 * day
  const isLate = oldest !== undefined && oldest.time < now - 30 * day - slack
  if (!isLate || oldest.personal === "forgotten" || options?.anonymiseAfter !== undefined) return []
  return [
    note(
      "audit",
      `records since ${Output.time(oldest.time)} still say who and what`,
      "Identities and arguments are kept for 30 days, and no pass of retention has run since.",
      "Run it now and then: interlock audit retain"
    )
  ]
})

// --- What people have to do with -------------------------------------------

const ofApprovals = Effect.gen(function* () {
  const approvals = yield* Approvals
  const now = yield* Clock.currentTimeMillis
  const findings: Array<Finding> = []
  const pending = yield* approvals.list({ state: "pending" })
  if (pending.length > 10) {
    findings.push(
      warning(
        "approvals",
        `${pending.length} requests wait`,
        "Whoever has many to answer stops reading them; and beyond 20 of one principal its calls are refused.",
        "interlock approvals; or let fewer calls ask."
      )
    )
  } else if (pending.length > 0) {
    findings.push(
      note("approvals", `${pending.length} requests wait`, "Their calls do too.", "interlock approvals")
    )
  }
  const expired = (yield* approvals.list({ state: "expired" })).filter(
    ({ expiresAt }) => expiresAt > now - day
  )
  if (expired.length > 0) {
    findings.push(
      note(
        "approvals",
        `${expired.length} requests of the last day expired, undecided or unused`,
        "Nobody saw them in time.",
        "Look more often (interlock approvals watch), or give them longer: approvals.expiresAfter."
      )
    )
  }
  return findings
})

const ofStops = Effect.gen(function* () {
  const stops = yield* (yield* KillSwitch).stops
  if (stops.length === 0) return []
  const all = stops.some(({ target }) => target.scope === "all")
  return [
    (all ? warning : note)(
      "kill",
      all ? "everything is stopped" : `${stops.length} stops are in force`,
      "Calls that they meet are refused.",
      "interlock kill list, and interlock kill lift when it is over."
    )
  ]
})

const ofCircuits = Effect.gen(function* () {
  const states = yield* (yield* CircuitBreaker).states
  const open = [...states].filter(([, { tag }]) => tag !== "Closed").map(([key]) => key)
  return open.length === 0
    ? []
    : [
        warning(
          "breaker",
          `not closed: ${some(open)}`,
          "Their tools keep failing, or an operator has said so: calls are refused, or not watched.",
          "interlock breaker, and interlock breaker reset when it is mended."
        )
      ]
})

const ofBudgets = Effect.gen(function* () {
  const standing = yield* (yield* Budget).standing
  const used = standing.filter(({ max, reserved, settled }) => settled + reserved >= 0.8 * max)
  return used.length === 0
    ? []
    : [
        note(
          "budgets",
          `nearly or wholly used: ${some(used.map(({ key, limit }) => (key === "" ? limit : `${limit} of ${key}`)))}`,
          "Calls that would go beyond are refused.",
          "interlock budget"
        )
      ]
})

/** A store that does not answer is a finding of its own. */
const looked = <R>(
  about: string,
  look: Effect.Effect<ReadonlyArray<Finding>, unknown, R>
): Effect.Effect<ReadonlyArray<Finding>, never, R> =>
  Effect.catch(look, () =>
    Effect.succeed([
      problem(
        about,
        "could not be read",
        "Calls that need it are refused.",
        "Look at the state file and the disk."
      )
    ])
  )

export const ofState = (config: Config) =>
  Effect.map(
    Effect.all([
      looked("audit", ofAudit),
      looked("audit", ofRetention(config)),
      looked("approvals", ofApprovals),
      looked("kill", ofStops),
      looked("breaker", ofCircuits),
      looked("budgets", ofBudgets)
    ]),
    (findings) => findings.flat()
  )
