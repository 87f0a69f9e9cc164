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
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Random from "effect/Random"
import { ApprovalError, type Request as ApprovalRequest, Approvals, type Unavailable } from "./Approvals.ts"
import type { Evaluation } from "./Evaluation.ts"
import { Health } from "./Health.ts"
import * as ApprovalToken from "./internal/approvals/token.ts"
import type { Conclude, Request } from "./internal/call.ts"
import type { KeptCall } from "./internal/confirmation.ts"
import { governedToolkit, handlersOf } from "./internal/governedToolkit.ts"
import type { Governance } from "./internal/kernel.ts"
import * as Raw from "./internal/raw.ts"
import { requestOf } from "./internal/request.ts"
import { toError, toResult } from "./internal/result.ts"
import { Keyring } from "./Keyring.ts"
import { Permissions } from "./Permissions.ts"
import * as Pipeline from "./Pipeline.ts"
import * as Principal from "./Principal.ts"
import type { ToolFacts } from "./ToolAnnotations.ts"
import type { Overrides, ToolCall } from "./ToolCall.ts"
import type { Reason, ToolError } from "./ToolError.ts"
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
   * What every stage would say of a call, by the same code that would run it.
   * Runs nothing, charges nothing, creates nothing, and leaves no record.
   */
  readonly evaluate: (call: ToolCall) => Effect.Effect<Evaluation>
  /**
   * Runs a call that a human has granted, from what `Approvals` has kept of it:
   * anywhere the same keyring and store are. The calling fiber's principal must
   * be the one that asked; what it may do now is decided now.
   */
  readonly resume: (token: string) => Effect.Effect<ToolResult, never, Tool.HandlerServices<T[keyof T]>>
  /**
   * Puts edited arguments, or another tool, in the place of a pending request:
   * a new call under that tool's own policy, which needs an answer of its own.
   * The editor is the calling fiber's principal, and never the one to approve it.
   */
  readonly edit: (edit: Edit) => Effect.Effect<ToolResult, ApprovalError | Unavailable>
  /** The digest of each tool's definition, for `SecurityPolicy.Policy.pins`. */
  readonly digests: Readonly<Record<string, string>>
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

export interface Edit {
  /** The request's id. */
  readonly request: string
  /** Another tool; the same by default. */
  readonly tool?: string
  readonly params: unknown
  /** On whose behalf the edited call is made: the request's principal, as it stands now. */
  readonly principal: Principal.Principal
}

/**
 * Makes the executor of a toolkit. It needs the toolkit's handlers as they are
 * and the services of governance: `Interlock.layer` is the complete set.
 *
 * A tool that cannot be governed (its raw JSON Schema cannot be checked) is a
 * defect that names the tool.
 */
