/** Lambda functions as tools, against a process that speaks the Invoke API. */
import { once } from "node:events"
import { connect } from "node:net"
import { assert, describe, layer } from "@effect/vitest"
import { Context, Duration, Effect, Fiber, Layer, Redacted, Schedule, Schema } from "effect"
import { Tool } from "effect/ai"
import {
  CircuitBreaker,
  type Interlock,
  Principal,
  Retry,
  Telemetry,
  ToolAnnotations,
  type ToolCall,
  ToolExecutor,
  type ToolResult,
  type Toolset
} from "effect-interlock"
import * as Testing from "effect-interlock/testing"
import { Lambda } from "effect-interlock/toolbox"
import { EverySink } from "./support/everySink.ts"
import { keys, type Message, type Reply, type Seen, type Step } from "./support/lambdaServer.ts"
import { type ServerProcess, start } from "./support/serverProcess.ts"

class Server extends Context.Service<Server, ServerProcess<Message, Reply>>()("test/LambdaServer") {
  static readonly layer = Layer.effect(Server, start<Message, Reply>("./lambdaServer.ts"))
}

const connectionTo = (port: number): Lambda.Connection => ({
  region: keys.region,
  endpoint: `http://127.0.0.1:${port}`,
  credentials: {
    accessKeyId: keys.accessKeyId,
    secretAccessKey: Redacted.make(keys.secretAccessKey),
    sessionToken: Redacted.make("session-token-of-the-test")
  }
})

const City = Schema.Struct({ city: Schema.String })
const Weather = Schema.Struct({ celsius: Schema.Number })

const weather = Lambda.define({
  name: "weather",
  functionName: "prod-weather",
  description: "The weather in a city.",
  parameters: City,
  success: Weather
})

const ada = Principal.make({ id: "ada", capabilities: ["*"] })

const quick = Retry.make({ schedule: Schedule.exponential("1 millis") })

/** An executor over a toolset, and one over functions of the server, which is told first what they answer. */
const executorOf = (toolset: Toolset.Any<unknown>, options: Interlock.Options = {}) =>
  Effect.gen(function* () {
    const services = yield* Layer.build(Testing.layer({ defaults: { retry: quick }, ...options }))
    const handlers = yield* Layer.build(toolset.layer)
    const executor = yield* Effect.provide(
      ToolExecutor.make(toolset.toolkit),
      Context.merge(services, handlers as Context.Context<never>)
    )
    return {
      services,
      execute: (call: ToolCall) => Principal.provide(executor.execute(call) as Effect.Effect<ToolResult>, ada)
    }
  })

const scene = (
  script: Readonly<Record<string, ReadonlyArray<Step>>>,
  definitions: ReadonlyArray<Lambda.Definition> = [weather],
  options: Interlock.Options = {}
) =>
  Effect.gen(function* () {
    const server = yield* Server
    yield* server.tell({ script })
    const world = yield* executorOf(Lambda.make(definitions, connectionTo(server.port)), options)
    return {
      ...world,
      server,
      seen: Effect.map(server.tell({ ask: "seen" }), (seen) => seen as ReadonlyArray<Seen>)
    }
  })

const ask = { tool: "weather", params: { city: "Oslo" } }
const answered: Step = {
  payload: { success: true, result: { celsius: 4 }, tool_name: "x", execution_time_ms: 12.5 }
}

const failureOf = (result: ToolResult) => {
  const reason = result.error?.reason
  return reason?._tag === "ToolFailed" ? (reason.failure as typeof Lambda.LambdaError.Encoded) : undefined
}

/** The tool's annotations, for a function that may be run again. */
const readonly = Context.make(Tool.Readonly, true)

