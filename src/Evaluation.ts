/**
 * What the pipeline would say of a call, stage by stage, without running it:
 * for people who want to understand a policy, and for tests that hold one.
 */
import type { Stage, StageVerdict } from "./CallRecord.ts"
import type * as Verdict from "./Verdict.ts"

/**
 * What one stage would say. `answered`: the call would get a kept result and not
 * run. `not reached`: the stage needs what an earlier one refused.
 */
export interface StageResult {
  readonly stage: Stage
  readonly verdict: "allow" | "flag" | "confirm" | "approve" | "deny" | "answered" | "not reached"
  readonly reasons: ReadonlyArray<Verdict.Reason>
  /** The code the call would end with, where this stage would end it. */
  readonly code?: string
}

export interface Evaluation {
  readonly tool: string
  /** In order. A stage that is asked twice, such as the rate limit, is there twice. */
  readonly stages: ReadonlyArray<StageResult>
  /** The first stage that would not simply let the call go on; `undefined` where the handler would be reached. */
  readonly stopsAt: Stage | undefined
  readonly outcome: StageResult["verdict"]
  readonly code: string | undefined
  readonly toolDigest: string | undefined
  readonly policyDigest: string | undefined
  /** What a policy in shadow says otherwise. */
  readonly shadow: ReadonlyArray<StageVerdict>
}

/** An evaluation as a table for a terminal. */
export const format = (evaluation: Evaluation): string => {
  const width = Math.max(...evaluation.stages.map(({ stage }) => stage.length))
  const lines = evaluation.stages.map(({ reasons, stage, verdict }) => {
    const why = reasons.map((reason) => `${reason.rule}: ${reason.message}`).join(" ")
    return `${stage.padEnd(width)}  ${verdict.padEnd(11)}  ${why}`.trimEnd()
  })
  return [`${evaluation.tool}: ${evaluation.outcome}`, ...lines].join("\n")
}
