/** What a configuration says of a tool, as data. */
import * as Tool from "effect/ai/Tool"
import * as Context from "effect/Context"
import * as Schema from "effect/Schema"
import { Capability } from "../../Capability.ts"
import { Period } from "../../internal/period.ts"
import * as ToolAnnotations from "../../ToolAnnotations.ts"

const optional = Schema.optionalKey

/** The annotations that data can express; what is absent stays unsaid. */
export const Annotations = Schema.Struct({
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
export type Annotations = typeof Annotations.Type

/** The same as a tool carries it. */
export const toContext = (annotations: Annotations): Context.Context<never> => {
  let context = Context.empty()
  const say = <I, S>(key: Context.Key<I, S>, value: S | undefined): void => {
    if (value !== undefined) context = Context.add(context, key, value) as Context.Context<never>
  }
  say(Tool.Readonly, annotations.readonly)
  say(Tool.Destructive, annotations.destructive)
  say(Tool.Idempotent, annotations.idempotent)
  say(Tool.OpenWorld, annotations.openWorld)
  say(ToolAnnotations.Capabilities, annotations.capabilities)
  say(ToolAnnotations.Confirmation, annotations.confirmation)
  say(ToolAnnotations.Trust, annotations.trust)
  say(ToolAnnotations.SendsData, annotations.sendsData)
  say(ToolAnnotations.Spends, annotations.spends)
  say(ToolAnnotations.Timeout, annotations.timeout)
  say(ToolAnnotations.Retries, annotations.retries)
  say(ToolAnnotations.Tags, annotations.tags)
  return context
}
