/** The subjects that are Effect's: Interlock through each of its doors, and what is written with Effect without it. */
import * as Toolkit from "effect/ai/Toolkit"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import { Handlers, Interlock, Principal } from "../src/index.ts"
import * as Plain from "../test/support/plain.ts"
import { check, params } from "./convert.ts"
import { awaited } from "./peers/subjects.ts"
import type { Subject } from "./support.ts"
import { Convert, caller, type Handler, type Kit, makeWorld, usual } from "./tools.ts"

type Check<A> = (value: A) => void
type PlainSystem = Effect.Success<ReturnType<typeof Plain.make>>

/** Makes a call over and over in one fiber, and for so many at once in a fiber each. */
export const inOneFiber = <A, E, R>(
  name: string,
  context: Context.Context<R>,
  call: () => Effect.Effect<A, E, R>,
  checked: Check<A> = check
): Subject => {
  const run = Effect.runPromiseWith(context)
  return {
    name,
    times: (count, each) => {
      let left = count
      const step = (value: A) => {
        checked(value)
        each?.()
      }
      return run(Effect.whileLoop({ while: () => left-- > 0, body: call, step }))
    },
    concurrently: async (count, atOnce, took) => {
      const timed = Effect.suspend(() => {
        const from = performance.now()
        return Effect.tap(call(), () => Effect.sync(() => took?.(performance.now() - from)))
      })
      const once = took === undefined ? call : () => timed
      const values = await run(Effect.forEach(Array.from({ length: count }), once, { concurrency: atOnce }))
      values.forEach(checked)
    }
  }
}

/**
 * The plain composition, which the tests keep as the executable specification, `prepared` as it should be.
 */
export const inPlainEffect = <E>(
  options: Plain.Options,
  handler: Handler,
  prepared: (system: PlainSystem) => Effect.Effect<void>,
  call: (system: PlainSystem) => Effect.Effect<unknown, E>,
  checked?: Check<unknown>
): Subject => {
  const made = Effect.tap(Plain.make([{ tool: Convert, handler }], options), prepared)
  let system: PlainSystem | undefined
  const next = () =>
    system !== undefined
      ? call(system)
      : Effect.flatMap(made, (first) => {
          system = first
          return call(first)
        })
  return inOneFiber(
    "Effect, plain composition",
    Context.make(Principal.CurrentPrincipal, caller),
    next,
    checked
  )
}

export const plainComposition = (handler: Handler): Subject =>
  inPlainEffect(
    usual,
    handler,
    () => Effect.void,
    (system) => system.run("convert", params)
  )

/** A toolkit with its handlers, governed or not: a call is read to its end as `LanguageModel` reads it. */
const handled = (
  name: string,
  context: Context.Context<never>,
  toolkit: Toolkit.WithHandler<Kit>
): Subject => {
  let n = 0
  return inOneFiber(
    name,
    context,
    () => Effect.flatMap(toolkit.handle("convert", params, `call_${n++}`), Stream.runCollect),
    ([last]) => check(last?.result)
  )
}

/** What is written with Effect and governs nothing, and Interlock's guard around it. */
const toolkits = Effect.fnUntraced(function* (handler: Handler) {
  const kit = Toolkit.make(Convert)
  const handlers = Handlers.toLayer(kit, { convert: handler })
  const guarded = Interlock.guard(kit).pipe(Layer.provide(Layer.merge(handlers, Interlock.layer(usual))))
  const context = Context.make(Principal.CurrentPrincipal, caller)
  return {
    ungoverned: handled("Toolkit.handle, ungoverned", context, yield* Effect.provide(kit, handlers)),
    guard: handled(
      "Toolkit.handle, guarded",
      context,
      yield* Effect.provide(kit, yield* Layer.build(guarded))
    )
  }
})

/** The tool's call by every way of Effect, with its handler. */
export const doors = Effect.fnUntraced(function* (handler: Handler) {
  const { context, executor } = yield* makeWorld({ handler })
  const run = () => executor.run("convert", params)
  const promise = Effect.runPromiseWith(context)
  const call = { tool: "convert", params }
  const governed = yield* Effect.provideContext(executor.toolkit, context)
  return {
    run: inOneFiber("Interlock, run in a fiber", context, run),
    runPromise: awaited("Interlock, runPromise per call", () => promise(run()), check),
    execute: inOneFiber(
      "Interlock, execute",
      context,
      () => executor.execute(call),
      ({ value }) => check(value)
    ),
    toolkit: handled("Interlock, toolkit", context, governed),
    ...(yield* toolkits(handler)),
    plain: plainComposition(handler)
  }
})
