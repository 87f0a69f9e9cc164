/** What a tool says of itself, by plain names: each stands for the annotation of Effect's `Tool`, or of `ToolAnnotations`, of that name. */
import * as Tool from "effect/ai/Tool"
import * as Context from "effect/Context"
import * as Schema from "effect/Schema"
import { Capability } from "../Capability.ts"
import { Period } from "../internal/period.ts"
import * as ToolAnnotations from "../ToolAnnotations.ts"

const optional = Schema.optionalKey

/** The annotations that configurations can give; what is absent stays unsaid. */
export const Data = Schema.Struct({
  readonly: optional(Schema.Boolean),
  destructive: optional(Schema.Boolean),
  idempotent: optional(Schema.Boolean),
  openWorld: optional(Schema.Boolean),
  capabilities: optional(Schema.Array(Capability)),
  confirmation: optional(Schema.Literals(["confirm", "approve"])),
  trust: optional(Schema.Literals(["trusted", "untrusted"])),
  sendsData: optional(Schema.Boolean),
  spends: optional(Schema.Boolean),
  timeout: optional(Period),
  retries: optional(Schema.Int.check(Schema.isGreaterThanOrEqualTo(0))),
  tags: optional(Schema.Array(Schema.NonEmptyString))
})
export type Data = typeof Data.Type

/** Those that code can give. */
export interface Annotations extends OrUndefined<Data> {
  readonly title?: string | undefined
  readonly classify?: ((error: unknown) => ToolAnnotations.Classification | undefined) | undefined
  readonly cost?:
    | number
    | ToolAnnotations.Amounts
    | ((params: unknown) => number | ToolAnnotations.Amounts)
    | undefined
  readonly cache?: ToolAnnotations.CacheOptions | undefined
  readonly afterCrash?: "retry" | "ask" | "unknown" | undefined
  readonly risk?: ToolAnnotations.RiskLevel | undefined
  readonly importance?: "critical" | "optional" | undefined
  readonly fallback?: ToolAnnotations.FallbackSource | undefined
  readonly unknownParams?: "allow" | undefined
  readonly bulkhead?: ToolAnnotations.BulkheadOptions | undefined
  readonly circuit?: string | false | undefined
}

type OrUndefined<A> = { readonly [Name in keyof A]: A[Name] | undefined }

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
export const toContext = (annotations: Annotations): Context.Context<never> => {
  let context = Context.empty()
  for (const [name, value] of Object.entries(annotations)) {
    if (!Object.hasOwn(keys, name)) throw new RangeError(`There is no annotation "${name}"`)
    if (value !== undefined) context = Context.add(context, keys[name as keyof Annotations], value)
  }
  return context
}
