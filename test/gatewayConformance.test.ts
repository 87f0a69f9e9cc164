/** The official conformance suite against a gateway in front of the fixture that passes it by itself. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect } from "effect"
import { Gateway } from "effect-interlock/mcp"
import { fixtureServer, fixtureUrl, front } from "./support/gatewayFront.ts"
import { conformance } from "./support/mcpConformance.ts"
import { type Era, eras } from "./support/mcpHarness.ts"

/** What a revision requires and fails here. */
const expectedFailures: Readonly<Record<Era, ReadonlyArray<string>>> = {
  // Effect's server has no subscriptions to resources over HTTP; see `mcpBare.test.ts`.
  "2025-11-25": ["resources-subscribe", "resources-unsubscribe"],
  // One check of many: a server behind the gateway that lacks a capability of the client says so with an error of the
  // protocol, and what goes wrong with a governed call is a result.
  "2026-07-28": ["server-stateless"]
}

const required: Readonly<Record<Era, number>> = { "2025-11-25": 30, "2026-07-28": 37 }

describe("the official conformance suite, through the gateway", () => {
  for (const era of eras) {
    for (const how of ["a process", "a URL"] as const) {
      it.live(`of ${era}, with the server as ${how}: what is required passes, but for what is listed`, () =>
        Effect.gen(function* () {
          const server =
            how === "a process"
              ? fixtureServer(era, { prefix: "" })
              : { url: yield* fixtureUrl(era), prefix: "" }
          const { behind, url } = yield* front({ servers: { fixture: server } })
          const [status] = yield* Context.get(behind, Gateway.Gateway).status
          assert.deepInclude(status, { state: "ready", protocol: era, skipped: [], unaccepted: [] })
          const scored = (yield* conformance(url, era)).filter(({ required }) => required)
          assert.lengthOf(scored, required[era])
          assert.deepStrictEqual(
            scored.filter(({ failed }) => failed > 0).map(({ name }) => name),
            expectedFailures[era]
          )
        }).pipe(Effect.scoped)
      )
    }
  }
})
