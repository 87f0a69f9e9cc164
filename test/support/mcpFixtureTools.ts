/**
 * The tools that the official conformance suite asks a server for by name, as a
 * governed toolkit, and a few that other tests need.
 */
import { Duration, Effect, Option, Schema } from "effect"
import { McpSchema, McpServer, Tool, Toolkit } from "effect/ai"
import { ToolAnnotations as Annotate, Handlers } from "effect-interlock"
import * as Mcp from "effect-interlock/mcp"

const { audio, CallResult, image, PassesContent, resource, text } = Mcp.Content
type CallResult = typeof CallResult.Type

/** A red pixel, and a tenth of a second of nothing. */
export const pixel =
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg=="
export const silence = "UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQIAAAA="

/** A tool that answers with content, and fails with it. */
const passing = <const Name extends string>(name: Name, description: string) =>
  Tool.make(name, { description, success: CallResult, failure: CallResult }).annotate(PassesContent, {})

const jsonSchema202012 = {
  $schema: "https://json-schema.org/draft/2020-12/schema",
  type: "object",
  $defs: {
    address: {
      $anchor: "addressDef",
      type: "object",
      properties: { street: { type: "string" }, city: { type: "string" } }
    }
  },
  properties: {
    name: { type: "string" },
    address: { $ref: "#/$defs/address" },
    contactMethod: { type: "string", enum: ["phone", "email"] },
    phone: { type: "string" },
    email: { type: "string" }
  },
  allOf: [{ anyOf: [{ required: ["phone"] }, { required: ["email"] }] }],
  if: { properties: { contactMethod: { const: "phone" } }, required: ["contactMethod"] },
  // biome-ignore lint/suspicious/noThenProperty: a keyword of JSON Schema.
  then: { required: ["phone"] },
  else: { required: ["email"] },
  additionalProperties: false
} as const

export const tools = Toolkit.make(
  Tool.make("test_simple_text", { description: "Answers with a text", success: Schema.String })
    .annotate(Tool.Title, "Simple text")
    .annotate(Tool.Readonly, true),
  passing("test_image_content", "Answers with an image"),
  passing("test_audio_content", "Answers with a sound"),
  passing("test_embedded_resource", "Answers with a resource"),
  passing("test_multiple_content_types", "Answers with a text, an image and a resource"),
  Tool.make("test_structured_content", {
    description: "Adds two numbers",
    parameters: Schema.Struct({ a: Schema.Int, b: Schema.Int }),
    success: Schema.Struct({ sum: Schema.Int })
  }).annotate(Tool.Idempotent, true),
  Tool.make("test_tool_with_logging", { description: "Logs three times", success: Schema.String }),
  Tool.make("test_tool_with_progress", { description: "Tells how far it is", success: Schema.String }),
  Tool.make("test_preliminary", { description: "Has two results before the last", success: Schema.String }),
  Tool.make("test_error_handling", { description: "Always fails", success: Schema.String }).annotate(
    Annotate.Retries,
    0
  ),
  passing("test_failing_content", "Fails with content of its own"),
  Tool.make("test_sampling", {
    description: "Asks the client's model",
    parameters: Schema.Struct({ prompt: Schema.String }),
    success: Schema.String
  }),
  Tool.make("test_elicitation", {
    description: "Asks the client's human",
    parameters: Schema.Struct({ message: Schema.String }),
    success: Schema.String
  }),
  Tool.make("test_elicitation_sep1034_defaults", {
    description: "Asks with defaults",
    success: Schema.String
  }),
  Tool.make("test_elicitation_sep1330_enums", { description: "Asks for choices", success: Schema.String }),
  passing("test_input_required_result_elicitation", "Needs a name"),
  passing("test_input_required_result_sampling", "Needs a model"),
  passing("test_input_required_result_list_roots", "Needs roots"),
  passing("test_input_required_result_request_state", "Needs a confirmation, and its state"),
  passing("test_input_required_result_multiple_inputs", "Needs three things at once"),
  passing("test_input_required_result_multi_round", "Needs two things, one after the other"),
  passing("test_input_required_result_tampered_state", "Needs its state as it was"),
  passing("test_input_required_result_capabilities", "Needs what the client can do"),
  passing("test_missing_capability", "Needs a model, whatever the client can do"),
  passing("test_streaming_elicitation", "Tells how far it is, and needs a name"),
  Tool.make("test_logging_tool", { description: "Logs once", success: Schema.String }),
  Tool.make("test_trigger_tool_change", {
    description: "Says that tools have changed",
    success: Schema.String
  }),
  Tool.make("test_trigger_prompt_change", {
    description: "Says that prompts have changed",
    success: Schema.String
  }),
  Tool.dynamic("json_schema_2020_12_tool", {
    description: "Has a schema of many words",
    parameters: jsonSchema202012
  }),
  Tool.dynamic("test_custom_header", {
    description: "Has a parameter that a header repeats",
    parameters: {
      type: "object",
      properties: { region: { type: "string", "x-mcp-header": "Region" } },
      required: ["region"]
    }
  }),
  Tool.make("test_confirmed", {
    description: "Needs a confirmation",
    parameters: Schema.Struct({ to: Schema.String }),
    success: Schema.String
  }),
  Tool.make("test_approved", {
    description: "Needs an approval",
    parameters: Schema.Struct({ to: Schema.String }),
    success: Schema.String
  }).annotate(Annotate.Confirmation, "approve"),
  Tool.make("test_wait", {
    description: "Waits until it is cancelled, and says on standard error when it begins and when it ends",
    success: Schema.String
  }).annotate(Annotate.Timeout, "5 minutes")
)

