/**
 * What the compiler says of programs that use the executor. Most of it is never
 * called: a line marked `@ts-expect-error` that compiles fails `tsc`. What the
 * compiler says in words is read from it.
 */
import { spawnSync } from "node:child_process"
import { mkdirSync, rmSync, writeFileSync } from "node:fs"
import { assert, describe, it } from "@effect/vitest"
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import {
  Approvals,
  AuditLog,
  Batch,
  CallRecord,
  type Evaluation,
  Handlers,
  Interlock,
  Permissions,
  Principal,
  SecurityPolicy,
  type ToolError,
  ToolExecutor,
  type ToolResult
} from "effect-interlock"

class Full extends Schema.TaggedError<Full>()("Full", { seats: Schema.Int }) {}
class Seats extends Context.Service<Seats, { readonly left: number }>()("test/Seats") {}

const kit = Toolkit.make(
  Tool.make("book", {
    parameters: Schema.Struct({ at: Schema.DateFromString, seats: Schema.optionalKey(Schema.Int) }),
    success: Schema.Struct({ id: Schema.String }),
    failure: Full,
    dependencies: [Seats]
  }),
  Tool.make("add", {
    parameters: Schema.Struct({ a: Schema.Int, b: Schema.Int }),
    success: Schema.Number
  })
)
type Kit = typeof kit.tools

/** Compiles only where both types are the same. */
const same = <A, B>(..._: [A] extends [B] ? ([B] extends [A] ? [] : ["differs"]) : ["differs"]): void => {}

const never = (_: (executor: ToolExecutor.ToolExecutor<Kit>) => unknown) => assert.isFunction(_)

describe("the executor's types", () => {
  it("follow the tool's name to its parameters, success, failure and services", () =>
    never((executor) => {
      const booked = executor.run("book", { at: "2030-01-01" })
      same<Effect.Success<typeof booked>, { readonly id: string }>()
      same<Effect.Error<typeof booked>, ToolError.ToolError | Full>()
      same<Effect.Services<typeof booked>, Seats>()
      const added = executor.run("add", { a: 1, b: 2 })
      same<Effect.Success<typeof added>, number>()
      same<Effect.Error<typeof added>, ToolError.ToolError>()
      same<Effect.Services<typeof added>, never>()
      const executed = executor.execute({ tool: "any", params: "thing" })
      same<Effect.Success<typeof executed>, ToolResult>()
      same<Effect.Error<typeof executed>, never>()
      same<Effect.Services<typeof executed>, Seats>()
      const resumed = executor.resume("token")
      same<Effect.Success<typeof resumed>, ToolResult>()
      same<Effect.Error<typeof resumed>, never>()
      same<Effect.Services<typeof resumed>, Seats>()
      const waited = Approvals.wait(booked)
      same<typeof waited, typeof booked>()
      // What runs nothing needs nothing of what handlers need.
      const evaluated = executor.evaluate({ tool: "any" })
      same<Effect.Success<typeof evaluated>, Evaluation.Evaluation>()
      same<Effect.Services<typeof evaluated>, never>()
      const principal = Principal.anonymous
      const edited = executor.edit({ request: "id", params: {}, principal })
      same<Effect.Error<typeof edited>, Approvals.ApprovalError | Approvals.Unavailable>()
      same<Effect.Services<typeof edited>, never>()
      const batch = Batch.parallel(executor, [{ tool: "any" }])
      same<Effect.Services<typeof batch>, Seats>()
      same<ReturnType<typeof executor.get<"add">>, Kit["add"]>()
      // @ts-expect-error `same` is no test if it takes everything
      same<Effect.Success<typeof added>, string>()
    }))

  it("refuse what no tool of the kit takes", () =>
    never((executor) => {
      // @ts-expect-error no such tool
      executor.run("remove", {})
      // @ts-expect-error no such tool
      executor.get("remove")
      // @ts-expect-error parameters are given as JSON has them, before they are decoded
      executor.run("book", { at: new Date() })
      // @ts-expect-error missing
      executor.run("add", { a: 1 })
      // @ts-expect-error of a wrong type
      executor.run("add", { a: 1, b: "2" })
      // @ts-expect-error unknown
      executor.run("add", { a: 1, b: 2, c: 3 })
      // @ts-expect-error no such override
      executor.run("add", { a: 1, b: 2 }, { retry: 3 })
      // @ts-expect-error an edit says on whose behalf the call is made
      executor.edit({ request: "id", params: {} })
      // @ts-expect-error a call needs the name of its tool
      executor.execute({ params: {} })
      // @ts-expect-error and so does one of a batch
      Batch.sequential(executor, [{ params: {} }])
      // @ts-expect-error one call after the other has no concurrency
      Batch.sequential(executor, [], { concurrency: 2 })
      // @ts-expect-error the failure is the tool's, not just any
      const failed: Effect.Effect<unknown, ToolError.ToolError, Seats> = executor.run("book", { at: "" })
      // @ts-expect-error a handler's services are its caller's to provide
      const run: Effect.Effect<unknown, unknown> = executor.run("book", { at: "" })
      return [failed, run]
    }))

  it("hold handlers to their tools", () => {
    const plain = Toolkit.make(
      Tool.make("add", { parameters: Schema.Struct({ a: Schema.Int }), success: Schema.Number })
    )
    Handlers.toLayer(plain, { add: ({ a }) => a })
    Handlers.toLayer(plain, { add: async ({ a }) => a })
    Handlers.toLayer(plain, { add: ({ a }, { signal }) => Effect.succeed(signal.aborted ? 0 : a) })
    // @ts-expect-error a wrong success
    Handlers.toLayer(plain, { add: ({ a }) => `${a}` })
    // @ts-expect-error a promise of a wrong success
    Handlers.toLayer(plain, { add: async ({ a }) => `${a}` })
    // @ts-expect-error a failure that the tool does not declare
    Handlers.toLayer(plain, { add: () => Effect.fail("no") })
    // @ts-expect-error no handler
    Handlers.toLayer(plain, {})
  })
})

