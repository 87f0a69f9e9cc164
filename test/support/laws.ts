/**
 * The laws that the core holds, each as a check that a door passes or fails.
 * `except` names the doors that cannot hold a law, with the reason; the tests
 * hold both sides to it, and the table of the docs is printed from here.
 */

import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import {
  ToolAnnotations as Annotate,
  Approvals,
  AuditLog,
  Budget,
  Bulkhead,
  CallRecord,
  CircuitBreaker,
  Health,
  History,
  type Interlock,
  KillSwitch,
  Principal
} from "effect-interlock"
import * as Testing from "effect-interlock/testing"
import type { CallTool, DoorUnderTest, Seen } from "./doors.ts"

export type FailureMode = "error" | "return"

export interface Law {
  readonly id: string
  readonly title: string
  /** Doors that cannot hold it, and why. */
  readonly except: Readonly<Record<string, string>>
  readonly holds: (door: DoorUnderTest, mode: FailureMode) => Effect.Effect<boolean>
}

// --- The world a law is checked in -----------------------------------------

class Busy extends Schema.TaggedError<Busy>()("Busy", { retryAfter: Schema.Finite }) {}

const toolkitOf = (failureMode: FailureMode) => {
  const target = Schema.Struct({ target: Schema.String })
  return Toolkit.make(
    Tool.make("add", {
      parameters: Schema.Struct({ a: Schema.Int, b: Schema.Int }),
      success: Schema.Number,
      failureMode
    }).annotate(Annotate.Capabilities, []),
    Tool.make("read_file", { parameters: target, success: Schema.String, failureMode }).annotate(
      Annotate.Capabilities,
      ["read_data"]
    ),
    Tool.make("delete_record", { parameters: target, success: Schema.String, failureMode }).annotate(
      Tool.Destructive,
      true
    ),
    Tool.make("github__delete_repo", { parameters: target, success: Schema.String, failureMode }),
    Tool.make("slow", { parameters: target, success: Schema.String, failureMode })
      .annotate(Tool.Readonly, true)
      .annotate(Annotate.Retries, 0)
      .annotate(Annotate.Cost, 10),
    Tool.make("flaky", { parameters: target, success: Schema.String, failure: Busy, failureMode })
      .annotate(Tool.Idempotent, true)
      .annotate(Annotate.Classify, (error) =>
        error instanceof Busy ? { class: "Overload", retryAfter: error.retryAfter } : undefined
      )
  )
}

type World = Testing.Scripted<ReturnType<typeof toolkitOf>["tools"]>

interface Scene {
  readonly call: CallTool
  readonly tools: World
  readonly services: Context.Context<Interlock.Services>
  /** Every record so far, in the order the calls ended. */
  readonly ended: ReadonlyArray<CallRecord.CallRecord>
}

const scripts = {
  add: (_: number, params: unknown) => {
    const { a, b } = params as { a: number; b: number }
    return Testing.succeed(a + b)
  },
  read_file: Testing.succeed("content"),
  delete_record: Testing.succeed("deleted"),
  github__delete_repo: Testing.succeed("deleted"),
  slow: Testing.succeed("late", "10 minutes"),
  flaky: Testing.succeed("fine")
} satisfies Record<string, Testing.Script>

const scene =
  (
    options: Interlock.Options,
    body: (scene: Scene) => Effect.Effect<boolean, never, Scope.Scope>,
    changes: {
      readonly scripts?: Partial<Record<keyof typeof scripts, Testing.Script>>
      readonly as?: Principal.Principal
    } = {}
  ) =>
  (door: DoorUnderTest, mode: FailureMode): Effect.Effect<boolean> => {
    const toolkit = toolkitOf(mode)
    const tools = Testing.scripted(toolkit, { ...scripts, ...changes.scripts })
    return Effect.gen(function* () {
      const services = yield* Layer.build(Testing.layer(options))
      const ended: Array<CallRecord.CallRecord> = []
      yield* Context.get(services, CallRecord.CallRecorder).add({ onEnd: (record) => ended.push(record) })
      const handlers = yield* Layer.build(tools.layer)
      const call = yield* Effect.provide(door.open(toolkit as never), Context.merge(services, handlers))
      return yield* body({ call, tools, services, ended })
    }).pipe(
      Effect.provideService(Principal.CurrentPrincipal, changes.as ?? ada),
      Effect.scoped,
      Effect.provide(TestClock.layer())
    ) as Effect.Effect<boolean>
  }

