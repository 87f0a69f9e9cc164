/**
 * A tool from a function: its name, what goes in and comes out as schemas, and
 * the function itself.
 */
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Schema from "effect/Schema"
import type { Capability } from "../Capability.ts"
import * as Handlers from "../Handlers.ts"
import * as ToolAnnotations from "../ToolAnnotations.ts"
import * as Toolset from "../Toolset.ts"

/** What a tool says of itself, by plain names; each stands for the annotation of Effect's `Tool`, or of `ToolAnnotations`, of that name. */
export interface Annotations {
  readonly title?: string | undefined
  readonly readonly?: boolean | undefined
  readonly destructive?: boolean | undefined
  readonly idempotent?: boolean | undefined
  readonly openWorld?: boolean | undefined
  readonly capabilities?: ReadonlyArray<Capability> | undefined
  readonly confirmation?: "confirm" | "approve" | undefined
  readonly timeout?: Duration.Input | undefined
  readonly retries?: number | undefined
  readonly classify?: ((error: unknown) => ToolAnnotations.Classification | undefined) | undefined
  readonly cost?:
    | number
    | ToolAnnotations.Amounts
    | ((params: unknown) => number | ToolAnnotations.Amounts)
    | undefined
  readonly trust?: "trusted" | "untrusted" | undefined
  readonly spends?: boolean | undefined
  readonly sendsData?: boolean | undefined
  readonly cache?: ToolAnnotations.CacheOptions | undefined
  readonly afterCrash?: "retry" | "ask" | "unknown" | undefined
  readonly risk?: ToolAnnotations.RiskLevel | undefined
  readonly importance?: "critical" | "optional" | undefined
  readonly fallback?: ToolAnnotations.FallbackSource | undefined
  readonly tags?: ReadonlyArray<string> | undefined
  readonly unknownParams?: "allow" | undefined
  readonly bulkhead?: ToolAnnotations.BulkheadOptions | undefined
  readonly circuit?: string | false | undefined
}

// What it is called where tools keep it. That each name has its own type is said above; a key cannot say it here.
const keys: { readonly [Name in keyof Annotations]-?: Context.Key<never, unknown> } = {
  title: Tool.Title,
  readonly: Tool.Readonly,
  destructive: Tool.Destructive,
  idempotent: Tool.Idempotent,
  openWorld: Tool.OpenWorld,
  capabilities: ToolAnnotations.Capabilities,
  confirmation: ToolAnnotations.Confirmation,
  timeout: ToolAnnotations.Timeout,
  retries: ToolAnnotations.Retries,
  classify: ToolAnnotations.Classify,
  cost: ToolAnnotations.Cost,
  trust: ToolAnnotations.Trust,
  spends: ToolAnnotations.Spends,
  sendsData: ToolAnnotations.SendsData,
  cache: ToolAnnotations.Cache,
  afterCrash: ToolAnnotations.AfterCrash,
  risk: ToolAnnotations.Risk,
  importance: ToolAnnotations.Importance,
  fallback: ToolAnnotations.Fallback,
  tags: ToolAnnotations.Tags,
  unknownParams: ToolAnnotations.UnknownParams,
  bulkhead: ToolAnnotations.Bulkhead,
  circuit: ToolAnnotations.Circuit
} as never

/** The annotations as tools keep them. A name that is none is a `RangeError`. */
const annotationsOf = (annotations: Annotations): Context.Context<never> => {
  let context = Context.empty()
  for (const [name, value] of Object.entries(annotations)) {
    if (!Object.hasOwn(keys, name)) throw new RangeError(`Toolbox.from: there is no annotation "${name}"`)
    if (value !== undefined) context = Context.add(context, keys[name as keyof Annotations], value)
  }
  return context
}

/** The fields of a struct, or a schema. */
type Parameters = Schema.Struct.Fields | Schema.Top

type SchemaOf<P extends Parameters> = P extends Schema.Top
  ? P
  : P extends Schema.Struct.Fields
    ? Schema.Struct<P>
    : never

type ToolOf<
  Name extends string,
  P extends Parameters,
  Success extends Schema.Top,
  Failure extends Schema.Top,
  Dependency
> = Tool.Tool<
  Name,
  {
    readonly parameters: SchemaOf<P>
    readonly success: Success
    readonly failure: Failure
    readonly failureMode: "return"
  },
  Dependency
>

/**
 * A tool that runs a function, as a toolset: its toolkit and its handler.
 *
 * The function gets the decoded parameters, and beside them the call: its signal,
 * its id, its attempt. It returns a value, a promise or an Effect. What it throws,
 * rejects or fails with is the tool's own failure where the schema declares it;
 * everything else is classified as the errors of any handler are. Failures are
 * told to a model, and end no generation.
 */
export const from = <
  const Name extends string,
  P extends Parameters = typeof Tool.EmptyParams,
  Success extends Schema.Top = typeof Schema.Void,
  Failure extends Schema.Top = typeof Schema.Never,
  // biome-ignore lint/suspicious/noExplicitAny: what `Tool.make` accepts; a key is invariant.
  const Dependencies extends Array<Context.Key<any, any>> = []
>(
  definition: {
    readonly name: Name
    /** What a model reads to choose the tool. */
    readonly description?: string | undefined
    /** Fields of a struct, or a schema; nothing by default. */
    readonly parameters?: P | undefined
    /** What the function returns; nothing by default. */
    readonly success?: Success | undefined
    /** What it may fail with; nothing of its own by default. */
    readonly failure?: Failure | undefined
    /** Services that every call has to provide, where the function returns an Effect that needs them. */
    readonly dependencies?: Dependencies | undefined
    readonly annotations?: Annotations | undefined
  },
  run: Handlers.Handler<ToolOf<Name, P, Success, Failure, Context.Service.Identifier<Dependencies[number]>>>
): Toolset.Toolset<{
  readonly [N in Name]: ToolOf<N, P, Success, Failure, Context.Service.Identifier<Dependencies[number]>>
}> => {
  const { annotations = {}, name, parameters, ...options } = definition
  const tool = Tool.make(name, {
    ...options,
    parameters:
      parameters === undefined || Schema.isSchema(parameters)
        ? parameters
        : Schema.Struct(parameters as Schema.Struct.Fields),
    failureMode: "return"
  }).annotateMerge(annotationsOf(annotations))
  const toolkit = Toolkit.make(tool)
  // Built from the definition's own parts, which the types above put together in the same way.
  return Toolset.make(toolkit, Handlers.toLayer(toolkit, { [name]: run } as never)) as never
}
