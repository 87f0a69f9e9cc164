/** (the module doc is written with the module) */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type * as Stream from "effect/Stream"
import type { Principal } from "./Principal.ts"
import type { ToolFacts } from "./ToolAnnotations.ts"
import type { Reason } from "./ToolError.ts"

/** What is stopped. A tool is named by a glob over its exposed and upstream names. */
export type Target =
  | { readonly scope: "all" }
  | { readonly scope: "tool"; readonly tool: string }
  | { readonly scope: "tag"; readonly tag: string }
  | { readonly scope: "tenant"; readonly tenant: string }
  | { readonly scope: "principal"; readonly principal: string; readonly tenant?: string }

/** A stop in force: who, when, why, until when. */
export interface Stop {
  readonly id: string
  readonly target: Target
  readonly by: string
  readonly why: string
  /** Milliseconds since the epoch. */
  readonly at: number
  readonly until: number | undefined
  readonly inFlight: "interrupt" | "drain"
}

export type Killed = Extract<Reason, { readonly _tag: "Killed" }>
export type Unavailable = Extract<Reason, { readonly _tag: "Unavailable" }>

export class KillSwitch extends Context.Service<
  KillSwitch,
  {
    /** Whether a call is stopped. Synchronous, from what this process knows. */
    readonly check: (tool: ToolFacts, principal: Principal, now: number) => Killed | undefined
    /** Registers a call that is let through; `interrupt` is called at most once, synchronously, when a stop that interrupts meets it. Returns what takes it out again. */
    readonly enter: (tool: ToolFacts, principal: Principal, interrupt: (killed: Killed) => void) => () => void
    /** Stops a target from now on. In force when it returns, in this process. */
    readonly stop: (
      target: Target,
      options: {
        readonly by: string
        readonly why: string
        /** Milliseconds since the epoch; until it is lifted by default. */
        readonly until?: number
        /** What becomes of calls that run; `interrupt` by default. */
        readonly inFlight?: "interrupt" | "drain"
      }
    ) => Effect.Effect<Stop, Unavailable>
    /** Lifts a stop; `false` where there is none of this id. */
    readonly lift: (
      id: string,
      options: { readonly by: string; readonly why: string }
    ) => Effect.Effect<boolean, Unavailable>
    /** The stops in force. */
    readonly stops: Effect.Effect<ReadonlyArray<Stop>>
    /** Stops as they begin and end. */
    readonly changes: Stream.Stream<{
      readonly _tag: "Stopped" | "Lifted" | "Expired"
      readonly stop: Stop
      readonly by: string
      readonly why: string
    }>
  }
>()("interlock/KillSwitch") {}
