/** The tools that the benchmarks call, and executors over them. */
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { ToolAnnotations as Annotate, Handlers, type Health, Interlock, ToolExecutor } from "effect-interlock"

export const Params = Schema.Struct({
  amount: Schema.Finite,
  from: Schema.String.check(Schema.isPattern(/^[A-Z]{3}$/)),
  to: Schema.String.check(Schema.isPattern(/^[A-Z]{3}$/)),
  tags: Schema.optionalKey(Schema.Array(Schema.String))
})
export const Success = Schema.Struct({ amount: Schema.Finite, currency: Schema.String })
const conversion = { parameters: Params, success: Success }

export const params = { amount: 100, from: "EUR", to: "USD" }
export const convert = ({ amount, to }: typeof Params.Type): typeof Success.Type => ({
  amount: amount * 1.1,
  currency: to
})

export const kit = Toolkit.make(
  Tool.make("convert", conversion).annotate(Annotate.Capabilities, []),
  Tool.make("convert_later", conversion).annotate(Annotate.Capabilities, []),
  Tool.make("convert_effect", conversion).annotate(Annotate.Capabilities, []),
  Tool.make("broken", conversion).annotate(Annotate.Capabilities, []),
  Tool.make("delete_rates", conversion).annotate(Annotate.Capabilities, [])
)

export const handlers = Handlers.toLayer(kit, {
  convert,
  convert_later: async (given) => convert(given),
  convert_effect: (given) => Effect.succeed(convert(given)),
  broken: convert,
  delete_rates: convert
})

/** Governance as an application has it: a policy, a limit, a bulkhead. */
export const usual: Interlock.Options = {
  policy: { deny: ["delete_*"], argumentLimits: { bytes: 10_000 } },
  rateLimits: [{ limit: 1_000_000_000, window: "1 hour" }],
  bulkhead: { maxConcurrent: 1_000, maxQueue: 1_000 }
}

export const services = (
  options: Interlock.Options = {}
): Layer.Layer<Interlock.Services | Health.Health | Tool.HandlersFor<typeof kit.tools>> =>
  Layer.merge(handlers, Interlock.layer(options))

export const executor: Effect.Effect<
  ToolExecutor.ToolExecutor<typeof kit.tools>,
  never,
  Interlock.Services | Tool.HandlersFor<typeof kit.tools> | Scope.Scope
> = ToolExecutor.make(kit)
