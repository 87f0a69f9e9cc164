/** (the module doc is written with the module) */
import * as Context from "effect/Context"
import type { ToolFacts } from "./ToolAnnotations.ts"

/** What screening found: the rule, the field as `ArgumentPath.format` writes it, and a sentence. Never the value. */
export interface Finding {
  readonly rule: string
  readonly path: string
  readonly message: string
  /** `refuse`: the call must not run; `flag`: recorded, and shown to whoever is asked. */
  readonly severity: "refuse" | "flag"
}

/** What screening looks for in one tool's calls, worked out once. Pure, never throws; input is JSON of bounded depth. */
export interface ToolScreening {
  /** Every finding in raw (encoded) arguments; the same empty array when there is none. */
  readonly params: (raw: unknown) => ReadonlyArray<Finding>
  /** Every finding in an encoded result of an untrusted tool: instruction-like content, never changed. */
  readonly result: (encoded: unknown) => ReadonlyArray<Finding>
}

export class Screening extends Context.Service<
  Screening,
  {
    /** `undefined`: nothing is looked for, so a call pays nothing. */
    readonly forTool: (tool: ToolFacts) => ToolScreening | undefined
  }
>()("interlock/Screening") {}
