/**
 * Testing what is governed: layers that decide everything one way, tools that
 * follow a script, and assertions on what really ran.
 *
 * A layer that replaces a concern comes after the complete set, or is built on
 * it: of merged layers the last one wins, of `provideMerge` the one that is
 * provided for.
 *
 *     Layer.mergeAll(Testing.layer(), Testing.layerDenyAll)
 *     Testing.layerDenyAll.pipe(Layer.provideMerge(Testing.layer()))
 */
import type * as Tool from "effect/ai/Tool"
import type * as Toolkit from "effect/ai/Toolkit"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import * as Interlock from "../Interlock.ts"
import * as Permissions from "../Permissions.ts"
import * as Retry from "../Retry.ts"
import * as SecurityPolicy from "../SecurityPolicy.ts"
import * as Settings from "../Settings.ts"
import * as Telemetry from "../Telemetry.ts"
import type { Tools } from "../ToolExecutor.ts"
import * as Verdict from "../Verdict.ts"

// --- Layers ----------------------------------------------------------------

/** The complete set, deterministic: retries after 100, 200, 400 ms without jitter, nothing traced. */
export const layer = <const O extends Interlock.Options = Interlock.Options>(
  options: O = {} as O
): Layer.Layer<Interlock.Services, Interlock.ErrorOf<O>, Interlock.RequirementsOf<O>> =>
  Interlock.layer(
    Settings.merge({ defaults: { retry: steady }, telemetry: Telemetry.layerNoop }, options) as O
  )

const steady = Retry.make({ schedule: Schedule.exponential("100 millis") })

/**
 * Replaces policy and permissions: everything is allowed to everyone, tools that ask for a confirmation by annotation
 * included. Limits on the size of arguments and Effect's own `needsApproval` still hold.
 */
export const layerAllowAll: Layer.Layer<SecurityPolicy.SecurityPolicy | Permissions.Permissions> =
  Layer.merge(
    Layer.effect(
      SecurityPolicy.SecurityPolicy,
      Effect.map(SecurityPolicy.make(), (policy) => ({
        ...policy,
        compile: (tool, digest) => ({
          ...policy.compile(tool, digest),
          byName: Verdict.allow,
          byArguments: undefined
        })
      }))
    ),
    Layer.succeed(Permissions.Permissions, {
      check: () => Exit.succeed({ _tag: "Granted" }),
      canUse: () => Exit.succeed({ _tag: "Granted" }),
      filter: (toolkit) => Exit.succeed(toolkit as never)
    })
  )

/** Replaces the policy: every tool is denied. */
export const layerDenyAll: Layer.Layer<SecurityPolicy.SecurityPolicy> = SecurityPolicy.layer({ deny: ["*"] })

/** Replaces the policy: a human must confirm every call, another one approve those of `financial` and `delete_data`. */
export const layerConfirmAll: Layer.Layer<SecurityPolicy.SecurityPolicy> = SecurityPolicy.layer({
  requireConfirmation: ["*"]
})

// --- Scripted tools --------------------------------------------------------

/** What a scripted tool does when it is called. */
export type Step =
  | { readonly _tag: "Succeed"; readonly value: unknown; readonly after: Duration.Input }
  | { readonly _tag: "Fail"; readonly error: unknown; readonly after: Duration.Input }
  | { readonly _tag: "Die"; readonly defect: unknown }
  | { readonly _tag: "Hang" }

/** Succeeds with a value, at once or after a while. */
export const succeed = (value: unknown, after: Duration.Input = 0): Step => ({
  _tag: "Succeed",
  value,
  after
})
/** Fails: with the tool's own failure where its schema declares it, as a thrown error otherwise. */
export const fail = (error: unknown, after: Duration.Input = 0): Step => ({ _tag: "Fail", error, after })
/** Dies: a bug of the tool. */
export const die = (defect: unknown): Step => ({ _tag: "Die", defect })
/** Never answers. */
export const hang: Step = { _tag: "Hang" }

