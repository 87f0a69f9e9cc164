/** Whether upstream servers can be reached, and are what was accepted. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { Gateway, type Status } from "../../mcp/Gateway.ts"
import { type Finding, note, ok, problem, some, warning } from "./Finding.ts"

/** A total function of a server's status; `firstUse`: what it offers is accepted when it is first seen, which is not now. */
export const ofStatus = (status: Status, firstUse: boolean): ReadonlyArray<Finding> => {
  const { drifted, lastError, missing, name, skipped, state, tools, unaccepted } = status
  const about = `mcpServers.${name}`
  const look = `interlock gateway status --start, then: interlock gateway accept ${name}`
  // Nothing of it was ever accepted.
  const isNew = firstUse && tools.length + drifted.length + missing.length === 0
  const findings: Array<Finding> = []
  if (state === "failed") {
    findings.push(
      problem(
        about,
        `cannot be reached: ${lastError ?? "it does not start"}`,
        "Its tools are refused until it is there.",
        "Start its command, or open its URL, by hand and see what it says."
      )
    )
  } else if (state === "ready" && isNew) {
    findings.push(ok(about, `is there, with ${unaccepted.length} tools that its first use accepts`))
  } else if (state === "ready") {
    findings.push(ok(about, `is there, with ${tools.length} tools`))
  }
  if (drifted.length > 0) {
    findings.push(
      warning(
        about,
        `says something else of its tools than what was accepted: ${some(drifted.map(({ tool }) => tool))}`,
        "A definition that changes later is how a server that was harmless stops being so; calls are refused.",
        look
      )
    )
  }
  if (unaccepted.length > 0 && !isNew) {
    findings.push(
      note(
        about,
        `has tools that nobody has accepted: ${some(unaccepted.map(({ tool }) => tool))}`,
        "They are not offered.",
        look
      )
    )
  }
  if (missing.length > 0) {
    findings.push(
      note(about, `has these tools no more: ${some(missing)}`, "Calls of them are refused.", look)
    )
  }
  if (skipped.length > 0) {
    findings.push(
      note(
        about,
        `tools that cannot be offered: ${some(skipped.map(({ tool, why }) => `${tool} (${why})`))}`,
        "They are left out.",
        "Give servers prefixes of their own, or tell whoever wrote them."
      )
    )
  }
  return findings
}

/** Starts every server, where that is wanted, and looks at them; `complete` where all that they have is known. */
export const ofServers = Effect.fnUntraced(function* (start: boolean, firstUse: boolean) {
  const found = yield* Effect.serviceOption(Gateway)
  if (Option.isNone(found)) return { findings: [], complete: true }
  const gateway = found.value
  const enabled = (yield* gateway.status).filter(({ state }) => state !== "disabled")
  if (start) {
    // What goes wrong is in its status.
    yield* Effect.forEach(enabled, ({ name }) => Effect.ignore(gateway.start(name)), {
      concurrency: "unbounded",
      discard: true
    })
  }
  const statuses = (yield* gateway.status).filter(({ state }) => state !== "disabled")
  return {
    findings: statuses.flatMap((status) => ofStatus(status, firstUse)),
    complete: statuses.every(({ state, unaccepted }) => state === "ready" && unaccepted.length === 0)
  }
})
