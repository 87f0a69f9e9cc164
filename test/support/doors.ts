/**
 * Every door, seen the same way: a call goes in by name with raw arguments, and
 * what its caller sees comes out. The law tests run over all of them.
 */

import * as LanguageModel from "effect/ai/LanguageModel"
import * as McpProtocol from "effect/ai/McpProtocol"
import * as McpServer from "effect/ai/McpServer"
import * as McpTest from "effect/ai/McpTest"
import type * as Response from "effect/ai/Response"
import type * as Tool from "effect/ai/Tool"
import type * as Toolkit from "effect/ai/Toolkit"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { Batch, Interlock, Principal, ToolError, ToolExecutor } from "effect-interlock"
import * as Mcp from "effect-interlock/mcp"

/** What the caller of a door sees. */
export interface Seen {
  /** The tool's own success came out. */
  readonly succeeded: boolean
  /** The stable code of a refusal or failure, wherever the door shows it. */
  readonly code: string | undefined
  /** Everything the caller sees, as text. */
  readonly text: string
}

export type CallTool = (tool: string, params: unknown, id?: string) => Effect.Effect<Seen, never, Scope.Scope>

type Tools = Record<string, Tool.Any>
type Kit = Toolkit.Toolkit<Tools>
type Needs = Interlock.Services | Tool.HandlersFor<Tools>

export interface DoorUnderTest {
  readonly name: string
  /** Opens the door for a toolkit; the services are those around it. */
  readonly open: (toolkit: Kit) => Effect.Effect<CallTool, never, Needs | Scope.Scope>
}

const codes = Object.values(ToolError.table).map(({ code }) => code)

const see = (succeeded: boolean, shown: unknown): Seen => {
  const text = typeof shown === "string" ? shown : (JSON.stringify(shown) ?? "")
  const code = succeeded ? undefined : (codes.find((candidate) => text.includes(candidate)) ?? aiCode(text))
  return { succeeded, code, text }
}

// Effect's own words for what a model got wrong.
const aiCode = (text: string): string | undefined =>
  text.includes("ToolParameterValidationError") || text.includes("Invalid parameters for tool")
    ? "INVALID_PARAMS"
    : // A model's call of a name that is not in its toolkit is to Effect no valid output at all.
      /ToolNotFoundError|not found|LanguageModel\.\w+: Invalid output/.test(text)
      ? "TOOL_NOT_FOUND"
      : undefined

const showExit = (exit: Exit.Exit<unknown, unknown>): Seen => {
  if (Exit.isSuccess(exit)) return see(true, exit.value)
  const error = Option.getOrUndefined(Cause.findErrorOption(exit.cause))
  const json = JSON.stringify(error) ?? ""
  const code = error instanceof ToolError.ToolError ? error.code : undefined
  const seen = see(false, `${String(error)} ${json} ${Cause.pretty(exit.cause)}`)
  return code === undefined ? seen : { ...seen, code }
}

const showOutput = (exit: Exit.Exit<Option.Option<Tool.HandlerResult<Tool.Any>>, unknown>): Seen =>
  Exit.isSuccess(exit) && Option.isSome(exit.value)
    ? see(!exit.value.value.isFailure, {
        result: exit.value.value.encodedResult,
        origin: exit.value.value.failureOrigin
      })
    : showExit(exit)

const handleWith =
  (toolkit: Toolkit.WithHandler<Tools>): CallTool =>
  (tool, params, id) =>
    Effect.map(
      Effect.exit(Stream.runLast(Stream.unwrap(toolkit.handle(tool, params as never, id)))),
      showOutput as (exit: Exit.Exit<unknown, unknown>) => Seen
    ) as Effect.Effect<Seen>

/** A model that says one thing: call this tool with these arguments. */
export const modelThatCalls = (
  calls: ReadonlyArray<{ readonly id: string; readonly name: string; readonly params: unknown }>
): Effect.Effect<LanguageModel.LanguageModel> => {
  const parts = [
    ...calls.map((call) => ({ type: "tool-call" as const, ...call })),
    {
      type: "finish" as const,
      reason: "tool-calls" as const,
      usage: {
        inputTokens: { uncached: 0, total: 0, cacheRead: 0, cacheWrite: 0 },
        outputTokens: { total: 0, text: 0, reasoning: 0 }
      }
    }
  ]
  return LanguageModel.make({
    generateText: () => Effect.succeed(parts as unknown as Array<Response.PartEncoded>),
    streamText: () => Stream.fromIterable(parts as unknown as Array<Response.StreamPartEncoded>)
  }) as Effect.Effect<LanguageModel.LanguageModel>
}

