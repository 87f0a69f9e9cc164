/** What the parts of the plain composition have in common. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { Principal, ToolError } from "effect-interlock"

export type Reason = ToolError.Reason

/** Why a call goes no further, and at which stage. */
export interface Refused {
  readonly stage: string
  readonly reason: Reason
  /** The tool's own failure, or what its handler threw. */
  readonly failure?: unknown
  /** The handler began: whether it is known what it did. */
  readonly attempted?: "known" | "unknown"
}

export const refuse = (stage: string, reason: Reason): Effect.Effect<never, Refused> =>
  Effect.fail({ stage, reason })

/** Who asks for what. */
export interface Asker {
  readonly callId: string
  readonly tool: string
  readonly principal: Principal.Principal
}

export const millis = (duration: Duration.Input): number =>
  Duration.toMillis(Duration.fromInputUnsafe(duration))

/** Whether a glob matches one of a tool's names: `*` is any run of characters, `?` is one, case is ignored. */
export const globMatches = (glob: string, names: ReadonlyArray<string>): boolean => {
  const pattern = glob
    .replace(/[.+^${}()|[\]\\]/g, "\\$&")
    .replaceAll("*", ".*")
    .replaceAll("?", ".")
  const expression = new RegExp(`^${pattern}$`, "is")
  return names.some((name) => expression.test(name))
}

/** Whether a limit is about a tool: all of them, where it names none. */
export const selects = (
  { tools }: { readonly tools?: ReadonlyArray<string> },
  names: ReadonlyArray<string>
): boolean => tools === undefined || tools.some((glob) => globMatches(glob, names))
