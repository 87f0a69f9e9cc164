import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as ErrorReporter from "effect/ErrorReporter"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as fc from "fast-check"
import * as CallRecord from "../src/CallRecord.ts"
import { call, change, end, type LiveRecord, start } from "./support/records.ts"

type Recorder = CallRecord.CallRecorder["Service"]

const withRecorder = <A, E>(use: (recorder: Recorder) => Effect.Effect<A, E, Scope.Scope>) =>
  Effect.scoped(Effect.flatMap(CallRecord.make, use))

/** A sink that writes down what it hears. */
const listening = (heard: Array<string>, name = ""): CallRecord.Sink => ({
  onStart: ({ callId }) => heard.push(`${name}start ${callId}`),
  onChange: ({ callId, status }) => heard.push(`${name}${status} ${callId}`),
  onEnd: ({ callId, status }) => heard.push(`${name}end ${callId} ${status}`)
})

/** What a sink has heard, what it should have, and the calls it saw begin. */
interface Followed {
  readonly heard: Array<string>
  readonly expected: Array<string>
  readonly own: Set<LiveRecord>
}

describe("CallRecorder", () => {
  it.effect("tells every sink what it asks for, in the order they were added", () =>
    withRecorder((recorder) =>
      Effect.gen(function* () {
        const heard: Array<string> = []
        yield* recorder.add(listening(heard, "a "))
        yield* recorder.add({})
        yield* recorder.add({ onEnd: () => heard.push("b end") })
        call(recorder.sink, "success", { callId: "1" })
        assert.deepStrictEqual(heard, ["a start 1", "a running 1", "a end 1 success", "b end"])
      })
    )
  )

  it.effect("calls a sink's methods on the sink", () =>
    withRecorder((recorder) =>
      Effect.gen(function* () {
        class Counting implements CallRecord.Sink {
          ended = 0
          onEnd(): void {
            this.ended += 1
          }
        }
        const counting = new Counting()
        yield* recorder.add(counting)
        call(recorder.sink, "success")
        assert.strictEqual(counting.ended, 1)
      })
    )
  )

  it.effect("goes on behind a sink that throws, and reports it", () =>
    Effect.gen(function* () {
      const reported: Array<string> = []
      const reporter = ErrorReporter.make(({ error }) => reported.push(error.message))
      yield* withRecorder((recorder) =>
        Effect.gen(function* () {
          const heard: Array<string> = []
          const bug = (name: string) => () => {
            heard.push(name)
            throw new Error(name)
          }
          yield* recorder.add({ onStart: bug("first"), onEnd: bug("first") })
          yield* recorder.add(listening(heard))
          yield* recorder.add({ onEnd: bug("middle") })
          yield* recorder.add({ onEnd: bug("last") })
          call(recorder.sink, "success", { callId: "1" })
          assert.deepStrictEqual(heard, [
            "first",
            "start 1",
            "running 1",
            "first",
            "end 1 success",
            "middle",
            "last"
          ])
          yield* Effect.yieldNow
        })
      ).pipe(Effect.provide(ErrorReporter.layer([reporter])))
      assert.deepStrictEqual(reported, ["first", "first", "middle", "last"])
    })
  )

  it.effect("follows a sink for as long as its scope is open", () =>
    withRecorder((recorder) =>
      Effect.gen(function* () {
        const heard: Array<string> = []
        const scope = yield* Scope.make()
        yield* Scope.provide(recorder.add(listening(heard, "short ")), scope)
        yield* recorder.add({ onStart: ({ callId }) => heard.push(`long ${callId}`) })
        start(recorder.sink, { callId: "1" })
        yield* Scope.close(scope, Exit.void)
        start(recorder.sink, { callId: "2" })
        assert.deepStrictEqual(heard, ["short start 1", "long 1", "long 2"])
      })
    )
  )

  it.effect("streams records when their calls end", () =>
    withRecorder((recorder) =>
      Effect.gen(function* () {
        const fiber = yield* recorder.records.pipe(
          Stream.map(({ callId }) => callId),
          Stream.take(2),
          Stream.runCollect,
          Effect.forkChild({ startImmediately: true })
        )
        yield* Effect.yieldNow
        const first = start(recorder.sink, { callId: "1" })
        call(recorder.sink, "success", { callId: "2" })
        end(recorder.sink, first, "Cancelled")
        assert.deepStrictEqual(yield* Fiber.join(fiber), ["2", "1"])
      })
    )
  )

  it.effect("tells a sink of whole calls only of those it saw begin, whenever it was added", () =>
    Effect.promise(() =>
      fc.assert(
        fc.asyncProperty(
          fc.array(fc.oneof(fc.constantFrom("start", "add", "change"), fc.nat(8)), { maxLength: 60 }),
          (steps) =>
            Effect.runPromise(
              withRecorder((recorder) =>
                Effect.gen(function* () {
                  const live: Array<LiveRecord> = []
                  const sinks: Array<Followed> = []
                  let made = 0
                  for (const step of steps) {
                    const told = (record: LiveRecord, what: string) => {
                      for (const { expected, own } of sinks) if (own.has(record)) expected.push(what)
                    }
                    if (step === "add") {
                      const sink: Followed = { heard: [], expected: [], own: new Set() }
                      sinks.push(sink)
                      yield* recorder.add({ ...listening(sink.heard), whole: true })
                    } else if (step === "start") {
                      const record = start(recorder.sink, { callId: `${++made}` })
                      live.push(record)
                      for (const { own } of sinks) own.add(record)
                      told(record, `start ${made}`)
                    } else if (step === "change") {
                      for (const record of live) {
                        change(recorder.sink, record, "running")
                        told(record, `running ${record.callId}`)
                      }
                    } else {
                      const [record] = live.splice(step, 1)
                      if (record === undefined) continue
                      end(recorder.sink, record, "success")
                      told(record, `end ${record.callId} success`)
                    }
                  }
                  for (const { expected, heard } of sinks) assert.deepStrictEqual(heard, expected)
                })
              )
            )
        ),
        { numRuns: 300 }
      )
    )
  )
})
