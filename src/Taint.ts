/**
 * What a run may still do after it has read what cannot be trusted.
 *
 * The output of a tool declared `untrusted` taints the run: a success or a declared failure, whoever drives
 * the run. From then on the *sinks*, that is tools declared destructive, spending, or sending data out, need
 * a human; everything else goes on as before. No model is involved and nothing is guessed from how a text
 * sounds, so an instruction hidden in a page gets no further than a human, however it is worded.
 *
 * - Destructive: `Tool.Destructive`, or without it the capability `delete_data`. A tool that is read-only is
 *   not.
 * - Spends: `ToolAnnotations.Spends`, or without it the capability `financial`.
 * - Sends data: `ToolAnnotations.SendsData`, or without it `Tool.OpenWorld` and the capabilities
 *   `network_access` and `external_api`. Reading a page sends data too: in its address.
 *
 * Precedence, said once: what `mayStill` answers, then `action` for sinks, then allow. The verdict is
 * combined with those of all other rules, so taint never allows what they deny.
 *
 * What is not declared is neither trusted nor untrusted, and no sink. `strict` takes it for the worst;
 * `doctor` lists what is not declared.
 *
 * Values that a sink's arguments share with the untrusted output are listed as `copied`, for the human who
 * decides: see `internal/taintMemory.ts` for what counts. The verdict does not depend on it, because a model
 * can rephrase what it read. Memory is bounded: per run 262,144 characters of output, the newest, with what
 * is worked out from them, and 1,000 sources. Where more was read, every value counts as possibly copied and
 * says so.
 *
 * Gotchas: a call outside of a run cannot be tainted, for nothing is remembered of it; give every agent a
 * run. Calls of one batch that were decided before an output came in are not affected by it. What a run reads
 * by other ways than its tools (a page in the prompt, the definitions of a foreign server's tools, the run
 * that it continues) must be told with `mark`. What a tainted run writes down taints whoever reads it only
 * where the tool that reads it is declared untrusted: declare notes and memories so, where a run that read
 * foreign text may write them.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { AuditLog, type Unavailable } from "./AuditLog.ts"
import { Memory } from "./internal/taintMemory.ts"
import { ask, declared, isUntrusted, printable, readBy, sinksOf, verdictOf } from "./internal/taintRules.ts"
import type { Run } from "./Run.ts"
import type { ToolFacts } from "./ToolAnnotations.ts"
import * as Verdict from "./Verdict.ts"

export { sinksOf } from "./internal/taintRules.ts"

/** A value of the arguments that was copied from the output of an untrusted tool. */
export interface Copied {
  /** The argument, as `ArgumentPath.format` writes it. A name counts for the object that has it. */
  readonly path: string
  /** The tool and the call whose output it came from. */
  readonly tool: string
  readonly callId: string
  /** It was not found in what is remembered, but more was read than that. */
  readonly possibly?: true
}

export interface Tainted {
  readonly verdict: Verdict.Verdict
  readonly copied: ReadonlyArray<Copied>
}

/** An untrusted output that a run has seen. */
export interface Source {
  readonly tool: string
  readonly callId: string
  /** Milliseconds since the epoch. */
  readonly at: number
}

/** Why a tool may not be used by whoever wrote the text that a run has read. */
export type Sink = "destructive" | "spends" | "sendsData"

/** What a rule about tainted runs sees. */
export interface TaintedCall {
  readonly tool: ToolFacts
  /** Raw (encoded) arguments. */
  readonly params: unknown
  readonly sinks: ReadonlyArray<Sink>
  readonly copied: ReadonlyArray<Copied>
  readonly sources: ReadonlyArray<Source>
  /** Whether every value of the arguments stands in the untrusted output exactly as it is. */
  readonly verbatim: boolean
}

export interface Options {
  /**
   * Takes what is not declared for the worst: unknown trust for untrusted, and a tool for each sink it may
   * be. Default false.
   */
  readonly strict?: boolean
  /** What a sink needs in a tainted run; default `confirm`. */
  readonly action?: "confirm" | "approve" | "deny"
  /**
   * What a tainted run may still do, sink or not: its verdict replaces the default one, and `undefined`
   * leaves it at that. Must be pure; a rule that throws denies.
   */
  readonly mayStill?: (call: TaintedCall) => Verdict.Verdict | undefined
}

// --- Rules -----------------------------------------------------------------

/**
 * A rule for `mayStill` that lets a run follow links: a read-only tool that does nothing worse than send data
 * may be called with values that stand, exactly as they are, in what was read. The run's own data is not in
 * them. Whoever wrote the links still learns which of them is followed, and chooses the server: do not use it
 * where reading an address changes something, or reaches what the writer cannot.
 */
export const followLinks = ({ sinks, tool, verbatim }: TaintedCall): Verdict.Verdict | undefined =>
  tool.readonly === true && sinks.every((sink) => sink === "sendsData") && verbatim
    ? Verdict.allow
    : undefined

// --- Doctor ----------------------------------------------------------------

/** A tool, and what it does not say. */
export interface Undeclared {
  readonly tool: string
  readonly missing: ReadonlyArray<"trust" | Sink>
}

