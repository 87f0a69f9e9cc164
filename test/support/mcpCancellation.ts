/** How long it takes from a client's cancellation until the handler is interrupted. */
import { Effect, Fiber } from "effect"
import { connect, type Era, fixtureOverHttp, fixtureOverStdio, overHttp, type Said } from "./mcpHarness.ts"

/** A client of a server that has `test_wait`, and what the server says on standard error. */
export interface Waiting {
  readonly client: Effect.Success<ReturnType<typeof connect>>
  readonly said: Said
  /** As its server exposes it; `test_wait`. */
  readonly tool?: string
}

/** Calls, cancels while the handler runs, and gives milliseconds from one to the other, by the clock of this machine. */
export const cancelOnce = Effect.fnUntraced(function* ({ client, said, tool = "test_wait" }: Waiting) {
  const controller = new AbortController()
  const call = Effect.promise(() =>
    client.callTool({ name: tool, arguments: {} }, { signal: controller.signal }).then(
      () => "answered",
      () => "cancelled"
    )
  )
  const fiber = yield* Effect.forkChild(call, { startImmediately: true })
  yield* said.line("began ")
  const cancelledAt = performance.timeOrigin + performance.now()
  controller.abort()
  const line = yield* said.line("interrupted ")
  return { ended: yield* Fiber.join(fiber), ms: Number(line.slice("interrupted ".length)) - cancelledAt }
})

/** Milliseconds until the handler is interrupted, of so many calls, one after the other, over a transport of the fixture. */
export const measureCancellation = (
  era: Era,
  transport: "stdio" | "http",
  calls: number
): Promise<ReadonlyArray<number>> =>
  Effect.runPromise(
    Effect.gen(function* () {
      const { said, over } =
        transport === "stdio"
          ? ((stdio) => ({ said: stdio.said, over: stdio.transport }))(fixtureOverStdio())
          : yield* Effect.map(fixtureOverHttp, ({ said, url }) => ({ said, over: overHttp(url) }))
      const client = yield* connect(era, over)
      const took: Array<number> = []
      for (let call = 0; call < calls; call++) took.push((yield* cancelOnce({ client, said })).ms)
      return took
    }).pipe(Effect.scoped)
  )