describe("governance that was forgotten", () => {
  const handlers = kit.toLayer({
    book: () => Effect.succeed({ id: "1" }),
    add: ({ a, b }) => Effect.succeed(a + b)
  })
  const program = Effect.flatMap(ToolExecutor.make(kit), (executor) =>
    executor.execute({ tool: "add" })
  ).pipe(Effect.provideService(Seats, { left: 1 }))

  it("does not compile; the complete set does", () => {
    const complete: Effect.Effect<ToolResult> = program.pipe(
      Effect.provide(Layer.merge(handlers, Interlock.layer()))
    )
    // @ts-expect-error no governance at all
    const nothing: Effect.Effect<ToolResult> = program.pipe(Effect.provide(handlers))
    // @ts-expect-error no handlers
    const noHandlers: Effect.Effect<ToolResult> = program.pipe(Effect.provide(Interlock.layer()))
    const some = Layer.mergeAll(handlers, SecurityPolicy.layer(), Permissions.layer(), CallRecord.layer)
    // @ts-expect-error a policy is not everything
    const incomplete: Effect.Effect<ToolResult> = program.pipe(Effect.provide(some))
    for (const effect of [complete, nothing, noHandlers, incomplete]) assert.isTrue(Effect.isEffect(effect))
  })

  it("is what a layer among the options needs and fails with", () => {
    const elsewhere = Layer.effect(
      Approvals.Approvals,
      Effect.flatMap(Seats, () => Effect.fail(new Full({ seats: 0 })))
    )
    never(() => {
      const given = Interlock.layer({ approvals: elsewhere, policy: { deny: ["*"] } })
      same<Layer.Error<typeof given>, Full>()
      same<Layer.Services<typeof given>, Seats>()
      // The keyring and redaction are the set's own.
      const own = Interlock.layer({ approvals: Approvals.layerMemory(), audit: AuditLog.layerMemory() })
      same<Layer.Services<typeof own>, never>()
      same<Layer.Error<typeof own>, never>()
      same<Layer.Success<typeof own>, Interlock.Services>()
    })
  })

  it("is named in the last line of the compiler's error, whichever service it is", () => {
    const services: ReadonlyArray<string> = [
      "Approvals",
      "AuditLog",
      "Budget",
      "Bulkhead",
      "CallRecord.CallRecorder",
      "CircuitBreaker",
      "Health",
      "Idempotency",
      "Keyring",
      "KillSwitch",
      "LoopDetector",
      "Permissions",
      "RateLimits",
      "Redaction",
      "ResultCache",
      "Screening",
      "SecurityPolicy",
      "Taint",
      "Telemetry"
    ]
    const programs = services.map((service) => {
      const [module, name = module] = service.split(".")
      return `Effect.runSync(Effect.provide(program, {} as Layer.Layer<Exclude<All, ${module}.${name}>>))`
    })
    const said = compile([
      'import * as Tool from "effect/ai/Tool"',
      'import * as Toolkit from "effect/ai/Toolkit"',
      'import * as Effect from "effect/Effect"',
      'import type * as Layer from "effect/Layer"',
      `import { type Interlock, ToolExecutor, ${services.map((service) => `type ${service.split(".")[0]}`).join(", ")} } from "../../src/index.ts"`,
      'const kit = Toolkit.make(Tool.make("ping"))',
      "type All = Interlock.Services | Tool.HandlersFor<typeof kit.tools>",
      "const program = ToolExecutor.make(kit)",
      ...programs,
      "Effect.runSync(Effect.provide(program, {} as Layer.Layer<All>))"
    ])
    assert.strictEqual(said.length, services.length, "each program is refused, and the complete one is not")
    for (const [index, service] of services.entries()) {
      const last = said[index]?.trimEnd().split("\n").at(-1)
      assert.strictEqual(
        last?.trim(),
        `Type '${service.split(".").at(-1)}' is not assignable to type 'never'.`
      )
    }
  })
})

/** What the compiler has against a file, one text per error. */
const compile = (lines: ReadonlyArray<string>): ReadonlyArray<string> => {
  const root = new URL("..", import.meta.url)
  // Within the package, so that imports are found; in a folder that nothing else looks at.
  const folder = new URL("node_modules/.types-test/", root)
  mkdirSync(folder, { recursive: true })
  try {
    writeFileSync(new URL("program.ts", folder), lines.join("\n"))
    writeFileSync(
      new URL("tsconfig.json", folder),
      JSON.stringify({ extends: "../../tsconfig.json", files: ["program.ts"], include: [], exclude: [] })
    )
    const { stdout } = spawnSync("node_modules/.bin/tsc", ["-p", folder.pathname, "--pretty", "false"], {
      cwd: root,
      encoding: "utf8"
    })
    return stdout.split(/^(?=\S)/m).filter((text) => text.includes("error TS"))
  } finally {
    rmSync(folder, { recursive: true })
  }
}
