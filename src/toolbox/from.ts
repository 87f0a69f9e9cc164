/**
 * A tool from a function: its name, what goes in and comes out as schemas, and
 * the function itself.
 */
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import type * as Context from "effect/Context"
import * as Schema from "effect/Schema"
import * as Handlers from "../Handlers.ts"
import * as Toolset from "../Toolset.ts"
import { type Annotations, toContext } from "./annotations.ts"

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
  }).annotateMerge(toContext(annotations))
  const toolkit = Toolkit.make(tool)
  // Built from the definition's own parts, which the types above put together in the same way.
  return Toolset.make(toolkit, Handlers.toLayer(toolkit, { [name]: run } as never)) as never
}