export const make = <T extends Tools>(
  toolkit: Toolkit.Toolkit<T>
): Effect.Effect<ToolExecutor<T>, never, Governance | Health | Tool.HandlersFor<T>> =>
  Effect.gen(function* () {
    const services = yield* Effect.context<Governance | Health>()
    const idPrefix = `call_${(yield* Random.nextIntBetween(36 ** 5, 36 ** 6)).toString(36)}_`
    const pipeline = Pipeline.make(handlersOf(toolkit, services), services, idPrefix)
    const approvals = Context.get(services, Approvals)
    const keyring = Context.get(services, Keyring)
    const { resultBytes } = pipeline.defaults
    const facts = Array.from(pipeline.tools.values(), (tool) => tool.facts)
    const index = ToolIndex.make(facts)
    const visible = Effect.fnUntraced(function* () {
      const permissions = Context.get(services, Permissions)
      const principal = yield* Principal.CurrentPrincipal
      const names = new Set<string>()
      for (const tool of facts) {
        if ((yield* permissions.check(principal, tool))._tag === "Granted") names.add(tool.name)
      }
      return names
    })
    const run = (name: string, params: unknown, overrides?: Overrides) =>
      pipeline.run(
        overrides === undefined
          ? { door: "run", tool: name, params: Raw.of(params) }
          : fromOverrides(name, params, overrides),
        toExit
      )
    const conclude: Conclude<ToolResult, never> = (outcome, record) =>
      Exit.succeed(toResult(outcome, record, resultBytes))
    const result = (request: Request) => pipeline.run(request, conclude)
    const execute = (call: unknown, executeOptions?: ExecuteOptions) =>
      Effect.suspend(() => result(requestOf("execute", call, executeOptions?.onProgress)))
    const executor: ToolExecutor<Tools> = {
      run,
      execute,
      evaluate: (call) => Effect.suspend(() => pipeline.evaluate(requestOf("execute", call))),
      resume: (approval) =>
        Effect.suspend(() => {
          const read = ApprovalToken.read(keyring, approval)
          if ("why" in read) {
            const refused = { _tag: "ApprovalInvalid", why: read.why } as const
            return result({ door: "execute", tool: "", params: Raw.nothing, refused })
          }
          const { callId: id, id: request, tool } = read.claims
          const call = { door: "execute", tool, id, approval } as const
          return Effect.matchEffect(approvals.open(request), {
            onSuccess: ({ callJson }) => {
              const { params, ...kept }: KeptCall = JSON.parse(callJson)
              return result({ ...kept, ...call, params: Raw.of(params) })
            },
            onFailure: (failure) =>
              Effect.flatMap(whyNot(approvals, request, failure), (refused) =>
                result({ ...call, params: Raw.nothing, refused })
              )
          })
        }),
      edit: Effect.fnUntraced(function* ({ params, principal, request, tool }: Edit) {
        const editor = yield* Principal.CurrentPrincipal
        const before = yield* approvals.get(request)
        if (before === undefined)
          return yield* Effect.fail(
            new ApprovalError({ reason: "not_found", message: "There is no such request." })
          )
        if (!isSame(before, principal)) {
          return yield* Effect.fail(
            new ApprovalError({
              reason: "not_allowed",
              message: "An edited call is made on behalf of the same principal as before."
            })
          )
        }
        const edited: Request = {
          door: "execute",
          tool: tool ?? before.tool,
          params: Raw.of(params),
          requireConfirmation: true,
          replaces: { request, editor: editor.id }
        }
        // What nobody would be asked about is answered as it is, and the request stays for another try.
        const { stopsAt } = yield* Principal.provide(pipeline.evaluate(edited), principal)
        if (stopsAt === "confirmation") yield* approvals.replace(request)
        return yield* Principal.provide(result(edited), principal)
      }),
      digests: Object.fromEntries(
        Array.from(pipeline.tools.values(), ({ digest, facts }) => [facts.name, digest])
      ),
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

const isSame = (request: ApprovalRequest, principal: Principal.Principal): boolean =>
  request.principal === principal.id && request.tenant === principal.tenant

/** Why what a token stands for cannot be run any more. */
const whyNot = (
  approvals: Approvals["Service"],
  id: string,
  failure: ApprovalError | Unavailable
): Effect.Effect<Reason> =>
  failure._tag === "Unavailable"
    ? Effect.succeed(failure)
    : Effect.match(approvals.get(id), {
        onFailure: (unavailable): Reason => unavailable,
        onSuccess: (request): Reason => ({
          _tag: "ApprovalInvalid",
          why: request === undefined ? "not_granted" : whyByState[request.state]
        })
      })

const whyByState = {
  pending: "not_granted",
  granted: "not_granted",
  rejected: "not_granted",
  used: "used",
  expired: "expired",
  revoked: "revoked",
  replaced: "revoked"
} as const

// --- Between the doors and the pipeline ------------------------------------

const fromOverrides = (tool: string, params: unknown, overrides: Overrides): Request => ({
  door: "run",
  tool,
  params: Raw.of(params),
  id: overrides.id,
  timeout: millis(overrides.timeout),
  retries: overrides.retries,
  within: millis(overrides.deadline),
  requireConfirmation: overrides.requireConfirmation,
  idempotencyKey: overrides.idempotencyKey,
  approval: overrides.approval,
  step: overrides.step,
  metadata: overrides.metadata
})

const millis = (duration: Duration.Input | undefined): number | undefined =>
  duration === undefined ? undefined : Duration.toMillis(duration)

const toExit: Conclude<unknown, unknown> = (outcome, record) => {
  if ("encoded" in outcome) return Exit.succeed(outcome.value)
  const { reason } = outcome
  if (reason === undefined || reason._tag === "ToolFailed") return Exit.fail(outcome.failure)
  return Exit.fail(toError(record, reason))
}
