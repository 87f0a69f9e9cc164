/** The limits that several processes share. */
import type { Limit } from "../../src/Budget.ts"

export const sharedLimits: ReadonlyArray<Limit> = [
  { name: "all", max: 1000 },
  { name: "tenant", max: 900, per: "tenant" },
  { name: "each", max: 400, per: "principal", window: "month" }
]
