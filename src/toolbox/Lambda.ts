/**
 * AWS Lambda functions as tools, by a name and schemas, through the official SDK
 * (`@aws-sdk/client-lambda`, an optional peer).
 *
 *     const Weather = Lambda.make(
 *       [{ name: "weather", functionName: "prod-weather", description: "The weather in a city.",
 *          parameters: Schema.Struct({ city: Schema.String }), success: Schema.Struct({ celsius: Schema.Number }) }],
 *       { region: "eu-central-1" })
 *
 * A function is invoked synchronously. Its event is the arguments as JSON, and it
 * answers with the structured response: `{ success, result }`, or `{ success: false,
 * error }` where it refuses; `tool_name` and `execution_time_ms` may be there. What a
 * retry must know stands in the client context, under `custom`: `tool_name`,
 * `attempt`, `idempotency_key` and `deadline` (milliseconds since the epoch).
 *
 * The SDK does not retry: the pipeline does, by what went wrong (`LambdaError`).
 * An interrupted call closes its connection; Lambda lets the function run on.
 * What an exception says stays in the function's log, found by `requestId`.
 *
 * A function may have a fallback in this process. It is a tool of its own, named
 * after the function's with `_direct` at its end, and policies on the one match the
 * other. The pipeline turns to it when the function cannot be reached or its
 * circuit is open, never when it has run; the result is then `degraded`. Where a
 * human must confirm a call, the direct one is another call, and asks again.
 */
import type * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Handlers from "../Handlers.ts"
import type * as OptionalPackage from "../internal/optionalPackage.ts"
import { millis } from "../internal/options.ts"
import { Period } from "../internal/period.ts"
import type { Tools } from "../ToolExecutor.ts"
import * as Toolset from "../Toolset.ts"
import * as Annotations from "./annotations.ts"
import * as Client from "./lambda/client.ts"
import type * as LambdaError from "./lambda/LambdaError.ts"
import type * as Schemas from "./lambda/schemas.ts"
import * as FunctionTool from "./lambda/tool.ts"

export { PackageMissing } from "../internal/optionalPackage.ts"
export { LambdaError } from "./lambda/LambdaError.ts"

// --- Models ----------------------------------------------------------------

const optional = Schema.optionalKey

/** How Lambda is reached. */
export const Connection = Schema.Struct({
  /** The SDK's own chain by default: `AWS_REGION`, the profile. */
  region: optional(Schema.NonEmptyString),
  /** Another address than AWS's own: a VPC endpoint, an emulator. */
  endpoint: optional(Schema.NonEmptyString),
  /** The SDK's own chain by default: environment, profile, SSO, container, instance. */
  credentials: optional(
    Schema.Struct({
      accessKeyId: Schema.NonEmptyString,
      secretAccessKey: Schema.Redacted(Schema.String),
      sessionToken: optional(Schema.Redacted(Schema.String))
    })
  ),
  /** Time to connect; 5 seconds. How long a function may take is the tool's `Timeout`. */
  connectTimeout: optional(Period)
})
export type Connection = typeof Connection.Type

const how = {
  /** Name, partial or full ARN. */
  functionName: Schema.NonEmptyString,
  /** A version or an alias. */
  qualifier: optional(Schema.NonEmptyString),
  description: Schema.NonEmptyString,
  /** Sends `{ tool_name, arguments }` instead of the arguments alone, to a function that serves several tools. */
  envelope: optional(Schema.Boolean),
  /** Takes an answer that is no structured response for the result itself; by default it is an error. */
  bareResult: optional(Schema.Boolean),
  /** Shows the caller what an exception in the function says; by default only its type. */
  showErrors: optional(Schema.Boolean)
}

/** A function as data: its schemas are JSON Schemas. */
export const FunctionData = Schema.Struct({
  ...how,
  name: Schema.NonEmptyString,
  parameters: Schema.Record(Schema.String, Schema.Unknown),
  success: optional(Schema.Record(Schema.String, Schema.Unknown)),
  annotations: optional(Annotations.Data)
})

