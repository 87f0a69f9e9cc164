/** A tool from a function: typed by its schemas, classified as any, saying what it was told to say. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer, Schema } from "effect"
import { Tool } from "effect/ai"
import {
  type Handlers,
  Principal,
  ToolAnnotations,
  type ToolError,
  ToolExecutor,
  ToolRegistry,
  Toolset
} from "effect-interlock"
import * as Testing from "effect-interlock/testing"
import { from } from "effect-interlock/toolbox"

/** Compiles only where both types are the same. */
const same = <A, B>(..._: [A] extends [B] ? ([B] extends [A] ? [] : ["differs"]) : ["differs"]): void => {}

class Full extends Schema.TaggedError<Full>()("Full", { seats: Schema.Int }) {}
class Seats extends Context.Service<Seats, { readonly left: number }>()("test/Seats") {}

const parameters = { city: Schema.String, at: Schema.DateFromString, seats: Schema.optionalKey(Schema.Int) }

const opened = <T extends ToolExecutor.Tools>(toolset: Toolset.Toolset<T>) =>
  ToolExecutor.make(toolset.toolkit).pipe(Effect.provide(Layer.merge(toolset.layer, Testing.layer())))

const echo = (
  run: Handlers.Handler<
    Tool.Tool<
      "echo",
      {
        parameters: Schema.Struct<{ city: typeof Schema.String }>
        success: typeof Schema.String
        failure: typeof Full
        failureMode: "return"
      }
    >
  >
) => from({ name: "echo", parameters: { city: Schema.String }, success: Schema.String, failure: Full }, run)

