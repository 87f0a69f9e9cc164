import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { doors } from "./support/doors.ts"
import { laws } from "./support/laws.ts"

for (const mode of ["error", "return"] as const) {
  describe(`tools in failure mode "${mode}"`, () => {
    for (const law of laws) {
      describe(`law ${law.id}: ${law.title}`, () => {
        for (const door of doors) {
          const reason = law.except[door.name]
          it.effect(
            reason === undefined ? `holds at ${door.name}` : `does not hold at ${door.name}: ${reason}`,
            () =>
              Effect.gen(function* () {
                const held = yield* Effect.exit(law.holds(door, mode))
                const holds = held._tag === "Success" && held.value
                assert.strictEqual(
                  holds,
                  reason === undefined,
                  held._tag === "Failure" ? String(held.cause) : ""
                )
              })
          )
        }
      })
    }
  })
}
