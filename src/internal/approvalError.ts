import * as Schema from "effect/Schema"

/** Why a decision was not taken. */
export class ApprovalError extends Schema.TaggedError<ApprovalError>("interlock/ApprovalError")(
  "ApprovalError",
  {
    reason: Schema.Literals(["not_found", "not_pending", "expired", "not_allowed"]),
    message: Schema.String
  }
) {}