const resultPart = (parts: ReadonlyArray<{ readonly type: string }>): Seen => {
  const result = parts.find((part) => part.type === "tool-result") as
    | { readonly isFailure: boolean; readonly encodedResult: unknown }
    | undefined
  if (result !== undefined) return see(!result.isFailure, result.encodedResult)
  const asked = parts.some((part) => part.type === "tool-approval-request")
  return asked ? { succeeded: false, code: "PENDING_CONFIRMATION", text: "asked" } : see(false, parts)
}

let lastId = 0

export const doors: ReadonlyArray<DoorUnderTest> = [
  {
    name: "run",
    open: (toolkit) =>
      Effect.map(
        ToolExecutor.make(toolkit),
        (executor): CallTool =>
          (tool, params, id) =>
            Effect.map(
              Effect.exit(executor.run(tool, params as never, id === undefined ? {} : { id })),
              showExit
            ) as Effect.Effect<Seen>
      )
  },
  {
    name: "execute",
    open: (toolkit) =>
      Effect.map(
        ToolExecutor.make(toolkit),
        (executor): CallTool =>
          (tool, params, id) =>
            Effect.map(
              executor.execute(id === undefined ? { tool, params } : { id, tool, params }) as Effect.Effect<
                import("effect-interlock").ToolResult
              >,
              (result) => see(result.status === "success", { ...result, code: result.error?.code })
            )
      )
  },
  {
    name: "batch",
    open: (toolkit) =>
      Effect.map(
        ToolExecutor.make(toolkit),
        (executor): CallTool =>
          (tool, params, id) =>
            Effect.map(
              Batch.parallel(executor, [
                id === undefined ? { tool, params } : { id, tool, params }
              ]) as Effect.Effect<Batch.BatchResult>,
              ({ results: [result] }) =>
                see(result?.status === "success", { ...result, code: result?.error?.code })
            )
      )
  },
  {
    name: "toolkit",
    open: (toolkit) =>
      Effect.map(
        ToolExecutor.make(toolkit),
        (executor): CallTool =>
          (tool, params, id) =>
            Effect.flatMap(executor.toolkit, (governed) => handleWith(governed as never)(tool, params, id))
      )
  },
  {
    name: "generateText",
    open: (toolkit) =>
      Effect.map(
        ToolExecutor.make(toolkit),
        (executor): CallTool =>
          (tool, params, id = `model_${++lastId}`) =>
            Effect.gen(function* () {
              const model = yield* modelThatCalls([{ id, name: tool, params }])
              const exit = yield* Effect.exit(
                model.generateText({ prompt: "go", toolkit: executor.toolkit }) as unknown as Effect.Effect<
                  { readonly content: ReadonlyArray<{ readonly type: string }> },
                  unknown
                >
              )
              return Exit.isSuccess(exit) ? resultPart(exit.value.content) : showExit(exit)
            })
      )
  },
  {
    name: "streamText",
    open: (toolkit) =>
      Effect.map(
        ToolExecutor.make(toolkit),
        (executor): CallTool =>
          (tool, params, id = `model_${++lastId}`) =>
            Effect.gen(function* () {
              const model = yield* modelThatCalls([{ id, name: tool, params }])
              const exit = yield* Effect.exit(
                Stream.runCollect(
                  model.streamText({ prompt: "go", toolkit: executor.toolkit }) as unknown as Stream.Stream<
                    { readonly type: string },
                    unknown
                  >
                )
              )
              return Exit.isSuccess(exit) ? resultPart(exit.value) : showExit(exit)
            })
      )
  },
  {
    name: "mcp",
    open: (toolkit) =>
      Effect.gen(function* () {
        const principals = new Map<string, Principal.Principal>()
        const auth = McpServer.middleware((request, { payload }) => {
          const { _meta } = payload as { readonly _meta: { readonly "test/principal": string } }
          return Principal.provide(request, principals.get(_meta["test/principal"]) ?? Principal.anonymous)
        })
        const client = yield* Effect.orDie(
          McpTest.makeClient(Layer.provide(Mcp.layer(toolkit), auth.layer), {
            protocols: [McpProtocol.v2025_11_25]
          })
        )
        return ((name, params) =>
          Effect.gen(function* () {
            const caller = yield* Principal.CurrentPrincipal
            principals.set(caller.id, caller)
            const arguments_ = params as Record<string, unknown>
            const exit = yield* Effect.exit(
              client.callTool({ name, arguments: arguments_, _meta: { "test/principal": caller.id } })
            )
            return Exit.isSuccess(exit)
              ? see(exit.value.isError !== true, exit.value.content)
              : showExit(exit)
          })) satisfies CallTool
      })
  },
  {
    name: "guard",
    open: (toolkit) =>
      Effect.gen(function* () {
        const context = yield* Layer.build(
          Interlock.guard(toolkit) as Layer.Layer<Tool.HandlersFor<Tools>, never, Needs>
        )
        const governed = yield* Effect.provide(toolkit, context)
        return handleWith(governed)
      })
  }
]
