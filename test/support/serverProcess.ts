/** Servers that tests need, each in a process of its own on the loopback, told by messages what to answer. */
import { type ChildProcess, fork } from "node:child_process"
import { once } from "node:events"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"

export interface ServerProcess<Message, Reply> {
  readonly port: number
  readonly tell: (message: Message) => Effect.Effect<Reply>
  /** Ends the process as a crash would. */
  readonly kill: Effect.Effect<void>
}

/** Starts `test/support/<file>`, and ends it with the scope. */
export const start = <Message, Reply>(
  file: string,
  ...args: ReadonlyArray<string>
): Effect.Effect<ServerProcess<Message, Reply>, never, Scope.Scope> =>
  Effect.gen(function* () {
    const child = yield* Effect.acquireRelease(
      Effect.sync(() => fork(new URL(file, import.meta.url), args, { execArgv: [] })),
      end
    )
    const replies = new Map<number, (reply: Reply) => void>()
    const listening = new Promise<number>((resolve, reject) => {
      child.on("message", (message: { port: number } | { id: number; reply: Reply }) => {
        if ("port" in message) resolve(message.port)
        else replies.get(message.id)?.(message.reply)
      })
      child.on("exit", (code) => reject(new Error(`${file} has ended with ${code}`)))
    })
    const port = yield* Effect.promise(() => listening)
    let last = 0
    return {
      port,
      kill: end(child),
      tell: (message) =>
        Effect.callback((resume) => {
          const id = ++last
          replies.set(id, (reply) => resume(Effect.succeed(reply)))
          child.send({ id, message })
        })
    }
  })

const end = (child: ChildProcess): Effect.Effect<void> =>
  Effect.promise(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return
    const ended = once(child, "exit")
    child.kill("SIGKILL")
    await ended
  })