/** The tools that leave something open that taint depends on, in their order. */
export const doctor = (tools: ReadonlyArray<ToolFacts>): ReadonlyArray<Undeclared> =>
  tools.flatMap((tool) => {
    const facts = declared(tool)
    const missing = (["trust", "destructive", "spends", "sendsData"] as const).filter(
      (fact) => facts[fact] === undefined
    )
    return missing.length === 0 ? [] : [{ tool: tool.name, missing }]
  })

const annotations: { readonly [Fact in Undeclared["missing"][number]]: string } = {
  trust: "trust (ToolAnnotations.Trust)",
  destructive: "destructive (Tool.Destructive or Tool.Readonly)",
  spends: "spends (ToolAnnotations.Spends)",
  sendsData: "sendsData (ToolAnnotations.SendsData or Tool.OpenWorld)"
}

/** What `doctor` found, a line per tool, each with the annotations that would say it. */
export const formatDoctor = (found: ReadonlyArray<Undeclared>): string => {
  if (found.length === 0) return "Every tool says what taint needs to know."
  const lines = found.map(
    ({ missing, tool }) => `  ${printable(tool)}: ${missing.map((fact) => annotations[fact]).join(", ")}`
  )
  const subject = found.length === 1 ? "1 tool does" : `${found.length} tools do`
  return [`${subject} not say everything that taint needs to know:`, ...lines].join("\n")
}

// --- Service ---------------------------------------------------------------

/** Remembers what untrusted output a run has read, and says what it may still do. */
export class Taint extends Context.Service<
  Taint,
  {
    /**
     * What the run's taint says of a call with these raw (encoded) arguments; `undefined` for an untainted
     * run.
     */
    readonly check: (run: Run, tool: ToolFacts, raw: unknown) => Tainted | undefined
    /** Tells that a call gave its encoded output (a success or a declared failure) to the run. */
    readonly ended: (run: Run, tool: ToolFacts, callId: string, encoded: unknown, now: number) => void
    /**
     * Tells that the run has read something untrusted by another way than its tools. Every value counts as
     * possibly copied.
     */
    readonly mark: (run: Run, source: Source) => void
    /** What has tainted the run, oldest first; the newest 1,000. */
    readonly sources: (run: Run) => ReadonlyArray<Source>
    /**
     * Takes the taint off a run, by name and for a reason: all of it, or that of one call. Returns what it
     * took off. The audit log is told first, and where it cannot be, nothing is taken off. Dies with a
     * `RangeError` where `by` or `why` is blank.
     */
    readonly declassify: (
      run: Run,
      options: { readonly by: string; readonly why: string; readonly callId?: string }
    ) => Effect.Effect<ReadonlyArray<Source>, Unavailable>
  }
>()("interlock/Taint") {}

const untouched: Tainted = { verdict: Verdict.allow, copied: [] }

export const make = (options: Options = {}): Effect.Effect<Taint["Service"], never, AuditLog> =>
  Effect.map(AuditLog, (audit) => {
    const { action = "confirm", mayStill, strict = false } = options
    const memoryOf = (run: Run): Memory => run.remember("taint", () => new Memory())
    return {
      check: (run, tool, params) => {
        const memory = memoryOf(run)
        if (!memory.tainted) return undefined
        const sinks = sinksOf(tool, strict)
        if (sinks.length === 0 && mayStill === undefined) return untouched
        const call: TaintedCall = {
          tool,
          params,
          sinks,
          copied: memory.copied(params),
          sources: memory.sources,
          get verbatim() {
            return memory.verbatim(params)
          }
        }
        const said = mayStill === undefined ? undefined : ask(mayStill, call)
        const verdict = said ?? verdictOf(action, call, readBy(memory))
        return { verdict, copied: sinks.length > 0 || verdict._tag !== "Allow" ? call.copied : [] }
      },
      ended: (run, tool, callId, encoded, now) => {
        if (isUntrusted(tool, strict)) memoryOf(run).add({ tool: tool.name, callId, at: now }, { encoded })
      },
      mark: (run, source) => memoryOf(run).add(source, undefined),
      sources: (run) => memoryOf(run).sources,
      declassify: (run, { by, callId, why }) => {
        for (const [name, value] of Object.entries({ by, why })) {
          if (value.trim() === "") return Effect.die(new RangeError(`Taint: declassify needs ${name}`))
        }
        return Effect.suspend(() => {
          const memory = memoryOf(run)
          const gone = memory.sources.filter((source) => callId === undefined || source.callId === callId)
          // What comes in while the log is written stays: whoever declassifies has not seen it.
          return Effect.as(
            Effect.andThen(
              audit.append({
                kind: "admin",
                action: "declassified",
                principal: by,
                run: run.id,
                session: run.session,
                callId,
                detail: { why, sources: gone, others: callId === undefined ? memory.forgotten : 0 }
              }),
              Effect.sync(() => memory.remove(gone, callId === undefined))
            ),
            gone
          )
        })
      }
    }
  })

// --- Layers ----------------------------------------------------------------

/** Taint remembered by each run. */
export const layer = (options?: Options): Layer.Layer<Taint, never, AuditLog> =>
  Layer.effect(Taint, make(options))

/** Nothing taints. */
export const layerNoop: Layer.Layer<Taint> = Layer.succeed(Taint, {
  check: () => undefined,
  ended: () => {},
  mark: () => {},
  sources: () => [],
  declassify: () => Effect.succeed([])
})
