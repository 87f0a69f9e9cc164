/** What a person wants to see when the calls have ended. */
import { Effect, Schema } from "effect"
import {
  CallRecord,
  type CircuitBreaker,
  Health,
  History,
  ToolError,
  type ToolResult
} from "effect-interlock"
import { notACall } from "./calls.ts"
import { DemoService } from "./service.ts"
import type { Tally } from "./tally.ts"
import { bold, count, dim, hang, percent, table, time } from "./text.ts"
import { ServiceError } from "./tools.ts"

/** When the run began and how long it took, in milliseconds. */
export interface Run {
  readonly startedAt: number
  readonly elapsed: number
}

/** The whole report. */
export const report = Effect.fnUntraced(function* (
  run: Run,
  tally: Tally,
  transitions: ReadonlyArray<CircuitBreaker.Transition>
) {
  const health = yield* (yield* Health.Health).all
  const records = yield* (yield* History.History).recent()
  const seen = yield* (yield* DemoService).seen
  return [
    summary(run, tally, seen.requests),
    statuses(tally),
    tools(health),
    circuits(run, transitions),
    retries(records),
    cut(records),
    answers(tally),
    unreadable(tally),
    dim(
      `The service itself saw ${count(seen.payments, "payment")}, ${count(seen.deletions, "deletion")}, ` +
        `and ${count(seen.hungUp, "caller")} hang up before the answer.`
    )
  ]
    .filter((section) => section !== "")
    .join("\n\n")
})

// --- Sections --------------------------------------------------------------

const summary = ({ elapsed }: Run, tally: Tally, requests: number): string =>
  `${bold(`${count(tally.ended, "call")} in ${time(elapsed)}`)}, ${Math.round(tally.ended / (elapsed / 1000))} a second; ` +
  `${count(tally.attempts, "attempt")}, ${count(requests, "HTTP request")}, estimated cost $${(tally.cost / 1e6).toFixed(4)}`

const statuses = (tally: Tally): string =>
  table("How they ended", "lrrl", [
    ["status", "calls", "share", ""],
    ...ToolError.Status.literals.flatMap((status) => {
      const calls = tally.count(status)
      const share = calls / tally.ended
      return calls === 0 ? [] : [[status, `${calls}`, percent(share), "▇".repeat(Math.ceil(share * 40))]]
    })
  ])

const tools = (health: ReadonlyMap<string, Health.ToolHealth>): string =>
  table("Health of the tools", "lrrrrrl", [
    ["tool", "calls", "reached it", "success", "p50", "p95", "circuit"],
    ...Array.from(health.values())
      .sort((a, b) => b.total - a.total)
      .map(({ breaker, lastFailure, lastSuccess, p50, p95, reached, successRate, tool, total }) => [
        tool,
        `${total}`,
        `${reached}`,
        lastSuccess === undefined && lastFailure === undefined ? "–" : percent(successRate),
        ...(reached === 0 ? ["–", "–"] : [time(p50), time(p95)]),
        circuitNames[breaker.tag]
      ])
  ])

const circuitNames: { readonly [Tag in CircuitBreaker.Snapshot["tag"]]: string } = {
  Closed: "closed",
  Open: "open",
  HalfOpen: "half open",
  ForcedOpen: "forced open",
  ForcedClosed: "forced closed"
}

const circuits = ({ startedAt }: Run, transitions: ReadonlyArray<CircuitBreaker.Transition>): string =>
  transitions.length === 0
    ? ""
    : table("Circuits that opened", "rlll", [
        ["after", "circuit", "", "why"],
        ...transitions
          // That it is tried again is told by what came of it.
          .filter(({ to }) => to !== "HalfOpen")
          .map(({ at, key, to, why }) => [
            time(at - startedAt),
            key,
            to === "Open" ? "opened" : circuitNames[to],
            why ?? "a probe succeeded"
          ])
      ])