layer(Server.layer, { excludeTestServices: true })("Lambda", (it) => {
  describe("a call", () => {
    it.effect("sends its arguments as the event, signed, and gives the result", () =>
      Effect.gen(function* () {
        const { execute, seen } = yield* scene({ "prod-weather": [answered] })
        const result = yield* execute({ ...ask, idempotencyKey: "once", deadline: Date.now() + 60_000 })
        assert.strictEqual(result.status, "success")
        assert.deepStrictEqual(result.value, { celsius: 4 })
        const [request, ...more] = yield* seen
        assert.strictEqual(more.length, 0)
        assert.isTrue(request?.signed)
        assert.strictEqual(request?.sessionToken, "session-token-of-the-test")
        assert.strictEqual(request?.invocationType, "RequestResponse")
        assert.deepStrictEqual(request?.event, { city: "Oslo" })
        const { custom } = request!.context as { custom: Record<string, unknown> }
        assert.deepStrictEqual(
          { ...custom, deadline: typeof custom["deadline"] },
          { tool_name: "weather", attempt: 1, idempotency_key: "once", deadline: "number" }
        )
      })
    )

    it.effect(
      "names a version, sends an envelope to a function of several tools, and takes no other tool's answer",
      () =>
        Effect.gen(function* () {
          const { execute, seen } = yield* scene(
            {
              "arn:aws:lambda:eu-test-1:123456789012:function:tools": [
                { payload: { success: true, result: { celsius: 5 }, tool_name: "weather", error: null } },
                { payload: { success: true, result: { celsius: 5 }, tool_name: "payroll" } }
              ]
            },
            [
              {
                ...weather,
                functionName: "arn:aws:lambda:eu-test-1:123456789012:function:tools",
                qualifier: "live",
                envelope: true
              }
            ]
          )
          assert.deepStrictEqual((yield* execute(ask)).value, { celsius: 5 })
          const other = yield* execute(ask)
          assert.strictEqual(failureOf(other)?.reason, "invalid_response")
          const [request] = yield* seen
          assert.strictEqual(request?.qualifier, "live")
          assert.deepStrictEqual(request?.event, { tool_name: "weather", arguments: { city: "Oslo" } })
        })
    )

    it.effect("is typed by its function's schemas", () =>
      Effect.gen(function* () {
        const server = yield* Server
        yield* server.tell({ script: { "prod-weather": [answered, { payload: { success: false } }] } })
        const toolset = Lambda.make([weather], connectionTo(server.port))
        const services = yield* Layer.build(Layer.merge(toolset.layer, Testing.layer()))
        const executor = yield* Effect.provide(ToolExecutor.make(toolset.toolkit), services)
        const call = Principal.provide(executor.run("weather", { city: "Oslo" }), ada)
        const celsius: number = (yield* call).celsius
        assert.strictEqual(celsius, 4)
        const error = yield* Effect.flip(call)
        assert.strictEqual(error._tag === "LambdaError" ? error.reason : error._tag, "rejected")
      })
    )

    it.effect("decodes what JSON cannot say, both ways", () =>
      Effect.gen(function* () {
        const { execute, seen } = yield* scene(
          { when: [{ payload: { success: true, result: { at: "2026-01-02T00:00:00.000Z" } } }] },
          [
            {
              name: "when",
              functionName: "when",
              description: "d",
              parameters: Schema.Struct({
                from: Schema.DateTimeUtcFromString,
                pin: Schema.RedactedFromValue(Schema.String)
              }),
              success: Schema.Struct({ at: Schema.DateTimeUtcFromString })
            }
          ]
        )
        const result = yield* execute({ tool: "when", params: { from: "2026-01-01T00:00:00Z", pin: "1234" } })
        assert.deepStrictEqual(result.value, { at: "2026-01-02T00:00:00.000Z" })
        assert.deepStrictEqual((yield* seen)[0]?.event, { from: "2026-01-01T00:00:00.000Z", pin: "1234" })
      })
    )

    it.effect("takes a bare result where that is wanted, and only there", () =>
      Effect.gen(function* () {
        const bare: Step = { payload: { celsius: 6 } }
        const script = { strict: [bare], tolerant: [bare, answered, { text: "" }], nothing: [{ text: "" }] }
        const { execute } = yield* scene(script, [
          { ...weather, name: "strict", functionName: "strict" },
          { ...weather, name: "tolerant", functionName: "tolerant", bareResult: true },
          { ...weather, name: "nothing", functionName: "nothing", bareResult: true, success: Schema.Null }
        ])
        const call = (tool: string) => execute({ tool, params: { city: "Oslo" } })
        const refused = yield* call("strict")
        assert.strictEqual(refused.error?.class, "Defect")
        assert.include(failureOf(refused)?.message, 'it has no field "success"')
        assert.deepStrictEqual((yield* call("tolerant")).value, { celsius: 6 })
        assert.deepStrictEqual((yield* call("tolerant")).value, { celsius: 4 })
        assert.strictEqual((yield* call("nothing")).value, null)
      })
    )

    it.effect("refuses answers that are not what was agreed, whatever they are", () =>
      Effect.gen(function* () {
        const steps: ReadonlyArray<Step> = [
          { text: "<html>" },
          { text: "" },
          { payload: 7 },
          { payload: [true] },
          { payload: { success: "yes", result: { celsius: 1 } } },
          { payload: { success: true, result: { celsius: "warm" } } },
          { payload: { success: true } },
          { payload: { success: true, result: { celsius: 1 }, execution_time_ms: "12" } },
          { text: '{"__proto__":{"success":true,"result":{"celsius":1}}}' }
        ]
        const { execute, seen } = yield* scene({ "prod-weather": steps }, [weather], {
          breaker: { trip: CircuitBreaker.consecutive(100) }
        })
        for (const step of steps) {
          const result = yield* execute(ask)
          assert.strictEqual(failureOf(result)?.reason, "invalid_response", JSON.stringify(step))
          assert.strictEqual(result.error?.class, "Defect")
        }
        assert.strictEqual((yield* seen).length, steps.length)
      })
    )
  })

  describe("a failure", () => {
    type Case = readonly [
      step: Step,
      reason: Lambda.LambdaError["reason"],
      errorClass: string,
      attempts: 1 | 2
    ]
    const cases: ReadonlyArray<Case> = [
      // The function says so itself.
      [{ payload: { success: false, error: "no such city" } }, "rejected", "Caller", 1],
      [
        { payload: { success: false, error: { type: "Unknown", message: "no such city" } } },
        "rejected",
        "Caller",
        1
      ],
      [{ payload: { success: false } }, "rejected", "Caller", 1],
      // The runtime does.
      [
        {
          functionError: "Unhandled",
          payload: { errorType: "ValueError", errorMessage: "x", stackTrace: ["y"] }
        },
        "function_error",
        "Retryable",
        2
      ],
      [{ functionError: "Handled", payload: { errorMessage: "x" } }, "function_error", "Retryable", 2],
      [{ functionError: "Unhandled", text: "not JSON" }, "function_error", "Retryable", 2],
      [
        {
          functionError: "Unhandled",
          payload: {
            errorType: "Sandbox.Timedout",
            errorMessage: "RequestId: 1 Error: Task timed out after 3.00 seconds"
          }
        },
        "timed_out",
        "Retryable",
        1
      ],
      [
        {
          functionError: "Unhandled",
          payload: { errorMessage: "2026-11-20T10:00:00.000Z 1 Task timed out after 3.00 seconds" }
        },
        "timed_out",
        "Retryable",
        1
      ],
      [
        {
          functionError: "Unhandled",
          payload: {
            errorType: "Runtime.OutOfMemory",
            errorMessage: "RequestId: 1 Error: Runtime exited with error: signal: killed"
          }
        },
        "crashed",
        "Retryable",
        1
      ],
      [
        {
          functionError: "Unhandled",
          payload: {
            errorType: "Runtime.ExitError",
            errorMessage: "RequestId: 1 Error: Runtime exited with error: exit status 1"
          }
        },
        "crashed",
        "Retryable",
        1
      ],
      [
        {
          functionError: "Unhandled",
          payload: { errorMessage: "RequestId: 1 Process exited before completing request" }
        },
        "crashed",
        "Retryable",
        1
      ],
      [
        {
          functionError: "Unhandled",
          payload: { errorType: "Runtime.ImportModuleError", errorMessage: "Cannot find module" }
        },
        "function_broken",
        "Defect",
        1
      ],
      [
        {
          functionError: "Unhandled",
          payload: { errorType: "Function.ResponseSizeTooLarge", errorMessage: "x" }
        },
        "result_too_large",
        "Caller",
        1
      ],
      // Lambda does, before the function ran.
      [{ status: 429, type: "TooManyRequestsException" }, "throttled", "Overload", 2],
      [{ status: 429, text: "slow down" }, "throttled", "Overload", 2],
      [{ status: 502, type: "EC2ThrottledException" }, "throttled", "Overload", 2],
      [{ status: 502, type: "ResourceNotReadyException" }, "not_ready", "Retryable", 2],
      [{ status: 409, type: "ResourceConflictException" }, "not_ready", "Retryable", 2],
      [{ status: 409, type: "SnapStartNotReadyException" }, "not_ready", "Retryable", 2],
      [{ status: 502, type: "EC2UnexpectedException" }, "not_ready", "Retryable", 2],
      [{ status: 502, type: "ENILimitReachedException" }, "not_ready", "Retryable", 2],
      [{ status: 408, type: "EFSMountTimeoutException" }, "not_ready", "Retryable", 2],
      [{ status: 404, type: "ResourceNotFoundException" }, "misconfigured", "Defect", 1],
      [{ status: 400, type: "InvalidParameterValueException" }, "misconfigured", "Defect", 1],
      [{ status: 400, type: "InvalidRequestContentException" }, "misconfigured", "Defect", 1],
      [{ status: 502, type: "KMSDisabledException" }, "misconfigured", "Defect", 1],
      [{ status: 502, type: "InvalidSubnetIDException" }, "misconfigured", "Defect", 1],
      [{ status: 502, type: "KMSAccessDeniedException" }, "denied", "Defect", 1],
      [{ status: 502, type: "EC2AccessDeniedException" }, "denied", "Defect", 1],
      [{ status: 403, type: "AccessDeniedException" }, "denied", "Defect", 1],
      [
        { status: 403, type: "ExpiredTokenException:http://internal.amazon.com/coral" },
        "denied",
        "Defect",
        1
      ],
      [{ status: 403, text: "<html>no</html>" }, "denied", "Defect", 1],
      [{ status: 413, type: "RequestTooLargeException" }, "too_large", "Caller", 1],
      [{ status: 413, text: "<html>too large</html>" }, "too_large", "Caller", 1],
      // Nobody knows.
      [{ status: 500, type: "ServiceException" }, "service_failed", "Retryable", 1],
      [{ status: 503, text: "<html>unavailable</html>" }, "service_failed", "Retryable", 1],
      [{ status: 502, type: "BrandNewException" }, "service_failed", "Retryable", 1],
      ["reset", "connection_lost", "Retryable", 1],
      ["cut", "connection_lost", "Retryable", 1]
    ]

    it.effect(
      "is classified, and tried again only where the function has surely not run to an unknown end",
      () =>
        Effect.gen(function* () {
          const named = (index: number) => ({ ...weather, name: `f${index}`, functionName: `f${index}` })
          const { execute, seen } = yield* scene(
            Object.fromEntries(cases.map(([step], index) => [`f${index}`, [step]])),
            cases.map((_, index) => named(index))
          )
          for (const [index, [step, reason, errorClass, attempts]] of cases.entries()) {
            const what = `${index} ${JSON.stringify(step)}`
            const result = yield* execute({ tool: `f${index}`, params: { city: "Oslo" }, retries: 1 })
            assert.strictEqual(failureOf(result)?.reason, reason, what)
            assert.strictEqual(result.error?.class, errorClass, what)
            assert.strictEqual(result.attempts, attempts, what)
            const requests = (yield* seen).filter((request) => request.function === `f${index}`)
            // One request an attempt: nobody below the pipeline tries again.
            assert.strictEqual(requests.length, attempts, what)
          }
        })
    )

    it.effect("of unknown outcome is tried again where that does no harm, with the same key", () =>
      Effect.gen(function* () {
        const script = { lost: ["reset", answered], safe: ["reset", answered] } as const
        const { execute, seen } = yield* scene(script, [
          { ...weather, name: "lost", functionName: "lost" },
          { ...weather, name: "safe", functionName: "safe", annotations: { readonly: true } }
        ])
        const keyed = yield* execute({ tool: "lost", params: { city: "Oslo" }, idempotencyKey: "k" })
        assert.deepStrictEqual([keyed.status, keyed.attempts], ["success", 2])
        const safe = yield* execute({ tool: "safe", params: { city: "Oslo" } })
        assert.deepStrictEqual([safe.status, safe.attempts], ["success", 2])
        const contexts = (yield* seen).map(({ context }) => (context as { custom: object }).custom)
        assert.deepStrictEqual(contexts.slice(0, 2), [
          { tool_name: "lost", attempt: 1, idempotency_key: "k" },
          { tool_name: "lost", attempt: 2, idempotency_key: "k" }
        ])
      })
    )

    it.effect("tells when to come back", () =>
      Effect.gen(function* () {
        const step: Step = { status: 429, type: "TooManyRequestsException", headers: { "retry-after": "7" } }
        const { execute } = yield* scene({ "prod-weather": [step] })
        const { error } = yield* execute({ ...ask, deadline: Date.now() + 3000 })
        assert.strictEqual(error?.retryAfter && Duration.toSeconds(error.retryAfter), 7)
      })
    )

    it.effect("opens the circuit where the function is at fault, and not where the caller is", () =>
      Effect.gen(function* () {
        const options = { breaker: { trip: CircuitBreaker.consecutive(2) } }
        const script = { "prod-weather": [{ status: 404, type: "ResourceNotFoundException" }] }
        const broken = yield* scene(script, [weather], options)
        const statuses = [
          (yield* broken.execute(ask)).status,
          (yield* broken.execute(ask)).status,
          (yield* broken.execute(ask)).status
        ]
        assert.deepStrictEqual(statuses, ["failure", "failure", "circuit_open"])
        const refusing = yield* scene(
          { "prod-weather": [{ payload: { success: false } }] },
          [weather],
          options
        )
        for (let i = 0; i < 3; i++) assert.strictEqual((yield* refusing.execute(ask)).status, "failure")
        const states = yield* Context.get(refusing.services, CircuitBreaker.CircuitBreaker).states
        assert.notStrictEqual(states.get("weather")?.tag, "Open")
      })
    )

    it.effect(
      "says what the function says where it speaks to its caller, and what an exception says only if told to",
      () =>
        Effect.gen(function* () {
          const exception: Step = {
            functionError: "Unhandled",
            payload: {
              errorType: "ValueError",
              errorMessage: "city must be ASCII",
              stackTrace: ["/var/task/a.py"]
            }
          }
          const { execute } = yield* scene(
            {
              polite: [{ payload: { success: false, error: { type: "NoCity", message: "no such city" } } }],
              quiet: [exception],
              loud: [exception]
            },
            [
              { ...weather, name: "polite", functionName: "polite" },
              { ...weather, name: "quiet", functionName: "quiet" },
              { ...weather, name: "loud", functionName: "loud", showErrors: true }
            ]
          )
          const call = (tool: string) =>
            Effect.map(execute({ tool, params: { city: "Oslo" }, retries: 0 }), failureOf)
          assert.deepStrictEqual(yield* call("polite"), {
            _tag: "LambdaError",
            reason: "rejected",
            message: "The function refused the call: no such city",
            errorType: "NoCity",
            requestId: "req-1"
          })
          const quiet = yield* call("quiet")
          assert.strictEqual(quiet?.message, "The function ended with an error that it did not handle.")
          assert.strictEqual(quiet?.errorType, "ValueError")
          const loud = yield* call("loud")
          assert.include(loud?.message, "city must be ASCII")
          assert.notInclude(JSON.stringify(loud), "/var/task")
        })
    )
  })

  describe("what cannot be reached", () => {
    const elsewhere = connectionTo(1)

    it.effect("is unreachable, and tried again", () =>
      Effect.gen(function* () {
        const { execute } = yield* executorOf(Lambda.make([weather], elsewhere))
        const result = yield* execute({ ...ask, retries: 1 })
        assert.deepStrictEqual([failureOf(result)?.reason, result.attempts], ["unreachable", 2])
      })
    )

    it.effect("is not waited for longer than it may take to connect", () =>
      Effect.gen(function* () {
        const { port } = yield* start("./deafServer.ts")
        // Its queue: a few connections are taken by the system, the next is not.
        const waiting = yield* Effect.acquireRelease(
          Effect.sync(() =>
            Array.from({ length: 8 }, () => connect(port, "127.0.0.1").on("error", () => {}))
          ),
          (sockets) =>
            Effect.sync(() => {
              for (const socket of sockets) socket.destroy()
            })
        )
        yield* Effect.promise(() => once(waiting[0]!, "connect"))
        const { execute } = yield* executorOf(
          Lambda.make([weather], { ...connectionTo(port), connectTimeout: "200 millis" })
        )
        const result = yield* execute({ ...ask, retries: 0 })
        assert.strictEqual(failureOf(result)?.reason, "unreachable")
      })
    )

    it.effect("is run here where a fallback is given, and the result is degraded", () =>
      Effect.gen(function* () {
        const toolset = Lambda.make(
          [Lambda.define({ ...weather, fallback: ({ city }) => Effect.succeed({ celsius: city.length }) })],
          elsewhere
        )
        const { execute } = yield* executorOf(toolset, { breaker: { trip: CircuitBreaker.consecutive(1) } })
        const first = yield* execute({ ...ask, retries: 0 })
        assert.deepStrictEqual([first.status, first.value], ["degraded", { celsius: 4 }])
        assert.strictEqual(first.error?.code, "TOOL_FAILED")
        const second = yield* execute(ask)
        assert.deepStrictEqual([second.status, second.error?.code], ["degraded", "CIRCUIT_OPEN"])
      })
    )

    it.effect("stays under the policies of the function's tool when it runs here", () =>
      Effect.gen(function* () {
        const toolset = Lambda.make(
          [Lambda.define({ ...weather, fallback: () => ({ celsius: 1 }) })],
          elsewhere
        )
        const direct = { tool: "weather_direct", params: { city: "Oslo" } }
        const denied = yield* executorOf(toolset, { policy: { deny: ["weather"] } })
        assert.strictEqual((yield* denied.execute(direct)).status, "policy_denied")
        const asked = yield* executorOf(toolset, { policy: { requireConfirmation: ["weather"] } })
        assert.strictEqual((yield* asked.execute(direct)).status, "pending_confirmation")
      })
    )

    it.effect("is not run here once the function has run, or may have", () =>
      Effect.gen(function* () {
        const ran: Array<string> = []
        const fallback = (name: string, annotations: Context.Context<never> = Context.empty()) =>
          Lambda.define({
            ...weather,
            name,
            functionName: name,
            annotations,
            fallback: () => {
              ran.push(name)
              return { celsius: 0 }
            }
          })
        const { execute } = yield* scene(
          {
            refuses: [{ payload: { success: false, error: "not yours" } }],
            fails: [{ functionError: "Unhandled", payload: { errorType: "E" } }],
            lost: ["reset"],
            lostOnce: ["reset", { status: 429, type: "TooManyRequestsException" }],
            hangs: ["hang"],
            large: [{ status: 413, type: "RequestTooLargeException" }],
            throttled: [{ status: 429, type: "TooManyRequestsException" }],
            lostReading: ["reset"],
            refusesReading: [{ payload: { success: false } }]
          },
          [
            fallback("refuses"),
            fallback("fails"),
            fallback("lost"),
            fallback("lostOnce"),
            fallback("hangs"),
            fallback("large"),
            fallback("throttled"),
            fallback("lostReading", readonly),
            fallback("refusesReading", readonly)
          ]
        )
        const call = (tool: string, more: object = {}) =>
          Effect.map(execute({ tool, params: { city: "Oslo" }, retries: 1, ...more }), ({ status }) => status)
        assert.strictEqual(yield* call("refuses"), "failure")
        assert.strictEqual(yield* call("fails"), "failure")
        assert.strictEqual(yield* call("lost"), "failure")
        // With a key it is tried again: what the first attempt did is unknown all the same.
        assert.strictEqual(yield* call("lostOnce", { idempotencyKey: "k" }), "failure")
        assert.strictEqual(yield* call("hangs", { timeout: 200 }), "timeout")
        assert.strictEqual(yield* call("large"), "failure")
        assert.strictEqual(yield* call("refusesReading"), "failure")
        assert.deepStrictEqual(ran, [])
        assert.strictEqual(yield* call("throttled"), "degraded")
        assert.strictEqual(yield* call("lostReading"), "degraded")
        assert.deepStrictEqual(ran, ["throttled", "lostReading"])
      })
    )
  })

  it.effect("closes the connection of a call that is interrupted", () =>
    Effect.gen(function* () {
      const { execute, server } = yield* scene({ "prod-weather": ["hang"] })
      const fiber = yield* Effect.forkChild(execute(ask))
      yield* server.tell({ held: "prod-weather" })
      yield* Fiber.interrupt(fiber)
      // The server sees it go; without an abort this would wait for ever.
      yield* server.tell({ gone: "prod-weather" })
    })
  )

  it.effect("asks a human where the policy wants so, and runs nothing until then", () =>
    Effect.gen(function* () {
      const annotations = Context.make(Tool.Destructive, true) as Context.Context<never>
      const { execute, seen } = yield* scene({ "prod-weather": [answered] }, [{ ...weather, annotations }], {
        policy: { requireConfirmation: ["weather"] }
      })
      assert.strictEqual((yield* execute(ask)).status, "pending_confirmation")
      assert.strictEqual((yield* seen).length, 0)
    })
  )

  it.effect("needs external_api unless its annotations say otherwise", () =>
    Effect.gen(function* () {
      const other = {
        ...weather,
        name: "other",
        annotations: Context.make(ToolAnnotations.Capabilities, ["read_data"])
      }
      const { toolkit } = Lambda.make([weather, other as typeof weather])
      const capabilities = Object.values(toolkit.tools).map((tool) => ToolAnnotations.read(tool).capabilities)
      assert.deepStrictEqual(capabilities, [["external_api"], ["read_data"]])
    })
  )

  describe("data", () => {
    const data = {
      region: keys.region,
      connectTimeout: "2 seconds",
      functions: [
        {
          name: "weather",
          functionName: "prod-weather",
          description: "The weather in a city.",
          parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
          success: {
            type: "object",
            properties: { celsius: { $ref: "#/$defs/t" } },
            required: ["celsius"],
            $defs: { t: { type: "number" } }
          },
          annotations: { readonly: true, capabilities: ["read_data"], timeout: "10 seconds", retries: 2 }
        },
        {
          name: "any",
          functionName: "any",
          description: "Anything.",
          parameters: { type: "object" },
          bareResult: true
        }
      ]
    }

    it.effect("makes the same tools, with JSON Schemas for both directions", () =>
      Effect.gen(function* () {
        const server = yield* Server
        yield* server.tell({
          script: {
            "prod-weather": [answered, { payload: { success: true, result: { celsius: "4" } } }],
            any: [{ text: '"text"' }]
          }
        })
        const options = yield* Schema.decodeUnknownEffect(Lambda.Options)(data)
        const toolset = Lambda.fromOptions({ ...options, ...connectionTo(server.port) })
        const { execute } = yield* executorOf(toolset)
        assert.deepStrictEqual((yield* execute(ask)).value, { celsius: 4 })
        assert.strictEqual(failureOf(yield* execute(ask))?.reason, "invalid_response")
        assert.strictEqual(
          (yield* execute({ tool: "weather", params: { town: "Oslo" } })).status,
          "invalid_params"
        )
        assert.strictEqual((yield* execute({ tool: "any", params: { x: 1 } })).value, "text")
        const { successSchema } = toolset.toolkit.tools["weather"] as Tool.Any
        assert.deepStrictEqual(
          Tool.getJsonSchemaFromSchema(successSchema),
          data.functions[0]?.success as never
        )
        const facts = ToolAnnotations.read(toolset.toolkit.tools["weather"] as Tool.Any)
        assert.deepStrictEqual([facts.readonly, facts.capabilities], [true, ["read_data"]])
      })
    )

    it.effect("with a secret in it is refused", () =>
      Effect.gen(function* () {
        const credentials = { accessKeyId: "A", secretAccessKey: "plain text" }
        const error = yield* Effect.flip(Schema.decodeUnknownEffect(Lambda.Options)({ ...data, credentials }))
        assert.include(error.message, "secretAccessKey")
        assert.notInclude(error.message, "plain text")
      })
    )

    it.effect("that makes no sense is refused where it is given", () =>
      Effect.sync(() => {
        assert.throws(() => Lambda.make([weather], { connectTimeout: "0 seconds" }), /Lambda: connectTimeout/)
        assert.throws(() => Lambda.make([{ ...weather, success: { $dynamicRef: "#x" } }]))
        const fallback = Lambda.define({ ...weather, fallback: () => ({ celsius: 0 }) })
        assert.throws(() => Lambda.make([weather, weather]), /two tools would be named "weather"/)
        assert.throws(
          () => Lambda.make([fallback, { ...weather, name: "weather_direct" }]),
          /"weather_direct"/
        )
      })
    )
  })

  it.effect("lets no credential, and nothing of a function's log, come out anywhere", () =>
    Effect.gen(function* () {
      const sink = new EverySink()
      const secrets = [
        keys.secretAccessKey,
        "session-token-of-the-test",
        "log-of-the-function",
        "secret-of-the-exception"
      ]
      yield* Effect.gen(function* () {
        const { execute, services } = yield* scene(
          {
            "prod-weather": [
              answered,
              {
                functionError: "Unhandled",
                payload: { errorType: "E", errorMessage: "secret-of-the-exception" }
              },
              { status: 403, type: "AccessDeniedException", text: "secret-of-the-exception" },
              "reset"
            ]
          },
          [{ ...weather, annotations: readonly }],
          { telemetry: Telemetry.layer }
        )
        yield* sink.listen(services)
        for (let i = 0; i < 4; i++) sink.note("ToolResult.ts", yield* execute({ ...ask, retries: 0 }))
        yield* sink.look(services)
      }).pipe(sink.around)
      assert.includeMembers([...sink.spoken], ["ToolResult.ts", "History.ts", "audit", "span"])
      for (const channel of sink.spoken) {
        for (const text of sink.texts(channel)) {
          for (const secret of secrets) assert.notInclude(text, secret, channel)
        }
      }
    })
  )
})
