/**
 * What holds where nothing else was said. Per call comes before the tool's own
 * annotation, and that before these.
 */
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Retry from "./Retry.ts"

export interface Defaults {
  /** Per attempt; 30 seconds. */
  readonly timeout: Duration.Input
  /** For the whole call, from its arrival; none. */
  readonly deadline: Duration.Input | undefined
  /** 3 retries, 100 ms doubling to 30 s with full jitter. */
  readonly retry: Retry.Policy
  /** Larger values are cut by `execute`, in bytes of JSON; 1 MiB. */
  readonly resultBytes: number
  /** Calls of a batch at once; 10. */
  readonly concurrency: number
  /** How long a cached result stands; 1 hour. */
  readonly cacheTtl: Duration.Input
}

export const defaults: Defaults = {
  timeout: "30 seconds",
  deadline: undefined,
  retry: Retry.make(),
  resultBytes: 1_048_576,
  concurrency: 10,
  cacheTtl: "1 hour"
}

/** The defaults an executor is made with. */
export const CurrentDefaults: Context.Reference<Defaults> = Context.Reference<Defaults>(
  "interlock/Defaults/CurrentDefaults",
  { defaultValue: () => defaults }
)
