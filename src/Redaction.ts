/** (the module doc is written with the module) */
import * as Context from "effect/Context"
import type { ToolFacts } from "./ToolAnnotations.ts"

/** A value as anyone may see it. */
export interface View {
  /** JSON, with what is secret replaced by a mask that says which rule hid it. */
  readonly value: unknown
  /** Where something was masked, as `ArgumentPath.format` writes paths, and by which rule. */
  readonly masked: ReadonlyArray<{ readonly path: string; readonly rule: string }>
}

/** What may be shown of one tool's calls, worked out once. Never throws; input is JSON of bounded depth. */
export interface ToolRedaction {
  /** Raw (encoded) arguments: declared fields masked whatever they hold, then what is detected. */
  readonly params: (raw: unknown) => View
  /** An encoded success or failure. */
  readonly result: (encoded: unknown) => View
}

export class Redaction extends Context.Service<
  Redaction,
  {
    readonly forTool: (tool: ToolFacts) => ToolRedaction
    /** Any JSON nothing is declared of: metadata, messages in structures. */
    readonly value: (value: unknown) => View
    /** Free text, with every detected secret replaced by its mask. */
    readonly text: (text: string) => string
  }
>()("interlock/Redaction") {}