// --- What handlers ask of the client ---------------------------------------

const client = Effect.flatMap(Effect.serviceOption(McpSchema.McpServerClient), (session) =>
  Option.isNone(session) ? Effect.fail(new Error("The client has no session")) : Effect.succeed(session.value)
)

type Form = (typeof McpSchema.ElicitRequestFormParams.Type)["requestedSchema"]

const elicit = (message: string, requestedSchema: Form) =>
  Effect.gen(function* () {
    const { getClient } = yield* client
    const answer = yield* Effect.flatMap(getClient, (client) =>
      client.elicit(new McpSchema.ElicitRequestFormParams({ message, requestedSchema }))
    )
    const content = answer.action === "accept" ? answer.content : undefined
    return `Elicitation completed: action=${answer.action}, content=${JSON.stringify(content)}`
  }).pipe(Effect.scoped, Effect.orDie)

const sample = (prompt: string) =>
  Effect.gen(function* () {
    const { getClient } = yield* client
    const { content } = yield* Effect.flatMap(getClient, (client) =>
      client.createMessage({
        messages: [{ role: "user", content: McpSchema.TextContent.make({ text: prompt }) }],
        maxTokens: 100
      } as never)
    )
    return `LLM response: ${"text" in content ? content.text : ""}`
  }).pipe(Effect.scoped, Effect.orDie)

/** What the client has answered, and the state that it has brought back. */
const inputs = Effect.map(Effect.serviceOption(McpSchema.McpRequestContext), (context) => {
  const { clientCapabilities, inputResponses, requestState } = Option.getOrThrow(context)
  return { clientCapabilities, responses: inputResponses ?? {}, state: requestState }
})

const field = (response: McpSchema.McpInputResponse | undefined, name: string): string => {
  const content = response?.content as Readonly<Record<string, unknown>> | undefined
  return String(content?.[name] ?? "nobody")
}

type Requests = NonNullable<CallResult["inputRequests"]>

const asks = (inputRequests: Requests, requestState?: string): CallResult => ({
  content: [],
  inputRequests,
  ...(requestState === undefined ? {} : { requestState })
})

const says = (line: string): CallResult => ({ content: [text(line)] })

const asksFor = (message: string, name: string, type = "string") => ({
  method: "elicitation/create",
  params: {
    message,
    requestedSchema: { type: "object", properties: { [name]: { type } }, required: [name] }
  }
})

