/**
 * `node worker.ts <order>`: 64 callers that call a tool one time after another,
 * until the process is killed. The tool's effect is a request to the ledger. What
 * was answered is written to the file `answers` when it was, and what the log does
 * to the file `steps`.
 */
import { openSync, writeSync } from "node:fs"
import { Agent, request } from "node:http"
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import { ToolAnnotations as Annotate, Interlock, Principal, ToolExecutor } from "../../src/index.ts"
import { hire } from "./assassin.ts"
import { keyring, layer, type Store } from "./log.ts"

export interface Order {
  readonly store: Store
  readonly directory: string
  /** The ledger's. */
  readonly port: string
  /** Of the ids of calls. */
  readonly prefix: string
  readonly answers: string
  readonly steps: string
  /** Kills itself so many microseconds after it has begun that step for the so manieth time. */
  readonly aim: { readonly step: string; readonly time: number; readonly delay: number } | undefined
}

const { aim, directory, port, prefix, store, ...files }: Order = JSON.parse(process.argv[2] ?? "")
const callers = 64
const answers = openSync(files.answers, "a")
const steps = openSync(files.steps, "a")

const kill = aim === undefined ? undefined : await hire(aim.delay)
let began = false
let times = 0
const note = (step: string) => {
  writeSync(steps, `${step}\n`)
  if (began && step === `+${aim?.step}` && ++times === aim?.time) kill?.()
}

const agent = new Agent({ keepAlive: true, maxSockets: callers })
const enter = (id: string): Promise<void> =>
  new Promise((resolve, reject) => {
    const sent = request({ agent, host: "127.0.0.1", port, path: `/${id}`, method: "POST" }, (response) => {
      response.resume()
      response.on("end", resolve)
    })
    sent.on("error", reject)
    sent.end()
  })

const kit = Toolkit.make(
  Tool.make("enter", { parameters: Schema.Struct({ id: Schema.String }), success: Schema.Void })
    .annotate(Annotate.Capabilities, [])
    .annotate(Annotate.Retries, 0)
)
const handlers = kit.toLayer({ enter: ({ id }) => Effect.promise(() => enter(id)) })

const load = Effect.gen(function* () {
  const executor = yield* ToolExecutor.make(kit)
  let next = 0
  const caller = (index: number) =>
    Effect.forever(
      Effect.suspend(() => {
        const id = `${prefix}-${next++}`
        return Effect.map(executor.execute({ id, tool: "enter", params: { id } }), ({ status }) => {
          writeSync(answers, `${id} ${status}\n`)
        })
      })
    ).pipe(Principal.provide(Principal.make({ id: `p-${index % 8}` })))
  began = true
  process.send?.("began")
  yield* Effect.all(
    Array.from({ length: callers }, (_, index) => caller(index)),
    { concurrency: "unbounded", discard: true }
  )
})

await Effect.runPromise(
  load.pipe(
    Effect.provide(Layer.merge(handlers, Interlock.layer({ keyring, audit: layer(store, directory, note) })))
  )
)