const ada = Principal.make({ id: "ada", capabilities: ["read_data"] })
const nobody = Principal.anonymous

/** Refused for want of permission: by the pipeline, or by Effect where the tool is hidden from a model. */
const forbidden = (seen: Seen): boolean => seen.code === "PERMISSION_DENIED" || seen.code === "TOOL_NOT_FOUND"

/** Lets everything that can go on go on. */
const settled = Effect.forEach(Array.from({ length: 50 }), () => Effect.yieldNow, { discard: true })

/** Lets a call run while virtual time passes. */
const inTime = <A>(effect: Effect.Effect<A, never, Scope.Scope>, steps: number, step: string) =>
  Effect.gen(function* () {
    const fiber = yield* Effect.forkChild(effect)
    for (let i = 0; i < steps; i++) {
      yield* settled
      yield* TestClock.adjust(step as never)
    }
    return yield* Fiber.join(fiber)
  })

// --- The laws --------------------------------------------------------------

/** An audit log on a disk that does not answer. */
const failed = Exit.fail(AuditLog.storeError("The disk does not answer.", undefined))
const unwritable = Layer.effect(
  AuditLog.AuditLog,
  AuditLog.make({
    append: () => failed,
    head: failed,
    last: failed,
    read: () => Stream.fromEffect(failed),
    replace: () => failed,
    get: () => failed,
    put: () => failed,
    remove: () => failed,
    names: () => failed
  })
)

const decodesFirst = "Effect decodes the arguments before the guard is asked"

