/**
 * Runs the calls of a stream, some at a time, and gives their results in the
 * order of the calls.
 *
 * What runs, or has ended and waits for its turn, is in one window. The window is
 * an array: calls that come to a `Set` or a linked list and leave it again stay
 * reachable from its discarded parts until a major collection.
 */
import { isReadonlyArrayNonEmpty, type NonEmptyReadonlyArray } from "effect/Array"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import type * as Pull from "effect/Pull"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Pipeline } from "../Pipeline.ts"
import type { ToolResult } from "../ToolResult.ts"
import { type BatchRequest, batchRequestOf } from "./request.ts"
import { interruptAll, Started, type Starter, startsPerTurn } from "./startCall.ts"

export interface StreamOptions {
  readonly concurrency: number
  readonly stops: (call: BatchRequest, result: ToolResult) => boolean
}

/** Ends with the result that stops it, if one does; what else runs is interrupted then. */
export const runStream = <E, R>(
  pipeline: Pipeline,
  calls: Stream.Stream<unknown, E, R>,
  { concurrency, stops }: StreamOptions
): Stream.Stream<ToolResult, E, R> =>
  Stream.transformPullBracket(
    calls,
    Effect.fnUntraced(function* (pull, _, scope) {
      const context = yield* Effect.context<R>()
      const window: Array<Started<BatchRequest>> = []
      let started = 0
      let stoppedBy: ToolResult | undefined
      let finished: Exit.Exit<never, E | Cause.Done> | undefined
      // Who waits: the reader for room in the window, the stream for its first result.
      let onRoom: (() => void) | undefined
      let onResult: (() => void) | undefined

      yield* Scope.addFinalizer(
        scope,
        Effect.suspend(() => {
          interruptAll([...window])
          const left = window.flatMap(({ fiber }) => (fiber === undefined ? [] : [fiber]))
          return Effect.asVoid(Fiber.awaitAll(left))
        })
      )

      const starter: Starter<BatchRequest> = {
        told: (call, result) => {
          if (stoppedBy !== undefined || !stops(call.of, result)) return
          stoppedBy = result
          // A copy: what ends at once may be taken out of the window meanwhile.
          interruptAll([...window])
        },
        over: (call) => {
          if (window[0] === call) onResult?.()
        }
      }
      const begin = (request: BatchRequest): void => {
        const call = new Started(starter, request)
        window.push(call)
        call.start(pipeline, context, { ...request.request, member: call })
      }

      const room = Effect.callback<void>((resume) => {
        onRoom = () => resume(Exit.void)
        if (window.length < concurrency) onRoom()
      })
      const beginAll = Effect.fnUntraced(function* (chunk: ReadonlyArray<unknown>) {
        for (const call of chunk) {
          if (++started % startsPerTurn === 0) yield* Effect.yieldNow
          while (window.length >= concurrency) yield* room
          if (stoppedBy !== undefined) return yield* Effect.never
          begin(batchRequestOf(call))
        }
      })
      yield* Effect.flatMap(pull, beginAll).pipe(
        Effect.forever({ disableYield: true }),
        Effect.onExit((exit) =>
          Effect.sync(() => {
            finished = exit
            onResult?.()
          })
        ),
        Effect.forkIn(scope)
      )

      /** The results at the head of the window, and room for as many calls. */
      const take = (): ReadonlyArray<ToolResult> => {
        const results: Array<ToolResult> = []
        for (const { over, result } of window) {
          if (!over || result === undefined || (results.length > 0 && results.at(-1) === stoppedBy)) break
          results.push(result)
        }
        window.splice(0, results.length)
        if (results.length > 0) onRoom?.()
        return results
      }
      const first = Effect.callback<void>((resume) => {
        onResult = () => resume(Exit.void)
        if (window[0]?.over === true || (finished !== undefined && window.length === 0)) onResult()
      })
      let last: ToolResult | undefined
      const next: Pull.Pull<NonEmptyReadonlyArray<ToolResult>, E> = Effect.suspend(() => {
        if (stoppedBy !== undefined && last === stoppedBy) return Cause.done()
        const results = take()
        last = results.at(-1)
        if (isReadonlyArrayNonEmpty(results)) return Effect.succeed(results)
        if (finished !== undefined && window.length === 0) return finished
        return Effect.andThen(first, next)
      })
      return next
    })
  )
