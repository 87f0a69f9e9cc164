/** One function as a tool, and the tool that stands in for it. */
import * as Tool from "effect/ai/Tool"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Base64 from "effect/encoding/Base64"
import type * as Schema from "effect/Schema"
import type { CurrentCall } from "../../CurrentCall.ts"
import type * as Handlers from "../../Handlers.ts"
import * as ToolAnnotations from "../../ToolAnnotations.ts"
import { toContext } from "../annotations.ts"
import type { Definition } from "../Lambda.ts"
import * as Answer from "./answer.ts"
import type { Invoker } from "./client.ts"
import * as Direct from "./direct.ts"
import * as LambdaError from "./LambdaError.ts"
import * as Schemas from "./schemas.ts"

type Handler = Handlers.Handler<Tool.Any>

/** Tools, and their handlers by name. */
export interface Made {
  readonly tools: ReadonlyArray<Tool.Any>
  readonly handlers: (lambda: Invoker) => ReadonlyArray<readonly [name: string, handler: Handler]>
}

/** Makes the tools of a function. Throws where a JSON Schema cannot be used. */
export const make = (definition: Definition): Made => {
  const { description, fallback, name } = definition
  const success = Schemas.success(definition.success)
  const annotations = Context.make(ToolAnnotations.Capabilities, ["external_api"]).pipe(
    Context.add(ToolAnnotations.Classify, LambdaError.classify),
    Context.merge(annotationsOf(definition))
  )
  const toolOf = (name: string, description: string): Tool.Any =>
    Tool.dynamic(name, {
      description,
      parameters: definition.parameters as Schema.Top,
      success,
      failure: LambdaError.LambdaError,
      failureMode: "return"
    }).annotateMerge(annotations)
  const tool = toolOf(name, description)
  const invoke = invocation(definition, success)
  if (fallback === undefined) {
    return { tools: [tool], handlers: (lambda) => [[name, (params, call) => invoke(lambda, params, call)]] }
  }
  const unreached = new Direct.Unreached(tool)
  const direct = Direct.nameOf(name)
  const encode = Schemas.encodeSync(definition.parameters)
  return {
    tools: [
      tool.annotate(ToolAnnotations.Fallback, {
        tool: direct,
        params: (params) => {
          if (!unreached.may(params as object)) throw new Direct.HasRun(name)
          return encode(params)
        }
      }),
      // Policies that name the function's tool, or what it is upstream, mean this one too.
      toolOf(direct, `${description} Stands in for ${name}: call ${name} instead.`).annotate(
        ToolAnnotations.UpstreamName,
        Context.getOrUndefined(annotations, ToolAnnotations.UpstreamName) ?? name
      )
    ],
    handlers: (lambda) => [
      [name, (params, call) => unreached.watch(params as object, invoke(lambda, params, call))],
      [direct, fallback as Handler]
    ]
  }
}

const annotationsOf = ({ annotations = {} }: Definition): Context.Context<never> =>
  Context.isContext(annotations) ? annotations : toContext(annotations)

/** Sends the arguments to the function and reads its answer. */
const invocation = (definition: Definition, success: Schema.Top) => {
  const {
    bareResult = false,
    envelope = false,
    functionName,
    name,
    qualifier,
    showErrors = false
  } = definition
  const encode = Schemas.encodeJson(definition.parameters)
  const decode = Schemas.decodeJson(success)
  const expected = { bare: bareResult, tool: envelope ? name : undefined, showErrors }
  return Effect.fnUntraced(function* (lambda: Invoker, params: unknown, call: CurrentCall) {
    const json = yield* Effect.orDie(encode(params))
    const invoked = yield* lambda.invoke({
      FunctionName: functionName,
      ...(qualifier === undefined ? {} : { Qualifier: qualifier }),
      ClientContext: clientContext(name, call),
      Payload: JSON.stringify(envelope ? { tool_name: name, arguments: json } : json)
    })
    const { requestId } = invoked
    const { executionTimeMs, result } = yield* Effect.fromResult(Answer.read(invoked, expected))
    yield* Effect.annotateCurrentSpan({
      "faas.invoked_provider": "aws",
      "faas.invoked_name": functionName,
      ...(requestId === undefined ? {} : { "aws.request_id": requestId }),
      ...(executionTimeMs === undefined ? {} : { "interlock.lambda.execution_time_ms": executionTimeMs })
    })
    return yield* Effect.mapError(decode(result), () =>
      LambdaError.make("invalid_response", { requestId, says: "its result does not fit the tool's schema" })
    )
  })
}

/** What a function may want to know beside its event; below the 3,583 bytes that Lambda takes, as names and keys are short. */
const clientContext = (tool_name: string, { attempt, deadline, idempotencyKey }: CurrentCall): string =>
  Base64.encode(
    new TextEncoder().encode(
      JSON.stringify({ custom: { tool_name, attempt, idempotency_key: idempotencyKey, deadline } })
    )
  )
