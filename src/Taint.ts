/** (the module doc is written with the module) */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type { Run } from "./Run.ts"
import type { ToolFacts } from "./ToolAnnotations.ts"
import type * as Verdict from "./Verdict.ts"

/** A value of the arguments that was copied from the output of an untrusted tool. */
export interface Copied {
  /** The argument, as `ArgumentPath.format` writes it. */
  readonly path: string
  /** The tool and the call whose output it came from. */
  readonly tool: string
  readonly callId: string
}

export interface Tainted {
  readonly verdict: Verdict.Verdict
  readonly copied: ReadonlyArray<Copied>
}

/** An untrusted output that a run has seen. */
export interface Source {
  readonly tool: string
  readonly callId: string
  /** Milliseconds since the epoch. */
  readonly at: number
}

export class Taint extends Context.Service<
  Taint,
  {
    /** What the run's taint says of a call with these raw (encoded) arguments; `undefined` for an untainted run. */
    readonly check: (run: Run, tool: ToolFacts, raw: unknown) => Tainted | undefined
    /** Tells that a call gave its encoded output (a success or a declared failure) to the run. */
    readonly ended: (run: Run, tool: ToolFacts, callId: string, encoded: unknown, now: number) => void
    /** What has tainted the run. */
    readonly sources: (run: Run) => ReadonlyArray<Source>
    /** Takes the taint off a run, by name and for a reason. Returns what it took off; the audit log is told of it. */
    readonly declassify: (
      run: Run,
      options: { readonly by: string; readonly why: string; readonly callId?: string }
    ) => Effect.Effect<ReadonlyArray<Source>>
  }
>()("interlock/Taint") {}
