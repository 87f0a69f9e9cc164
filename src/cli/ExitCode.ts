/** What the process ends with: documented, stable, and the same for every command. */
import * as CliError from "effect/cli/CliError"
import * as Effect from "effect/Effect"
import * as Runtime from "effect/Runtime"
import * as Schema from "effect/Schema"
import type { Status } from "../ToolError.ts"
import * as Output from "./Output.ts"

/** By name; each number means one thing. */
export const exitCodes = {
  ok: { code: 0, meaning: "Done; a call succeeded, or was answered by a fallback" },
  failed: { code: 1, meaning: "The tool ran and failed, or something broke" },
  usage: { code: 2, meaning: "The command line or the configuration cannot be used" },
  refused: {
    code: 3,
    meaning: "Governance said no: permissions, policy, a limit, a budget, a stop, a rejection"
  },
  pending: { code: 4, meaning: "A human has to decide first" },
  invalid: { code: 5, meaning: "There is no such tool or thing, or the arguments do not fit it" },
  unavailable: {
    code: 6,
    meaning:
      "Nobody could answer in time: a timeout, an open circuit, an overload, a store or an upstream that is down"
  },
  partial: { code: 7, meaning: "The batch ended, and not every call succeeded" },
  unsound: {
    code: 8,
    meaning: "What was looked at is not as it should be: a broken audit log, an unsafe configuration"
  },
  interrupted: { code: 130, meaning: "Interrupted by ctrl-c or a signal" }
} as const
export type ExitCodeName = keyof typeof exitCodes

/** What a single call comes to. */
export const ofStatus: { readonly [S in Status]: ExitCodeName } = {
  success: "ok",
  degraded: "ok",
  failure: "failed",
  unknown: "failed",
  timeout: "unavailable",
  circuit_open: "unavailable",
  overloaded: "unavailable",
  unavailable: "unavailable",
  pending_confirmation: "pending",
  rejected: "refused",
  permission_denied: "refused",
  policy_denied: "refused",
  rate_limited: "refused",
  budget_exceeded: "refused",
  killed: "refused",
  invalid_params: "invalid",
  not_found: "invalid",
  cancelled: "interrupted",
  skipped: "partial"
}

const Code = Schema.Literals(Object.keys(exitCodes) as ReadonlyArray<ExitCodeName>)

/** The command ends with a code, and all has been said. */
export class Ended extends Schema.TaggedError<Ended>("interlock/cli/Ended")("Ended", { code: Code }) {
  override readonly [Runtime.errorExitCode] = exitCodes[this.code].code
  override readonly [Runtime.errorReported] = false
}

/** The command cannot go on; says why on stderr. */
export class Complaint extends Schema.TaggedError<Complaint>("interlock/cli/Complaint")("Complaint", {
  code: Code,
  complaint: Schema.String
}) {
  override readonly [Runtime.errorExitCode] = exitCodes[this.code].code
  override readonly [Runtime.errorReported] = false
  override get message(): string {
    return this.complaint
  }
  override get [CliError.userMessage](): string {
    // Names of elsewhere are in it.
    return Output.lines(this.complaint)
  }
}

/** Ends the command, after all has been said. */
export const end = (code: ExitCodeName): Effect.Effect<void, Ended> =>
  code === "ok" ? Effect.void : Effect.fail(new Ended({ code }))

/** Ends the command with a message on stderr. */
export const complain = (code: ExitCodeName, complaint: string): Effect.Effect<never, Complaint> =>
  Effect.fail(new Complaint({ code, complaint }))
