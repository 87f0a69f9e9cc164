/** Whether calls wait for their humans, ambient in the calling fiber. */
import * as Context from "effect/Context"

export const CurrentWaiting: Context.Reference<boolean> = Context.Reference<boolean>(
  "interlock/Approvals/CurrentWaiting",
  { defaultValue: () => false }
)
