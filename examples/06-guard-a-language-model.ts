/** A language model's tool calls, governed: first under an application that stays as it is, then with a human asked. */
import { Console, Effect, Layer, Schema, Stream } from "effect"
import { Chat, LanguageModel, Prompt, type Response, Tool, Toolkit } from "effect/ai"
import { Handlers, Interlock, ToolExecutor } from "effect-interlock"

const id = Schema.Struct({ id: Schema.String })
const tools = Toolkit.make(
  Tool.make("find_booking", { parameters: id, success: Schema.String, failureMode: "return" }),
  Tool.make("delete_booking", { parameters: id, success: Schema.String, failureMode: "return" })
)
const handlers = Handlers.toLayer(tools, {
  find_booking: ({ id }) => `booking ${id}: Oslo to Rome`,
  delete_booking: ({ id }) => `booking ${id} is deleted`
})

// A model by script: it looks at the booking and deletes it, and speaks when it is asked again.
const script = (): Layer.Layer<LanguageModel.LanguageModel> => {
  const turns: Array<Array<Response.PartEncoded>> = [
    [
      { type: "tool-call", id: "call-1", name: "find_booking", params: { id: "7" } },
      { type: "tool-call", id: "call-2", name: "delete_booking", params: { id: "7" } }
    ]
  ]
  const next = Effect.sync(() => turns.shift() ?? [{ type: "text" as const, text: "Done." }])
  return Layer.effect(
    LanguageModel.LanguageModel,
    LanguageModel.make({ generateText: () => next, streamText: () => Stream.empty })
  )
}

const show = (parts: ReadonlyArray<Response.AnyPart>) =>
  Effect.forEach(parts, (part) => {
    if (part.type === "text") return Console.log(`  model: ${part.text}`)
    if (part.type === "tool-approval-request")
      return Console.log(`  a human is asked about ${part.toolCallId}`)
    if (part.type === "tool-result")
      return Console.log(`  ${part.name}: ${JSON.stringify(part.encodedResult)}`)
    return Effect.void
  })

const governance = Interlock.layer({ policy: { requireConfirmation: ["delete_*"] } })

// --- 1. An application that stays as it is: one Layer.provide under it ---

const application = Effect.gen(function* () {
  const { content } = yield* LanguageModel.generateText({ prompt: "Tidy up", toolkit: tools })
  yield* show(content)
})

await Console.log("guarded:").pipe(
  Effect.andThen(application),
  Effect.provide([script(), Interlock.guard(tools).pipe(Layer.provide([handlers, governance]))]),
  Effect.runPromise
)

// --- 2. The whole pipeline: the executor's toolkit asks the human on whose behalf the model acts ---

const conversation = Effect.gen(function* () {
  const executor = yield* ToolExecutor.make(tools)
  const chat = yield* Chat.empty
  const { content } = yield* chat.generateText({ prompt: "Tidy up", toolkit: executor.toolkit })
  yield* show(content)

  const asked = content.filter((part) => part.type === "tool-approval-request")
  const answers = asked.map(({ approvalId }) =>
    Prompt.toolApprovalResponsePart({ approvalId, approved: true })
  )
  const yes = [Prompt.toolMessage({ content: answers })]
  const afterwards = yield* chat.generateText({ prompt: yes, toolkit: executor.toolkit })
  yield* show(afterwards.content)
})

await Console.log("governed:").pipe(
  Effect.andThen(conversation),
  Effect.provide([script(), handlers, governance]),
  Effect.runPromise
)