export const laws: ReadonlyArray<Law> = [
  {
    id: "1a",
    title: "Denial by permission outranks validation: a forbidden caller learns nothing of the schema",
    except: { guard: decodesFirst },
    holds: scene(
      {},
      ({ call, ended, tools }) =>
        Effect.map(call("read_file", { wrong: 1 }), (seen) => {
          tools.assertRan("read_file", 0)
          return (
            forbidden(seen) &&
            !seen.text.includes("target") &&
            ended.every((record) => record.status === "permission_denied")
          )
        }),
      { as: nobody }
    )
  },
  {
    id: "1b",
    title: "Denial by policy outranks validation",
    except: { guard: decodesFirst },
    holds: scene({ policy: { deny: ["delete_*"] } }, ({ call, tools }) =>
      Effect.map(call("delete_record", { wrong: 1 }), (seen) => {
        tools.assertRan("delete_record", 0)
        return seen.code === "POLICY_DENIED"
      })
    )
  },
  {
    id: "1c",
    title: "Validation outranks pending confirmation: no malformed call reaches a human",
    except: {},
    holds: scene({ policy: { requireConfirmation: ["delete_*"] } }, ({ call, tools }) =>
      Effect.map(call("delete_record", { target: 5 }), (seen) => {
        tools.assertRan("delete_record", 0)
        return seen.code === "INVALID_PARAMS"
      })
    )
  },
  {
    id: "1d",
    title: "A denied call never runs",
    except: {},
    holds: scene(
      { policy: { deny: ["delete_record"] } },
      ({ call, tools }) =>
        Effect.gen(function* () {
          const byPolicy = yield* call("delete_record", { target: "x" })
          const byPermission = yield* call("read_file", { target: "x" })
          tools.assertRan("delete_record", 0)
          tools.assertRan("read_file", 0)
          return byPolicy.code === "POLICY_DENIED" && forbidden(byPermission)
        }),
      { as: nobody }
    )
  },
  {
    id: "1e",
    title: "A call that needs a human does not run before one was asked",
    except: {},
    holds: scene({ policy: { requireConfirmation: ["delete_*"] } }, ({ call, tools }) =>
      Effect.map(call("delete_record", { target: "x" }), (seen) => {
        tools.assertRan("delete_record", 0)
        return seen.code === "PENDING_CONFIRMATION"
      })
    )
  },
  {
    id: "2a",
    title: "An over-quota call buys no validation",
    except: { guard: decodesFirst },
    holds: scene({ rateLimits: [{ limit: 1, window: "1 hour" }] }, ({ call }) =>
      Effect.gen(function* () {
        const first = yield* call("add", { a: 1, b: 2 })
        const second = yield* call("add", { a: "not a number" })
        return first.succeeded && second.code === "RATE_LIMITED"
      })
    )
  },
  {
    id: "2b",
    title: "Invalid calls are charged",
    except: { guard: decodesFirst },
    holds: scene({ rateLimits: [{ limit: 1, window: "1 hour" }] }, ({ call }) =>
      Effect.gen(function* () {
        const first = yield* call("add", { a: "not a number" })
        const second = yield* call("add", { a: 1, b: 2 })
        return first.code === "INVALID_PARAMS" && second.code === "RATE_LIMITED"
      })
    )
  },
  {
    id: "2c",
    title: "Pending calls are not charged",
    except: {},
    holds: scene(
      { policy: { requireConfirmation: ["delete_*"] }, rateLimits: [{ limit: 1, window: "1 hour" }] },
      ({ call }) =>
        Effect.gen(function* () {
          const first = yield* call("delete_record", { target: "x" })
          const second = yield* call("add", { a: 1, b: 2 })
          return first.code === "PENDING_CONFIRMATION" && second.succeeded
        })
    )
  },
  {
    id: "3a",
    title: "Every call leaves exactly one record, with what its caller was told",
    except: {
      guard: decodesFirst,
      generateText: "Effect refuses names that are not in the toolkit before any handler",
      streamText: "Effect refuses names that are not in the toolkit before any handler",
      mcp: "Effect refuses names that are not registered before any handler"
    },
    holds: scene({ policy: { deny: ["delete_record"] } }, ({ call, ended }) =>
      Effect.gen(function* () {
        yield* call("add", { a: 1, b: 2 })
        yield* call("add", { a: 1 })
        yield* call("delete_record", { target: "x" })
        yield* call("no_such_tool", {})
        const statuses = ended.map((record) => record.status).join()
        return statuses === "success,invalid_params,policy_denied,not_found"
      })
    )
  },
  {
    id: "3b",
    title: "A handler that dies or breaks its own schema is a failure with one record, and no stack is shown",
    except: {},
    holds: scene(
      {},
      ({ call, ended }) =>
        Effect.gen(function* () {
          const died = yield* call("read_file", { target: "x" })
          const broke = yield* call("delete_record", { target: "x" })
          return (
            died.code === "HANDLER_DEFECT" &&
            broke.code === "INVALID_RESULT" &&
            !/secret|\.ts:/.test(died.text.replace(/\n\s+at .*/g, "")) &&
            ended.length === 2 &&
            ended.every((record) => record.status === "failure")
          )
        }),
      { scripts: { read_file: Testing.die(new Error("secret")), delete_record: Testing.succeed(5) } }
    )
  },
  {
    id: "3c",
    title: "Health counts every status, and rates only calls that reached the handler",
    except: {},
    holds: scene({ policy: { deny: ["delete_record"] } }, ({ call, services }) =>
      Effect.gen(function* () {
        yield* call("delete_record", { target: "x" })
        const health = yield* Context.get(services, Health.Health).get("delete_record")
        return health.total === 1 && health.reached === 0 && health.successRate === 1 && health.isHealthy
      })
    )
  },
  {
    id: "4a",
    title: "A retryable error is retried; a declared failure that is the caller's is not",
    except: {},
    holds: scene(
      {},
      ({ call, tools }) =>
        Effect.gen(function* () {
          const seen = yield* inTime(call("flaky", { target: "x" }), 5, "1 second")
          tools.assertRan("flaky", 3)
          return seen.succeeded
        }),
      {
        scripts: {
          flaky: [Testing.fail(new Error("503")), Testing.fail(new Error("503")), Testing.succeed("fine")]
        }
      }
    )
  },
  {
    id: "4b",
    title: "A retry waits for retryAfter",
    except: {},
    holds: scene(
      {},
      ({ call, tools }) =>
        Effect.gen(function* () {
          const fiber = yield* Effect.forkChild(call("flaky", { target: "x" }))
          yield* settled
          yield* TestClock.adjust("59 seconds")
          tools.assertRan("flaky", 1)
          yield* TestClock.adjust("2 seconds")
          const seen = yield* Fiber.join(fiber)
          tools.assertRan("flaky", 2)
          return seen.succeeded
        }),
      { scripts: { flaky: [Testing.fail(new Busy({ retryAfter: 60_000 })), Testing.succeed("fine")] } }
    )
  },
  {
    id: "4c",
    title: "No retry begins that the deadline leaves no time for",
    except: {},
    holds: scene(
      { defaults: { deadline: "30 seconds" } },
      ({ call, ended, tools }) =>
        Effect.gen(function* () {
          yield* inTime(call("flaky", { target: "x" }), 1, "1 second")
          tools.assertRan("flaky", 1)
          return ended[0]?.status === "failure" && ended[0]?.attempts === 1
        }),
      { scripts: { flaky: Testing.fail(new Busy({ retryAfter: 60_000 })) } }
    )
  },
  {
    id: "5a",
    title: "An open circuit lets nobody through, and says why it opened",
    except: {},
    holds: scene(
      { breaker: { trip: CircuitBreaker.consecutive(2) } },
      ({ call, tools }) =>
        Effect.gen(function* () {
          yield* call("read_file", { target: "x" })
          yield* call("read_file", { target: "y" })
          const seen = yield* call("read_file", { target: "z" })
          tools.assertRan("read_file", 2)
          return seen.code === "CIRCUIT_OPEN" && seen.text.includes("2 consecutive failures")
        }),
      { scripts: { read_file: Testing.die("bug") } }
    )
  },
  {
    id: "5b",
    title: "A half-open circuit admits one probe, however many ask",
    except: {},
    holds: scene(
      { breaker: { trip: CircuitBreaker.consecutive(1), openFor: "1 minute" } },
      ({ call, tools }) =>
        Effect.gen(function* () {
          yield* call("read_file", { target: "x" })
          yield* TestClock.adjust("61 seconds")
          const calls = Array.from({ length: 20 }, () => call("read_file", { target: "x" }))
          const fiber = yield* Effect.forkChild(Effect.all(calls, { concurrency: "unbounded" }))
          yield* settled
          yield* TestClock.adjust("2 seconds")
          yield* Fiber.join(fiber)
          tools.assertRan("read_file", 2)
          return true
        }),
      { scripts: { read_file: [Testing.die("bug"), Testing.succeed("fine", "1 second")] } }
    )
  },
  {
    id: "5c",
    title: "Denied, invalid and limited calls are no breaker failures",
    except: {},
    holds: scene(
      { policy: { deny: ["delete_record"] }, breaker: { trip: CircuitBreaker.consecutive(1) } },
      ({ call, services }) =>
        Effect.gen(function* () {
          yield* call("delete_record", { target: "x" })
          yield* call("add", { a: "x" })
          const states = yield* Context.get(services, CircuitBreaker.CircuitBreaker).states
          return [...states.values()].every((state) => state.tag === "Closed")
        })
    )
  },
  {
    id: "6a",
    title: "An interrupted call runs its finalizers, gives back its slot and is recorded as cancelled",
    except: { mcp: "an in-memory client does not carry interruption to the server" },
    holds: scene({ bulkhead: { maxConcurrent: 1 } }, ({ call, ended, services, tools }) =>
      Effect.gen(function* () {
        const fiber = yield* Effect.forkChild(call("slow", { target: "x" }))
        yield* settled
        yield* TestClock.adjust("1 second")
        yield* Fiber.interrupt(fiber)
        tools.assertAllEnded()
        return (
          tools.runs("slow")[0]?.outcome === "interrupted" &&
          ended.length === 1 &&
          ended[0]?.status === "cancelled" &&
          Context.get(services, Bulkhead.Bulkhead).running() === 0
        )
      })
    )
  },
  {
    id: "6b",
    title: "A timeout interrupts the handler and is a result, not an interruption",
    except: {},
    holds: scene({}, ({ call, ended, tools }) =>
      Effect.gen(function* () {
        const seen = yield* inTime(call("slow", { target: "x" }), 2, "20 seconds")
        tools.assertAllEnded()
        return seen.code === "TIMED_OUT" && ended[0]?.status === "timeout"
      })
    )
  },
  {
    id: "7",
    title: "Money is put aside before it is spent: what runs at once is never worth more than the budget",
    except: {},
    holds: scene({ budget: [{ max: 25 }] }, ({ call, services, tools }) =>
      Effect.gen(function* () {
        const calls = Array.from({ length: 5 }, () => call("slow", { target: "x" }))
        const seen = yield* inTime(Effect.all(calls, { concurrency: "unbounded" }), 2, "20 seconds")
        tools.assertRan("slow", 2)
        const standing = yield* Effect.orDie(Context.get(services, Budget.Budget).standing)
        return (
          seen.filter(({ code }) => code === "BUDGET_EXCEEDED").length === 3 &&
          standing.every(({ reserved, settled }) => reserved === 0 && settled === 20)
        )
      })
    )
  },
  {
    id: "8",
    title: "No argument's value is in any record, and no secret of a tool's error is shown",
    except: {},
    holds: scene(
      {},
      ({ call, ended, services }) =>
        Effect.gen(function* () {
          const seen = yield* inTime(call("read_file", { target: "hunter2-secret" }), 5, "1 minute")
          const history = yield* Context.get(services, History.History).recent()
          const kept = JSON.stringify([...ended, ...history].map(CallRecord.toJson))
          return !kept.includes("hunter2") && !seen.text.includes("hunter2") && ended.length === 1
        }),
      { scripts: { read_file: Testing.fail(new Error("cannot open hunter2-secret")) } }
    )
  },
  {
    id: "9",
    title: "Names from outside are hostile: none of them is found by inheritance",
    except: {},
    holds: scene({}, ({ call }) =>
      Effect.gen(function* () {
        for (const name of ["__proto__", "constructor", "toString", "hasOwnProperty", ""]) {
          const seen = yield* call(name, {})
          if (seen.succeeded) return false
        }
        yield* call("add", JSON.parse('{"a":1,"b":2,"__proto__":{"admin":true}}'))
        return !("admin" in {})
      })
    )
  },
  {
    id: "11",
    title: "A glob matches the exposed and the upstream name, without regard to case",
    except: {},
    holds: scene({ policy: { deny: ["DELETE_*"] } }, ({ call, tools }) =>
      Effect.map(call("github__delete_repo", { target: "x" }), (seen) => {
        tools.assertRan("github__delete_repo", 0)
        return seen.code === "POLICY_DENIED"
      })
    )
  },
  {
    id: "12",
    title: "The principal is the calling fiber's, never that of whoever built a layer",
    except: {},
    holds: scene({}, ({ call, tools }) =>
      Effect.gen(function* () {
        const asAda = yield* call("read_file", { target: "x" })
        const asNobody = yield* Effect.provideService(
          call("read_file", { target: "x" }),
          Principal.CurrentPrincipal,
          nobody
        )
        tools.assertRan("read_file", 1)
        return asAda.succeeded && forbidden(asNobody)
      })
    )
  },
  {
    id: "13",
    title: "What a human has granted runs once: the same call made again asks again",
    except: {},
    holds: scene({ policy: { requireConfirmation: ["delete_*"] } }, ({ call, services, tools }) =>
      Effect.gen(function* () {
        const approvals = Context.get(services, Approvals.Approvals)
        const again = call("delete_record", { target: "x" }, "c1")
        const first = yield* again
        for (const { id } of yield* Effect.orDie(approvals.list({ state: "pending" }))) {
          yield* Effect.orDie(approvals.grant(id))
        }
        const second = yield* again
        const third = yield* again
        tools.assertRan("delete_record", 1)
        return (
          first.code === "PENDING_CONFIRMATION" && second.succeeded && third.code === "PENDING_CONFIRMATION"
        )
      })
    )
  },
  {
    id: "14",
    title: "What an operator has stopped is killed, with the reason, until it is lifted",
    except: {},
    holds: scene({}, ({ call, services, tools }) =>
      Effect.gen(function* () {
        const { lift, stop } = Context.get(services, KillSwitch.KillSwitch)
        const target = { scope: "tool", tool: "delete_*" } as const
        const { id } = yield* Effect.orDie(stop(target, { by: "eve", why: "a leak" }))
        const stopped = yield* call("delete_record", { target: "x" })
        const other = yield* call("read_file", { target: "x" })
        tools.assertRan("delete_record", 0)
        yield* Effect.orDie(lift(id, { by: "eve", why: "mended" }))
        const lifted = yield* call("delete_record", { target: "x" })
        tools.assertRan("delete_record", 1)
        return (
          stopped.code === "KILLED" && stopped.text.includes("a leak") && other.succeeded && lifted.succeeded
        )
      })
    )
  },
  {
    id: "15",
    title: "What cannot be written down reaches no destructive handler",
    except: {},
    holds: scene({ audit: unwritable }, ({ call, ended, tools }) =>
      Effect.gen(function* () {
        const destructive = yield* call("delete_record", { target: "x" })
        const harmless = yield* call("read_file", { target: "x" })
        tools.assertRan("delete_record", 0)
        return (
          destructive.code === "UNAVAILABLE" &&
          harmless.succeeded &&
          ended.map(({ status }) => status).join() === "unavailable,success"
        )
      })
    )
  }
]