/** Connection and functions as data. */
export const Options = Schema.Struct({ ...Connection.fields, functions: Schema.Array(FunctionData) })
export type Options = typeof Options.Type

const How = Schema.Struct(how)

/** A function, and the tool that it is. */
export interface Definition<
  Name extends string = string,
  Parameters extends Schemas.AnySchema = Schemas.AnySchema,
  Success extends Schemas.AnySchema = Schemas.AnySchema
> extends Schema.Schema.Type<typeof How> {
  readonly name: Name
  /** Of an object: an Effect schema, or a JSON Schema. */
  readonly parameters: Parameters
  readonly success: Success
  /** What the tool says of itself, by plain names or as Effect keeps it; capability `external_api` where it names none. */
  readonly annotations?: Annotations.Annotations | Context.Context<never>
  /** Runs here when the function cannot be reached. */
  readonly fallback?: Handlers.Handler<ToolOf<Name, Parameters, Success>>
}

/** The tool of a function. */
export type ToolOf<
  Name extends string,
  Parameters extends Schemas.AnySchema,
  Success extends Schemas.AnySchema
> = Tool.Tool<
  Name,
  {
    readonly parameters: Schemas.EffectSchema<Parameters>
    readonly success: Schemas.EffectSchema<Success>
    readonly failure: typeof LambdaError.LambdaError
    readonly failureMode: "return"
  }
>

/** The tools of functions, by name. Those that stand in for one are not among them: nobody calls them by name. */
export type ToolsOf<Definitions extends ReadonlyArray<Definition>> = {
  readonly [D in Definitions[number] as D["name"]]: ToolOf<D["name"], D["parameters"], D["success"]>
}

/** One function with its types: those of its fallback's parameters come from the schema. */
export const define = <
  const Name extends string,
  Parameters extends Schemas.AnySchema,
  Success extends Schemas.AnySchema
>(
  definition: Definition<Name, Parameters, Success>
): Definition<Name, Parameters, Success> => definition

// --- make ------------------------------------------------------------------

/**
 * The functions as a toolset. Building it fails where the SDK is not installed, and where neither options nor the
 * SDK's chain name a region. Throws where a JSON Schema or an option makes no sense, or two tools would have one name.
 */
export const make = <const Definitions extends ReadonlyArray<Definition>>(
  definitions: Definitions,
  connection: Connection = {}
): Toolset.Toolset<ToolsOf<Definitions>, OptionalPackage.PackageMissing | LambdaError.LambdaError> => {
  const connectTimeout = millis("Lambda: connectTimeout", connection.connectTimeout ?? "5 seconds")
  const made = definitions.map(FunctionTool.make)
  const tools = made.flatMap(({ tools }) => tools)
  const names = tools.map(({ name }) => name)
  const twice = names.find((name, index) => names.indexOf(name) !== index)
  if (twice !== undefined) throw new RangeError(`Lambda: two tools would be named "${twice}"`)
  const toolkit = Toolkit.make(...tools) as unknown as Toolkit.Toolkit<Tools>
  const layer = Handlers.toLayer(
    toolkit,
    Effect.gen(function* () {
      const lambda = yield* Client.connect(connection, connectTimeout)
      return Object.fromEntries(made.flatMap(({ handlers }) => handlers(lambda))) as Handlers.Handlers<Tools>
    })
  )
  // Every tool was made of its definition; an array does not say which is which.
  return Toolset.make(toolkit, layer) as unknown as Toolset.Toolset<
    ToolsOf<Definitions>,
    OptionalPackage.PackageMissing | LambdaError.LambdaError
  >
}

/** The same from data. */
export const fromOptions = ({
  functions,
  ...connection
}: Options): Toolset.Any<OptionalPackage.PackageMissing | LambdaError.LambdaError> =>
  make(
    functions.map((definition) => ({ success: {}, ...definition })),
    connection
  )