/** The same at every call, one step after the other (the last one stays), or by the call's number from 1 on. */
export type Script = Step | ReadonlyArray<Step> | ((nthCall: number, params: unknown) => Step)

/** `down` failing calls, then `up` succeeding ones, and so on. */
export const flap =
  (down: number, up: number, failing: Step, succeeding: Step): Script =>
  (nthCall) =>
    (nthCall - 1) % (down + up) < down ? failing : succeeding

/** One run of a scripted handler. */
export interface Run {
  readonly params: unknown
  readonly outcome: "running" | "succeeded" | "failed" | "interrupted"
}

/** Tools that follow a script, and what came of it. */
export interface Scripted<T extends Tools> {
  readonly layer: Layer.Layer<Tool.HandlersFor<T>>
  /** The handler's runs so far, in the order they began. */
  readonly runs: (tool: keyof T & string) => ReadonlyArray<Run>
  /** Throws unless the handler has begun exactly this often. */
  readonly assertRan: (tool: keyof T & string, times: number) => void
  /** Throws if a handler still runs: every call has succeeded, failed or been interrupted. */
  readonly assertAllEnded: () => void
}

/** Handlers for a toolkit by script. */
export const scripted = <T extends Tools>(
  toolkit: Toolkit.Toolkit<T>,
  scripts: { readonly [Name in keyof T]: Script }
): Scripted<T> => {
  const runs = new Map<string, Array<{ params: unknown; outcome: Run["outcome"] }>>()
  const handlers = Object.fromEntries(
    Object.entries<Script>(scripts).map(([name, script]) => {
      const own: Array<{ params: unknown; outcome: Run["outcome"] }> = []
      runs.set(name, own)
      const handler = (params: unknown) =>
        Effect.suspend(() => {
          const run: { params: unknown; outcome: Run["outcome"] } = { params, outcome: "running" }
          own.push(run)
          return Effect.onExit(play(stepOf(script, own.length, params)), (exit) =>
            Effect.sync(() => {
              run.outcome = Exit.isSuccess(exit)
                ? "succeeded"
                : Exit.hasInterrupts(exit)
                  ? "interrupted"
                  : "failed"
            })
          )
        })
      return [name, handler]
    })
  )
  const runsOf = (tool: string): ReadonlyArray<Run> => runs.get(tool) ?? []
  return {
    // A script's values are the test's to get right; the executor checks them against the schema.
    layer: toolkit.toLayer(handlers as never) as Layer.Layer<Tool.HandlersFor<T>>,
    runs: runsOf,
    assertRan: (tool, times) => {
      const ran = runsOf(tool).length
      if (ran !== times) throw new Error(`"${tool}" should have run ${count(times)}, and ran ${count(ran)}`)
    },
    assertAllEnded: () => {
      for (const [tool, own] of runs) {
        const running = own.filter((run) => run.outcome === "running").length
        if (running > 0) throw new Error(`of "${tool}", ${running} of ${own.length} runs have not ended`)
      }
    }
  }
}

const count = (times: number): string => (times === 1 ? "once" : `${times} times`)

const stepOf = (script: Script, nthCall: number, params: unknown): Step => {
  if (typeof script === "function") return script(nthCall, params)
  if (!Array.isArray(script)) return script as Step
  const step = script[Math.min(nthCall, script.length) - 1]
  return step ?? hang
}

const play = (step: Step): Effect.Effect<unknown, unknown> => {
  switch (step._tag) {
    case "Succeed":
      return delayed(Effect.succeed(step.value), step.after)
    case "Fail":
      return delayed(Effect.fail(step.error), step.after)
    case "Die":
      return Effect.die(step.defect)
    case "Hang":
      return Effect.never
  }
}

const delayed = <A, E>(effect: Effect.Effect<A, E>, after: Duration.Input): Effect.Effect<A, E> =>
  Duration.isZero(Duration.fromInputUnsafe(after)) ? effect : Effect.delay(effect, after)