const retries = (records: ReadonlyArray<CallRecord.CallRecord>): string => {
  const retried = records.filter((record) => record.retried.length > 0)
  if (retried.length === 0) return ""
  const rows = byTool(retried).map(([tool, calls]) => {
    const all = calls.flatMap((record) => record.retried)
    const delays = all.map(({ delay }) => delay)
    return [
      tool,
      `${calls.length}`,
      `${all.length}`,
      `${calls.filter(({ status }) => status === "success").length}`,
      span(Math.min(...delays), Math.max(...delays)),
      Array.from(new Set(all.map(({ code }) => code))).join(", ")
    ]
  })
  const longest = retried
    .filter(({ status }) => status === "success")
    .sort((a, b) => b.attempts - a.attempts || (CallRecord.latency(a) ?? 0) - (CallRecord.latency(b) ?? 0))[0]
  return [
    table("Retried", "lrrrrl", [
      ["tool", "calls", "retries", "succeeded then", "waited", "because of"],
      ...rows
    ]),
    ...(longest === undefined ? [] : [dim(hang("  ", `For example ${longest.callId}: ${story(longest)}`))])
  ].join("\n")
}

const span = (from: number, to: number): string =>
  time(from) === time(to) ? time(from) : `${time(from)} – ${time(to)}`

const story = (record: CallRecord.CallRecord): string =>
  [
    ...record.retried.map(({ attempt, code, delay }) => `attempt ${attempt} ${code}, waited ${time(delay)}`),
    `attempt ${record.attempts} success, ${time(CallRecord.latency(record) ?? 0)} in all`
  ].join("; ")

const cut = (records: ReadonlyArray<CallRecord.CallRecord>): string => {
  const cut = records.filter(
    ({ abandoned, status }) => abandoned || status === "timeout" || status === "cancelled"
  )
  if (cut.length === 0) return ""
  const is = (calls: ReadonlyArray<CallRecord.CallRecord>, status: ToolError.Status) =>
    calls.filter((record) => record.status === status).length
  const rows = byTool(cut).map(([tool, calls]) => [
    tool,
    `${is(calls, "timeout")}`,
    `${is(calls, "cancelled")}`,
    `${calls.filter(({ abandoned }) => abandoned).length}`,
    time(Math.max(...calls.map((record) => CallRecord.latency(record) ?? 0)))
  ])
  const title = "Interrupted"
  const head = ["tool", "timed out", "cancelled", "abandoned", "longest"]
  const note = cut.some(({ abandoned }) => abandoned)
    ? dim("\n  Abandoned: the call ended in time, its handler ignored the signal and went on.")
    : ""
  return table(title, "lrrrr", [head, ...rows]) + note
}

/** The first answer of each kind that is not a success. */
const answers = (tally: Tally): string => {
  if (tally.examples.size === 0) return ""
  const order = ToolError.Status.literals
  const examples = Array.from(tally.examples.values()).sort(
    (a, b) => order.indexOf(a.result.status) - order.indexOf(b.result.status)
  )
  return [
    bold("What callers were told, one example of each"),
    ...examples.map(({ line, result }) => {
      const head = `  ${result.status.padEnd(20)}  line ${String(line.number).padEnd(4)} ${line.principal.id.padEnd(9)}  `
      return hang(head, told(result))
    })
  ].join("\n")
}

const unreadable = (tally: Tally): string =>
  tally.unreadable === 0
    ? ""
    : [
        bold(`${count(tally.unreadable, "line")} could not be read, and ended as invalid_params`),
        ...tally.unreadableLines.map(({ line, result }) => {
          const why =
            line.problem === notACall && result.error !== undefined
              ? ToolError.messageOf(result.error.reason)
              : line.problem
          return hang(`  line ${String(line.number).padEnd(4)} `, why ?? "")
        }),
        ...(tally.unreadable > tally.unreadableLines.length ? ["  …"] : [])
      ].join("\n")

// --- Helpers ---------------------------------------------------------------

/** The message, and what the service answered where that is why. */
export const told = ({ error }: ToolResult): string => {
  if (error === undefined) return ""
  const { reason } = error
  return reason._tag === "ToolFailed" && isServiceError(reason.failure)
    ? `${error.message} (${new ServiceError(reason.failure).message})`
    : error.message
}

const isServiceError = Schema.is(Schema.toEncoded(ServiceError))

const byTool = (
  records: ReadonlyArray<CallRecord.CallRecord>
): ReadonlyArray<readonly [string, ReadonlyArray<CallRecord.CallRecord>]> =>
  Array.from(Map.groupBy(records, ({ tool }) => tool)).sort((a, b) => b[1].length - a[1].length)
