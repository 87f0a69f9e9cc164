/** Something given back: to whom, and on which limits. */
import * as Tool from "effect/ai/Tool"
import type { Credit } from "../../Budget.ts"
import type { Principal } from "../../Principal.ts"
import type { Run } from "../../Run.ts"
import * as ToolAnnotations from "../../ToolAnnotations.ts"
import type { Spender } from "./limit.ts"

interface Credited {
  readonly principal: Principal
  readonly tool?: string
  readonly run?: Run
}

/** Only the tool's name is known, so globs over an annotated upstream name do not match. */
export const spenderOf = ({ principal, run, tool }: Credited): Spender => ({
  principal,
  run,
  tool: tool === undefined ? undefined : ToolAnnotations.read(Tool.make(tool)),
  callId: undefined,
  expiresAt: 0
})

export const creditOf = (
  { principal, run, tool }: Credited,
  amounts: Credit["amounts"],
  why: string,
  time: number
): Credit => ({
  time,
  principal: principal.id,
  tenant: principal.tenant,
  tool,
  run: run?.id,
  amounts: { ...amounts },
  why
})