const asksModel = (prompt: string, maxTokens: number) => ({
  method: "sampling/createMessage",
  params: { messages: [{ role: "user", content: { type: "text", text: prompt } }], maxTokens }
})

const asksRoots = { method: "roots/list", params: {} }

/** Asks for one thing, and says what came of it. */
const onceAnswered = (
  name: string,
  request: Requests[string],
  answered: (response: McpSchema.McpInputResponse) => string
) =>
  Effect.map(inputs, ({ responses }) => {
    const response = responses[name]
    return response === undefined ? asks({ [name]: request }) : says(answered(response))
  })

/** The same, where the state must be what was given. */
const withState = (requests: Requests, given: string, done: string) =>
  Effect.map(inputs, ({ responses, state }) =>
    state === given && Object.keys(requests).every((name) => responses[name] !== undefined)
      ? says(done)
      : asks(requests, given)
  )

const pause = Effect.sleep(Duration.millis(20))

const stderr = (line: string) =>
  Effect.sync(() => process.stderr.write(`${line} ${performance.timeOrigin + performance.now()}\n`))

// --- The handlers ----------------------------------------------------------

export const handlers = Handlers.toLayer(
  tools,
  Effect.gen(function* () {
    const { notifications } = yield* McpServer.McpServer
    return {
      test_simple_text: () => "This is a simple text response for testing.",
      test_image_content: () => ({ content: [image(pixel, "image/png")] }),
      test_audio_content: () => ({ content: [audio(silence, "audio/wav")] }),
      test_embedded_resource: () => ({
        content: [
          resource({
            uri: "test://embedded-resource",
            mimeType: "text/plain",
            contents: "This is an embedded resource content."
          })
        ]
      }),
      test_multiple_content_types: () => ({
        content: [
          text("Multiple content types test:"),
          image(pixel, "image/png"),
          resource({
            uri: "test://mixed-content-resource",
            mimeType: "application/json",
            contents: '{"test":"data","value":123}'
          })
        ]
      }),
      test_structured_content: ({ a, b }) => ({ sum: a + b }),
      test_tool_with_logging: () =>
        Effect.gen(function* () {
          yield* Mcp.log("info", "Tool execution started")
          yield* pause
          yield* Mcp.log("info", "Tool processing data")
          yield* pause
          yield* Mcp.log("info", "Tool execution completed")
          return "Tool with logging executed successfully"
        }),
      test_tool_with_progress: () =>
        Effect.gen(function* () {
          for (const progress of [0, 50, 100]) {
            yield* Mcp.progress({ progress, total: 100, message: `Completed ${progress} of 100` })
            yield* pause
          }
          return "done"
        }),
      test_preliminary: (_, { preliminary }) =>
        Effect.gen(function* () {
          yield* preliminary("one")
          yield* preliminary("two")
          return "three"
        }),
      test_error_handling: () => {
        throw new Error("This tool intentionally returns an error for testing")
      },
      test_failing_content: () =>
        Effect.fail({ content: [text("It did not work"), image(pixel, "image/png")] }),
      test_sampling: ({ prompt }) => sample(prompt),
      test_elicitation: ({ message }) =>
        elicit(message, {
          type: "object",
          properties: {
            username: { type: "string", description: "User's response" },
            email: { type: "string", description: "User's email address" }
          },
          required: ["username", "email"]
        }),
      test_elicitation_sep1034_defaults: () =>
        elicit("Please review and update the form fields with defaults", {
          type: "object",
          properties: {
            name: { type: "string", description: "User name", default: "John Doe" },
            age: { type: "integer", description: "User age", default: 30 },
            score: { type: "number", description: "User score", default: 95.5 },
            status: { type: "string", enum: ["active", "inactive", "pending"], default: "active" },
            verified: { type: "boolean", description: "Verification status", default: true }
          },
          required: []
        } as never),
      test_elicitation_sep1330_enums: () => {
        const titled = [
          { const: "value1", title: "First Option" },
          { const: "value2", title: "Second Option" },
          { const: "value3", title: "Third Option" }
        ]
        const options = ["option1", "option2", "option3"]
        return elicit("Please select options from the enum fields", {
          type: "object",
          properties: {
            untitledSingle: { type: "string", enum: options },
            titledSingle: { type: "string", oneOf: titled },
            legacyEnum: {
              type: "string",
              enum: ["opt1", "opt2", "opt3"],
              enumNames: ["Option One", "Option Two", "Option Three"]
            },
            untitledMulti: { type: "array", items: { type: "string", enum: options } },
            titledMulti: { type: "array", items: { anyOf: titled } }
          },
          required: []
        } as never)
      },
      test_input_required_result_elicitation: () =>
        onceAnswered(
          "user_name",
          asksFor("What is your name?", "name"),
          (response) => `Hello, ${field(response, "name")}!`
        ),
      test_input_required_result_sampling: () =>
        onceAnswered("capital_question", asksModel("What is the capital of France?", 100), (response) =>
          String((response.content as { readonly text?: unknown } | undefined)?.text)
        ),
      test_input_required_result_list_roots: () =>
        onceAnswered("client_roots", asksRoots, (response) => JSON.stringify(response.roots)),
      test_input_required_result_request_state: () =>
        withState({ confirm: asksFor("Please confirm", "ok", "boolean") }, "awaiting", "state-ok"),
      test_input_required_result_multiple_inputs: () =>
        withState(
          {
            user_name: asksFor("What is your name?", "name"),
            greeting: asksModel("Generate a greeting", 50),
            client_roots: asksRoots
          },
          "awaiting",
          "all inputs received"
        ),
      test_input_required_result_multi_round: () =>
        Effect.map(inputs, ({ responses, state }) => {
          const [round, name] = state?.split(":") ?? []
          if (round === "1" && responses.step1 !== undefined) {
            return asks(
              { step2: asksFor("Step 2: What is your favorite color?", "color") },
              `2:${field(responses.step1, "name")}`
            )
          }
          return round === "2" && responses.step2 !== undefined
            ? says(`${name} likes ${field(responses.step2, "color")}`)
            : asks({ step1: asksFor("Step 1: What is your name?", "name") }, "1")
        }),
      test_input_required_result_tampered_state: () =>
        withState({ confirm: asksFor("Please confirm", "ok", "boolean") }, "awaiting", "integrity-ok"),
      test_input_required_result_capabilities: () =>
        Effect.map(inputs, ({ clientCapabilities, responses }) => {
          if (Object.keys(responses).length > 0) return says(`received ${Object.keys(responses).join()}`)
          const requests = {
            ...(clientCapabilities.elicitation === undefined
              ? {}
              : { elicit: asksFor("Elicitation input", "value") }),
            ...(clientCapabilities.sampling === undefined ? {} : { sample: asksModel("Sample request", 50) })
          }
          return Object.keys(requests).length === 0 ? says("The client can do nothing") : asks(requests)
        }),
      test_missing_capability: () =>
        onceAnswered("model", asksModel("Say something", 10), () => "It said something"),
      test_streaming_elicitation: () =>
        Effect.andThen(
          Mcp.progress({ progress: 50, total: 100 }),
          onceAnswered("user_name", asksFor("What is your name?", "name"), () => "Streaming complete")
        ),
      test_logging_tool: () => Effect.as(Mcp.log("info", "Logged"), "Logging evaluated"),
      test_trigger_tool_change: () =>
        Effect.as(notifications["notifications/tools/list_changed"]({}), "Mutation triggered"),
      test_trigger_prompt_change: () =>
        Effect.as(notifications["notifications/prompts/list_changed"]({}), "Mutation triggered"),
      json_schema_2020_12_tool: () => "valid",
      test_custom_header: (params) => JSON.stringify(params),
      test_confirmed: ({ to }) => `done for ${to}`,
      test_approved: ({ to }) => `done for ${to}`,
      test_wait: () =>
        Effect.andThen(stderr("began"), Effect.never).pipe(Effect.onInterrupt(() => stderr("interrupted")))
    }
  })
)
