/**
 * The demo: a file of tool calls, governed, against a service that fails.
 *
 *     npm run demo                     the calls of calls.jsonl beside this file
 *     npm run demo -- my-calls.jsonl   a file of your own
 *     npm run demo -- --help           the format, the people and the tools
 */
import { join, relative } from "node:path"
import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import { Console, Effect, Layer, Stream } from "effect"
import { CircuitBreaker, Principal, ToolExecutor } from "effect-interlock"
import { countCalls, readCalls } from "./calls.ts"
import { failFast } from "./failFast.ts"
import { governance } from "./governance.ts"
import * as Handlers from "./handlers.ts"
import { help } from "./help.ts"
import { withProgress } from "./progress.ts"
import { report } from "./report.ts"
import { DemoService } from "./service.ts"
import { Tally } from "./tally.ts"
import { count } from "./text.ts"
import { tools } from "./tools.ts"

const concurrency = 16

const demo = Effect.fnUntraced(function* (file: string) {
  const tally = new Tally(yield* countCalls(file))
  yield* Console.log(`${count(tally.total, "call")} from ${file}, ${concurrency} at a time\n`)

  const executor = yield* ToolExecutor.make(tools)
  const circuits = yield* CircuitBreaker.CircuitBreaker
  const transitions: Array<CircuitBreaker.Transition> = []
  yield* Effect.forkScoped(
    Stream.runForEach(circuits.transitions, (transition) => Effect.sync(() => transitions.push(transition))),
    { startImmediately: true }
  )

  const startedAt = Date.now()
  yield* readCalls(file).pipe(
    Stream.mapEffect(
      (line) =>
        executor.execute(line.call).pipe(
          Principal.provide(line.principal),
          Effect.map((result) => tally.add({ line, result }))
        ),
      { concurrency, unordered: true }
    ),
    Stream.runDrain,
    withProgress(tally)
  )
  const run = { startedAt, elapsed: Date.now() - startedAt }

  yield* Console.log(`\n${yield* report(run, tally, transitions)}\n`)
  yield* Console.log(yield* failFast)
}, Effect.scoped)

const services = Layer.merge(Handlers.layer, governance()).pipe(
  Layer.provideMerge(DemoService.layer),
  Layer.provideMerge(Layer.merge(NodeHttpClient.layerNodeHttp, NodeFileSystem.layer))
)

const main = Effect.suspend(() => {
  const [argument, ...more] = process.argv.slice(2)
  if (argument === "--help" || argument === "-h") return Console.log(help)
  if (argument?.startsWith("-") || more.length > 0) {
    return Effect.andThen(Console.error(`One file at most, please.\n\n${help}`), exitWith(1))
  }
  const standard = relative(process.cwd(), join(import.meta.dirname, "calls.jsonl"))
  return demo(argument ?? standard).pipe(
    Effect.provide(services),
    Effect.catchTag("CallFileError", ({ message }) =>
      Effect.andThen(Console.error(`${message}\nTry: npm run demo -- --help`), exitWith(1))
    )
  )
})

const exitWith = (code: number) =>
  Effect.sync(() => {
    process.exitCode = code
  })

// With `| head` nobody reads on after a while.
process.stdout.on("error", () => process.exit(0))

NodeRuntime.runMain(main)
