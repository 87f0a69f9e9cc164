/**
 * The executor: a toolkit whose calls are governed.
 *
 * `run` is for typed Effect code, `execute` for callers that cannot be trusted
 * to know the types: HTTP, queues, models. Both are the whole pipeline, and so
 * is `toolkit`, which a `LanguageModel` takes.
 *
 * State (limits, circuits, health, questions) lives in the services, so that
 * executors made in one program share it.
 */
import type * as Tool from "effect/ai/Tool"
import type * as Toolkit from "effect/ai/Toolkit"
import * as Context from "effect/Context"
import { randomBytesUnsafe } from "effect/crypto/SecureRandom"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Random from "effect/Random"
import * as Redacted from "effect/Redacted"
import { Health } from "./Health.ts"
import type { Ended, Request } from "./internal/call.ts"
import { governedToolkit, handlersOf } from "./internal/governedToolkit.ts"
import type { Governance } from "./internal/kernel.ts"
import { requestOf } from "./internal/request.ts"
import { toError, toResult } from "./internal/result.ts"
import { Permissions } from "./Permissions.ts"
import * as Pipeline from "./Pipeline.ts"
import { CurrentPrincipal } from "./Principal.ts"
import type { ToolFacts } from "./ToolAnnotations.ts"
import type { Overrides, ToolCall } from "./ToolCall.ts"
import type { ToolError } from "./ToolError.ts"
import * as ToolIndex from "./ToolIndex.ts"
import type { ToolResult } from "./ToolResult.ts"

export type { Governance } from "./internal/kernel.ts"

/** Any tools by name. */
export type Tools = Record<string, Tool.Any>

/** What a selection of tools is made by. Everything given must hold. */
export interface Selection {
  readonly tag?: string
  readonly capability?: string
  /** Only healthy, or only unhealthy ones. */
  readonly healthy?: boolean
}

/** A toolkit whose calls are governed. */
export interface ToolExecutor<in out T extends Tools> {
  /**
   * Runs a tool for typed code: the tool's success value as its handler gave
   * it, the tool's own failure, or `ToolError` for everything else.
   */
  readonly run: <Name extends keyof T & string>(
    name: Name,
    params: Tool.ParametersEncoded<T[Name]>,
    overrides?: Overrides
  ) => Effect.Effect<Tool.Success<T[Name]>, ToolError | Tool.Failure<T[Name]>, Tool.HandlerServices<T[Name]>>
  /**
   * Runs a call of an untyped caller. Never fails: what went wrong is in the
   * result. Whatever comes, even what is not a call at all, gets an answer.
   */
  readonly execute: (
    call: ToolCall,
    options?: ExecuteOptions
  ) => Effect.Effect<ToolResult, never, Tool.HandlerServices<T[keyof T]>>
  /**
   * The governed toolkit for the calling fiber's principal, for `LanguageModel`
   * and `Chat`: only what the principal may see, refusals as results the model
   * understands, confirmations in Effect's approval protocol.
   */
  readonly toolkit: Effect.Effect<Toolkit.WithHandler<T>>
  /** A tool by name. */
  readonly get: <Name extends keyof T & string>(name: Name) => T[Name]
  /** What the calling fiber's principal may see. */
  readonly list: (selection?: Selection) => Effect.Effect<ReadonlyArray<ToolFacts>>
  /** The principal's tools that fit the words best, best first. Its span, `interlock.search`, says how many, not the query. */
  readonly search: (
    query: string,
    options?: { readonly limit?: number }
  ) => Effect.Effect<ReadonlyArray<ToolIndex.Found>>
  /** For the doors that are modules of their own. */
  readonly pipeline: Pipeline.Pipeline
}

export interface ExecuteOptions {
  /** Told of preliminary results, encoded, while the call runs. */
  readonly onProgress?: (value: unknown) => Effect.Effect<void>
}

export interface Options {
  /**
   * Keys the hashes of arguments in records. Random by default; give one where
   * hashes must be comparable between processes or restarts.
   */
  readonly hashKey?: Redacted.Redacted<string>
}

/**
 * Makes the executor of a toolkit. It needs the toolkit's handlers as they are
 * and the services of governance: `Interlock.layer` is the complete set.
 *
 * A tool that cannot be governed (its raw JSON Schema cannot be checked) is a
 * defect that names the tool.
 */
