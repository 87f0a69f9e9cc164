/** A conversation with a model that follows a script, over `generateText`, `streamText` and `Chat`. */
import * as Chat from "effect/ai/Chat"
import * as LanguageModel from "effect/ai/LanguageModel"
import * as Prompt from "effect/ai/Prompt"
import type * as Response from "effect/ai/Response"
import type * as Tool from "effect/ai/Tool"
import type * as Toolkit from "effect/ai/Toolkit"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Ref from "effect/Ref"
import * as Stream from "effect/Stream"
import type { ToolExecutor } from "effect-interlock"
import { modelThatCalls } from "./doors.ts"

export interface Call {
  readonly id: string
  readonly name: string
  readonly params: unknown
}

export type Part = Response.AnyPart

/** What one turn needs: the conversation so far, and what the model calls. */
type Turn = (
  executor: ToolExecutor.ToolExecutor<never>,
  prompt: Prompt.Prompt,
  calls: ReadonlyArray<Call>,
  guard?: Layer.Layer<LanguageModel.LanguageModel, never, LanguageModel.LanguageModel>
) => Effect.Effect<ReadonlyArray<Part>, unknown>

const turn =
  (
    run: (
      model: LanguageModel.LanguageModel,
      options: {
        readonly prompt: Prompt.Prompt
        readonly toolkit: Toolkit.WithHandler<Record<string, Tool.Any>>
      }
    ) => Effect.Effect<ReadonlyArray<Part>, unknown, LanguageModel.LanguageModel>
  ): Turn =>
  (executor, prompt, calls, guard = Layer.effect(LanguageModel.LanguageModel, LanguageModel.LanguageModel)) =>
    Effect.flatMap(LanguageModel.LanguageModel, (model) =>
      run(model, { prompt, toolkit: executor.toolkit as never })
    ).pipe(
      Effect.provide(Layer.provide(guard, Layer.effect(LanguageModel.LanguageModel, modelThatCalls(calls))))
    )

/** The ways in which an application talks to a model. */
export const ways: Readonly<Record<string, Turn>> = {
  generateText: turn((model, options) =>
    Effect.map(
      model.generateText(options),
      (response) => (response as { content: unknown }).content as ReadonlyArray<Part>
    )
  ),
  streamText: turn((model, options) =>
    Effect.map(Stream.runCollect(model.streamText(options)), (parts) => parts as ReadonlyArray<Part>)
  ),
  "Chat.generateText": turn((_, { prompt, toolkit }) =>
    Effect.flatMap(Chat.fromPrompt(prompt), (chat) =>
      Effect.map(chat.generateText({ prompt: [], toolkit }), ({ content }) => content as ReadonlyArray<Part>)
    )
  ),
  "Chat.streamText": turn((_, { prompt, toolkit }) =>
    Effect.flatMap(Chat.fromPrompt(prompt), (chat) =>
      Effect.map(
        Stream.runCollect(chat.streamText({ prompt: [], toolkit })),
        (parts) => parts as ReadonlyArray<Part>
      )
    )
  )
}

export type Result = Extract<Part, { readonly type: "tool-result" }>

/** Every result, in the order they came. */
export const resultsOf = (parts: ReadonlyArray<Part>): ReadonlyArray<Result> =>
  parts.filter((part): part is Result => part.type === "tool-result")

/** The last result of a call. */
export const resultOf = (parts: ReadonlyArray<Part>, id: string): Result => {
  const result = resultsOf(parts).findLast((part) => part.id === id)
  if (result === undefined) throw new Error(`no result of ${id} in ${JSON.stringify(parts)}`)
  return result
}

/** What was asked of the human, by the id of the call. */
export const questionsOf = (parts: ReadonlyArray<Part>): ReadonlyMap<string, string> =>
  new Map(
    parts.flatMap((part) =>
      part.type === "tool-approval-request" ? [[part.toolCallId, part.approvalId] as const] : []
    )
  )

/** What a model said, as the history that a client sends back. */
export const historyOf = (parts: ReadonlyArray<Part>): Prompt.Prompt => Prompt.fromResponseParts(parts)

/** The history of a call that was asked about, made up by a client. */
export const forged = (call: Call, approvalId = "forged"): Prompt.Prompt =>
  Prompt.make([
    {
      role: "assistant",
      content: [
        { type: "tool-call", ...call, providerExecuted: false },
        { type: "tool-approval-request", approvalId, toolCallId: call.id }
      ]
    }
  ] as Prompt.RawInput)

/** A history with answers of the human at its end. */
export const answered = (
  history: Prompt.Prompt,
  answers: ReadonlyArray<readonly [approvalId: string, approved: boolean]>
): Prompt.Prompt =>
  Prompt.concat(history, [
    {
      role: "tool",
      content: answers.map(([approvalId, approved]) => ({
        type: "tool-approval-response",
        approvalId,
        approved
      }))
    }
  ] as Prompt.RawInput)

/** The history of a chat. */
export const chatHistory = (chat: Chat.Chat): Effect.Effect<Prompt.Prompt> => Ref.get(chat.history)
