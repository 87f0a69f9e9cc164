/** (the module doc is written with the module) */
import * as Context from "effect/Context"
import type { Run } from "./Run.ts"
import type { Reason } from "./ToolError.ts"

/** A call as a loop is made of: the tool and its raw (encoded) arguments. */
export interface LoopedCall {
  readonly tool: string
  readonly params: unknown
}

export type LoopDetected = Extract<Reason, { readonly _tag: "LoopDetected" }>

export class LoopDetector extends Context.Service<
  LoopDetector,
  {
    /** Whether the call would go round in a circle, judged by what the run has done. Remembers nothing. */
    readonly check: (run: Run, call: LoopedCall) => LoopDetected | undefined
    /** Tells that a call was refused as a loop: the next time the run is stopped. */
    readonly refused: (run: Run, call: LoopedCall) => void
    /** Tells how a call that ran has ended: its code, or its encoded value. */
    readonly ended: (
      run: Run,
      call: LoopedCall,
      outcome: { readonly code?: string; readonly encoded?: unknown }
    ) => void
  }
>()("interlock/LoopDetector") {}
