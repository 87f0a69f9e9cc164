/** The tool that every case calls, and worlds in which Interlock governs it. */
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import {
  ToolAnnotations as Annotate,
  Handlers,
  type Health,
  Interlock,
  Principal,
  ToolExecutor
} from "../src/index.ts"
import { answersAtOnce, type Params, type Success } from "./convert.ts"

const Currency = Schema.String.check(Schema.isPattern(/^[A-Z]{3}$/))
export const parameters = Schema.Struct({
  amount: Schema.Finite,
  from: Currency,
  to: Currency,
  tags: Schema.optionalKey(Schema.Array(Schema.String))
})
export const success = Schema.Struct({ amount: Schema.Finite, currency: Schema.String })

/** It needs a capability, costs something and has a bulkhead of its own. */
export const Convert = Tool.make("convert", {
  description: "Converts an amount of money.",
  parameters,
  success
})
  .annotate(Annotate.Capabilities, ["read_data"])
  .annotate(Annotate.Cost, 1)
  .annotate(Annotate.Bulkhead, { maxConcurrent: 10_000 })

/** Whoever calls. */
export const caller = Principal.make({ id: "alice", tenant: "acme", roles: ["read"] })

/** Governance as an application has it, everything that is on by default beside: a policy, a limit, a bulkhead, a budget. */
export const usual = {
  policy: { deny: ["delete_*"], allowedDomains: ["*.example.com"] },
  rateLimits: [{ limit: 1_000_000_000, window: "1 hour", by: "principal" }],
  bulkhead: { maxConcurrent: 10_000 },
  budget: [{ max: 1e12, per: "principal", window: "1 day" }]
} as const satisfies Interlock.Options

export type Kit = { readonly convert: typeof Convert }
export type Services = Interlock.Services | Health.Health | Tool.HandlersFor<Kit>

// --- Worlds ----------------------------------------------------------------

/** An executor of the one tool, and what it was made from. */
export interface World {
  readonly kit: Toolkit.Toolkit<Kit>
  readonly executor: ToolExecutor.ToolExecutor<Kit>
  /** Its services, and the principal of whoever runs with them. */
  readonly context: Context.Context<Services>
}

export interface WorldOptions {
  /** `usual` by default. */
  readonly governance?: Interlock.Options
  /** Layers that take the place of some of governance. */
  readonly replaced?: Layer.Layer<never>
  /** Answers at once with a promise, by default. */
  readonly handler?: Handler
  readonly annotated?: (tool: typeof Convert) => typeof Convert
}

export type Handler = (given: Params) => Success | Promise<Success>

export const makeWorld = ({
  annotated = (tool) => tool,
  governance = usual,
  handler = answersAtOnce,
  replaced = Layer.empty
}: WorldOptions = {}): Effect.Effect<World, never, Scope.Scope> =>
  Effect.gen(function* () {
    const kit = Toolkit.make(annotated(Convert))
    const handlers = Handlers.toLayer(kit, { convert: handler })
    const services = yield* Layer.build(Layer.mergeAll(handlers, Interlock.layer(governance), replaced))
    const executor = yield* Effect.provide(ToolExecutor.make(kit), services)
    const context = Context.add(services, Principal.CurrentPrincipal, caller)
    return { kit, executor, context: context as Context.Context<Services> }
  })
