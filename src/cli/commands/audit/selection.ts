/** Which records a command means: the same flags for all that look at the log. */
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Kind, Phase, Selection } from "../../../AuditLog.ts"
import type { Status } from "../../../ToolError.ts"
import { ofStatus } from "../../ExitCode.ts"
import * as Flags from "../../flags.ts"

const kinds: ReadonlyArray<Kind> = ["tool_call", "model_call", "approval", "policy", "admin"]
const phases: ReadonlyArray<Phase> = ["intent", "outcome", "event"]
const statuses = Object.keys(ofStatus) as ReadonlyArray<Status>

const text = (name: string, description: string) =>
  Flag.String(name).pipe(Flag.withDescription(description), Flag.optional)

export const flags = {
  tool: text("tool", "Only tools that this glob names"),
  principal: text("principal", "Only calls on behalf of this principal"),
  tenant: text("tenant", "Only of this tenant"),
  status: Flag.Literals("status", statuses).pipe(
    Flag.withDescription("Only calls that came to this"),
    Flag.optional
  ),
  kind: Flag.Literals("kind", kinds).pipe(Flag.withDescription("Only records of this kind"), Flag.optional),
  phase: Flag.Literals("phase", phases).pipe(
    Flag.withDescription("What was about to happen, how it ended, or what is no call"),
    Flag.optional
  ),
  call: text("call", "Only this call's"),
  run: text("run", "Only this run's"),
  trace: text("trace", "Only this trace's"),
  text: text("text", "Only records that say this anywhere"),
  since: Flags.Moment("since").pipe(Flag.withDescription("From then on"), Flag.optional),
  until: Flags.Moment("until").pipe(Flag.withDescription("Up to then"), Flag.optional)
}

type Given = {
  readonly [Name in keyof typeof flags]: (typeof flags)[Name] extends Flag.Flag<infer A> ? A : never
}

export const selectionOf = Effect.fnUntraced(function* (given: Given) {
  const selection: Selection = {
    tool: Option.getOrUndefined(given.tool),
    principal: Option.getOrUndefined(given.principal),
    tenant: Option.getOrUndefined(given.tenant),
    status: Option.getOrUndefined(given.status),
    kind: Option.getOrUndefined(given.kind),
    phase: Option.getOrUndefined(given.phase),
    callId: Option.getOrUndefined(given.call),
    run: Option.getOrUndefined(given.run),
    traceId: Option.getOrUndefined(given.trace),
    text: Option.getOrUndefined(given.text),
    since: yield* Flags.past(given.since),
    until: yield* Flags.past(given.until)
  }
  return selection
})