describe("Toolbox.from", () => {
  it.effect("runs a function, a promise or an Effect on decoded parameters", () =>
    Effect.gen(function* () {
      for (const run of [
        ({ city }: { city: string }) => `${city}!`,
        async ({ city }: { city: string }) => `${city}!`,
        ({ city }: { city: string }) => Effect.succeed(`${city}!`)
      ]) {
        const { run: call } = yield* opened(echo(run))
        assert.strictEqual(yield* call("echo", { city: "Rome" }), "Rome!")
      }
    })
  )

  it.effect("gives a promise the signal of its call", () =>
    Effect.gen(function* () {
      const seen: Array<unknown> = []
      const toolset = from({ name: "look", success: Schema.String }, (_, call) => {
        seen.push(call.signal.aborted, call.tool, call.attempt)
        return "seen"
      })
      const { run } = yield* opened(toolset)
      assert.strictEqual(yield* run("look", {}), "seen")
      assert.deepStrictEqual(seen, [false, "look", 1])
    })
  )

  it.effect("classifies what is thrown, rejected or failed with, as everywhere", () =>
    Effect.gen(function* () {
      const outcome = Effect.fnUntraced(function* (run: Parameters<typeof echo>[0]) {
        const { execute } = yield* opened(echo(run))
        const { error } = yield* execute({ tool: "echo", params: { city: "Rome" }, retries: 0 })
        return `${error?.code} ${error?.class}`
      })
      const full = new Full({ seats: 0 })
      const throws = (error: unknown) => () => {
        throw error
      }
      assert.strictEqual(yield* outcome(throws(full)), "TOOL_FAILED Caller")
      assert.strictEqual(yield* outcome(() => Promise.reject(full)), "TOOL_FAILED Caller")
      assert.strictEqual(yield* outcome(() => Effect.fail(full)), "TOOL_FAILED Caller")
      assert.strictEqual(yield* outcome(throws(new Error("no"))), "HANDLER_FAILED Retryable")
      assert.strictEqual(
        yield* outcome(throws(Object.assign(new Error("no"), { status: 404 }))),
        "HANDLER_FAILED Caller"
      )
      assert.strictEqual(yield* outcome(() => Effect.die("bug")), "HANDLER_DEFECT Defect")
    })
  )

  it("ends no generation with its failures", () => {
    assert.strictEqual(echo(({ city }) => city).toolkit.tools.echo.failureMode, "return")
  })

  it.effect("takes a whole schema as well as fields, and none at all", () =>
    Effect.gen(function* () {
      const Range = Schema.Struct({ from: Schema.Int, to: Schema.Int }).check(
        Schema.makeFilter(({ from, to }) => (from <= to ? undefined : "from is after to"))
      )
      const { execute } = yield* opened(
        from({ name: "count", parameters: Range, success: Schema.Int }, ({ from, to }) => to - from)
      )
      assert.strictEqual((yield* execute({ tool: "count", params: { from: 1, to: 3 } })).value, 2)
      assert.strictEqual(
        (yield* execute({ tool: "count", params: { from: 3, to: 1 } })).error?.code,
        "INVALID_PARAMS"
      )
      const nothing = from({ name: "nothing" }, () => undefined)
      assert.strictEqual(
        (yield* (yield* opened(nothing)).execute({ tool: "nothing", params: {} })).status,
        "success"
      )
    })
  )

  it.effect("asks every call for the services that it depends on", () =>
    Effect.gen(function* () {
      const toolset = from({ name: "left", success: Schema.Int, dependencies: [Seats] }, () =>
        Effect.map(Seats, ({ left }) => left)
      )
      const { run } = yield* opened(toolset)
      const call = run("left", {})
      same<Effect.Services<typeof call>, Seats>()
      assert.strictEqual(yield* Effect.provideService(call, Seats, { left: 3 }), 3)
    })
  )

  it.effect("can be put into a registry, and merged with others", () =>
    Effect.gen(function* () {
      const { executor, put } = yield* ToolRegistry.ToolRegistry
      const one = from({ name: "one", success: Schema.Int }, () => 1)
      const two = from({ name: "two", success: Schema.Int }, () => 2)
      yield* put("both", Toolset.merge(one, two))
      const { execute } = yield* executor
      assert.deepStrictEqual(
        [(yield* execute({ tool: "one" })).value, (yield* execute({ tool: "two" })).value],
        [1, 2]
      )
    }).pipe(Effect.provide(ToolRegistry.layer.pipe(Layer.provideMerge(Testing.layer()))))
  )

  it("says what it was told to say, under the keys that governance reads", () => {
    const classify = () => ({ class: "Caller" as const })
    const { toolkit } = from(
      {
        name: "book",
        description: "Books seats.",
        annotations: {
          title: "Book",
          readonly: false,
          destructive: true,
          idempotent: true,
          openWorld: false,
          capabilities: ["financial"],
          confirmation: "approve",
          timeout: "5 seconds",
          retries: 0,
          classify,
          cost: 5,
          trust: "trusted",
          spends: true,
          sendsData: false,
          cache: { ttl: "1 minute" },
          afterCrash: "ask",
          risk: "critical",
          importance: "optional",
          fallback: { value: null },
          tags: ["travel"],
          unknownParams: "allow",
          bulkhead: { maxConcurrent: 1 },
          circuit: false
        }
      },
      () => undefined
    )
    const said = toolkit.tools.book
    assert.deepInclude(ToolAnnotations.read(said), {
      name: "book",
      description: "Books seats.",
      tags: ["travel"],
      capabilities: ["financial"],
      confirmation: "approve",
      readonly: false,
      destructive: true,
      idempotent: true,
      openWorld: false,
      trust: "trusted",
      spends: true,
      sendsData: false,
      risk: "critical",
      importance: "optional",
      bulkhead: { maxConcurrent: 1 }
    })
    const get = <I, S>(key: Context.Key<I, S>) =>
      Context.getOrUndefined(said.annotations as Context.Context<never>, key)
    assert.deepStrictEqual(
      [
        get(Tool.Title),
        get(ToolAnnotations.Timeout),
        get(ToolAnnotations.Retries),
        get(ToolAnnotations.Classify),
        get(ToolAnnotations.Cost),
        get(ToolAnnotations.Cache),
        get(ToolAnnotations.AfterCrash),
        get(ToolAnnotations.Fallback),
        get(ToolAnnotations.UnknownParams),
        get(ToolAnnotations.Circuit)
      ] as ReadonlyArray<unknown>,
      ["Book", "5 seconds", 0, classify, 5, { ttl: "1 minute" }, "ask", { value: null }, "allow", false]
    )
  })

  it("leaves unsaid what was not said, and refuses an annotation that is none", () => {
    const { toolkit } = from({ name: "quiet", annotations: { readonly: undefined } }, () => undefined)
    const { capabilities, destructive, readonly } = ToolAnnotations.read(toolkit.tools.quiet)
    assert.deepStrictEqual([capabilities, destructive, readonly], [undefined, undefined, undefined])
    assert.strictEqual(toolkit.tools.quiet.annotations.mapUnsafe.size, 0)
    const misspelled = { readOnly: true } as object
    assert.throws(
      () => from({ name: "wrong", annotations: misspelled }, () => undefined),
      /no annotation "readOnly"/
    )
    assert.throws(
      () => from({ name: "wrong", annotations: { ["__proto__"]: 1 } as object }, () => undefined),
      RangeError
    )
  })

  it("follows its schemas with its types", () => {
    const toolset = from(
      {
        name: "book",
        parameters,
        success: Schema.Struct({ id: Schema.String }),
        failure: Full,
        annotations: { readonly: true }
      },
      ({ at, city, seats }) => {
        same<typeof at, Date>()
        same<typeof city, string>()
        same<typeof seats, number | undefined>()
        return { id: city }
      }
    )
    const typed = (executor: ToolExecutor.ToolExecutor<typeof toolset.toolkit.tools>) => {
      const booked = executor.run("book", { city: "Rome", at: "2030-01-01" })
      same<Effect.Success<typeof booked>, { readonly id: string }>()
      same<Effect.Error<typeof booked>, ToolError.ToolError | Full>()
      same<Effect.Services<typeof booked>, never>()
      // @ts-expect-error: there is no such tool
      executor.run("boook", {})
    }
    assert.isFunction(typed)
    // @ts-expect-error: it returns something else
    from({ name: "x", success: Schema.String }, () => 1)
    // @ts-expect-error: it fails with what is not declared
    from({ name: "x" }, () => Effect.fail("no"))
    // @ts-expect-error: it needs what is not declared
    from({ name: "x", success: Schema.Int }, () => Effect.map(Seats, ({ left }) => left))
    // @ts-expect-error: there is no such annotation
    const misspelled = () => from({ name: "x", annotations: { readOnly: true } }, () => undefined)
    assert.throws(misspelled)
  })

  it.effect("is governed like any other", () =>
    Effect.gen(function* () {
      const { execute } = yield* opened(
        from({ name: "wipe", annotations: { capabilities: ["delete_data"] } }, () => assert.fail("it ran"))
      )
      const refused = yield* Principal.provide(execute({ tool: "wipe" }), Principal.make({ id: "ada" }))
      assert.strictEqual(refused.status, "permission_denied")
    })
  )
})