export const make = <T extends Tools>(
  toolkit: Toolkit.Toolkit<T>,
  options: Options = {}
): Effect.Effect<ToolExecutor<T>, never, Governance | Health | Tool.HandlersFor<T>> =>
  Effect.gen(function* () {
    const services = yield* Effect.context<Governance | Health>()
    const pipeline = yield* Pipeline.make(handlersOf(toolkit, services), {
      hashKey: yield* hashKeyOf(options.hashKey),
      idPrefix: `call_${(yield* Random.nextIntBetween(36 ** 5, 36 ** 6)).toString(36)}_`
    })
    const { resultBytes } = pipeline.defaults
    const facts = Array.from(pipeline.tools.values(), (tool) => tool.facts)
    const index = ToolIndex.make(facts)
    const visible = Effect.fnUntraced(function* () {
      const permissions = Context.get(services, Permissions)
      const principal = yield* CurrentPrincipal
      const names = new Set<string>()
      for (const tool of facts) {
        if ((yield* permissions.check(principal, tool))._tag === "Granted") names.add(tool.name)
      }
      return names
    })
    const run = (name: string, params: unknown, overrides?: Overrides) =>
      Effect.flatMap(pipeline.run(fromOverrides(name, params, overrides)), toExit)
    const execute = (call: unknown, executeOptions?: ExecuteOptions) =>
      Effect.map(
        Effect.suspend(() =>
          pipeline.run({ ...requestOf("execute", call), onProgress: executeOptions?.onProgress })
        ),
        (ended) => toResult(ended, resultBytes)
      )
    const executor: ToolExecutor<Tools> = {
      run,
      execute,
      toolkit: governedToolkit(pipeline, "toolkit", visible()),
      get: (name) => pipeline.tools.get(name)?.facts.tool as Tool.Any,
      list: Effect.fnUntraced(function* (selection: Selection = {}) {
        const names = yield* visible()
        const health = selection.healthy === undefined ? undefined : yield* Context.get(services, Health).all
        return facts.filter(
          (tool) =>
            names.has(tool.name) &&
            (selection.tag === undefined || tool.tags.includes(selection.tag)) &&
            (selection.capability === undefined ||
              (tool.capabilities ?? []).includes(selection.capability)) &&
            (selection.healthy === undefined ||
              selection.healthy === (health?.get(tool.name)?.isHealthy ?? true))
        )
      }),
      search: (query, searchOptions) =>
        visible().pipe(
          Effect.map((names) =>
            index.search(query, { ...searchOptions, visible: (tool) => names.has(tool.name) })
          ),
          // How much was found, never what was asked.
          Effect.tap((found) => Effect.annotateCurrentSpan("interlock.found", found.length)),
          Effect.withSpan("interlock.search", undefined, { captureStackTrace: false })
        ),
      pipeline
    }
    // The executor's types are the toolkit's; a value built over names loses them.
    return executor as unknown as ToolExecutor<T>
  })

const hashKeyOf = (given: Redacted.Redacted<string> | undefined): Effect.Effect<Uint8Array> =>
  Effect.sync(() =>
    given === undefined ? randomBytesUnsafe(32) : new TextEncoder().encode(Redacted.value(given))
  )

// --- Between the doors and the pipeline ------------------------------------

const fromOverrides = (tool: string, params: unknown, overrides: Overrides = {}): Request => ({
  door: "run",
  tool,
  params,
  id: overrides.id,
  timeout: millis(overrides.timeout),
  retries: overrides.retries,
  within: millis(overrides.deadline),
  requireConfirmation: overrides.requireConfirmation,
  idempotencyKey: overrides.idempotencyKey,
  metadata: overrides.metadata
})

const millis = (duration: Duration.Input | undefined): number | undefined =>
  duration === undefined ? undefined : Duration.toMillis(Duration.fromInputUnsafe(duration))

const toExit = (ended: Ended): Exit.Exit<unknown, unknown> => {
  if ("encoded" in ended) return Exit.succeed(ended.value)
  const { reason } = ended
  if (reason === undefined || reason._tag === "ToolFailed") return Exit.fail(ended.failure)
  return Exit.fail(toError(ended, reason))
}
