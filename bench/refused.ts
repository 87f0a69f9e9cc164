/** What saying no costs: in an outage, or under attack, refusing is most of what is done. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import { CircuitBreaker, ToolError } from "../src/index.ts"
import type * as Plain from "../test/support/plain.ts"
import { answersAtOnce, invalid, params } from "./convert.ts"
import { inOneFiber, inPlainEffect } from "./doors.ts"
import { measure } from "./measure.ts"
import { peerNames, peerSubjects } from "./peers.ts"
import { merge, type Outcome, outcome } from "./report.ts"
import { type Refusal, type Subject, verify } from "./support.ts"
import { costColumns, costRow, ratioOf } from "./table.ts"
import { makeWorld, usual } from "./tools.ts"

const kinds: Readonly<
  Record<Refusal, { readonly title: string; readonly tag: ToolError.ReasonTag; readonly target?: number }>
> = {
  invalid: { title: "Invalid arguments", tag: "InvalidParams", target: 0.5 },
  denied: { title: "Denied by policy", tag: "PolicyDenied", target: 0.5 },
  limited: { title: "Over the rate limit", tag: "RateLimited" },
  open: { title: "Open circuit", tag: "CircuitOpen", target: 0.5 }
}

const governanceOf: Readonly<Record<Refusal, Plain.Options>> = {
  invalid: usual,
  denied: { ...usual, policy: { deny: ["convert"] } },
  limited: { ...usual, rateLimits: [{ limit: 1, window: "1 hour", by: "principal" }] },
  open: usual
}
const paramsOf = (kind: Refusal) => (kind === "invalid" ? invalid : params)

const interlock = Effect.fnUntraced(function* (kind: Refusal) {
  const { context, executor } = yield* makeWorld({ governance: governanceOf[kind] })
  const given = paramsOf(kind)
  const run = () => executor.run("convert", given)
  if (kind === "limited") yield* Effect.provideContext(run(), context)
  if (kind === "open")
    yield* Context.get(context, CircuitBreaker.CircuitBreaker).forceOpen("convert", "broken")
  const call = { tool: "convert", params: given }
  const { tag } = kinds[kind]
  const { status } = ToolError.table[tag]
  const refused = (error: { readonly reason: ToolError.Reason }) => verify(error.reason._tag === tag, tag)
  return {
    run: inOneFiber("Interlock, run in a fiber", context, () => Effect.flip(run()), refused),
    execute: inOneFiber(
      "Interlock, execute",
      context,
      () => executor.execute(call),
      (result) => verify(result.status === status, result.status)
    )
  }
})

const plain = (kind: Refusal): Subject => {
  const { tag } = kinds[kind]
  let failing = kind === "open"
  const handler = (given: typeof params) => {
    if (failing) throw new Error("broken")
    return answersAtOnce(given)
  }
  const options: Plain.Options =
    kind === "open" ? { ...usual, breaker: { trip: CircuitBreaker.consecutive(1) } } : governanceOf[kind]
  const given = paramsOf(kind)
  return inPlainEffect(
    options,
    handler,
    (system) => {
      if (kind !== "limited" && kind !== "open") return Effect.void
      failing = kind === "open"
      return Effect.asVoid(Effect.exit(system.call("convert", params, { retries: 0 })))
    },
    (system) => Effect.flip(system.run("convert", given)),
    (reason) => verify((reason as ToolError.Reason)._tag === tag, tag)
  )
}

const refuse = Effect.fnUntraced(function* (kind: Refusal) {
  const subjects = {
    ...(yield* interlock(kind)),
    plain: plain(kind),
    ...(yield* Effect.promise(() =>
      peerSubjects(async (peer, name) => {
        const subject = (await peer.refused?.())?.find((refused) => refused.kind === kind)?.subject
        return subject === undefined ? undefined : { ...subject, name: peerNames[name] }
      })
    ))
  }
  const { results, wrong } = yield* Effect.promise(() => measure(subjects))
  const { target, title } = kinds[kind]
  return outcome({
    tables: [
      { title, columns: costColumns, rows: Array.from(results.values(), (one) => costRow(one, results)) }
    ],
    ratios: (["run", "execute"] as const).map((door) => ({
      work: `${title.toLowerCase()}, ${door}`,
      comparedWith: "cockatiel + zod",
      measured: ratioOf(results.get(door), results.get("cockatiel")),
      ...(target === undefined ? {} : { target })
    })),
    bytes: { [`${title.toLowerCase()}, run`]: results.get("run")?.bytes ?? Number.NaN },
    wrong: wrong.map((problem) => `${title}: ${problem}`)
  })
})

export const run = (): Promise<Outcome> =>
  Effect.forEach(Object.keys(kinds) as Array<Refusal>, refuse).pipe(
    Effect.map(merge),
    Effect.scoped,
    Effect.runPromise
  )
