/** Tools without writing a handler: a calculator, notes, requests, and a plain function, under one policy. */
import { mkdtempSync, rmSync } from "node:fs"
import { createServer } from "node:http"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Console, Effect, Layer, Redacted, Schema } from "effect"
import { Toolkit } from "effect/ai"
import { Interlock, Principal, ToolExecutor } from "effect-interlock"
import { Calculator, Credentials, from, HttpRequest, Notes, OutboundHttp } from "effect-interlock/toolbox"

// A service of the company's own, which knows whoever shows the right token.
const service = createServer((request, response) => {
  const known = request.headers.authorization === "Bearer a secret of the service's"
  response.writeHead(known ? 200 : 401, { "content-type": "application/json" })
  response.end(JSON.stringify({ rate: known ? 1.25 : null }))
})
await new Promise<void>((resolve) => service.listen(0, "127.0.0.1", resolve))
const { port } = service.address() as { readonly port: number }

const directory = mkdtempSync(join(tmpdir(), "interlock-example-"))

const shout = from(
  {
    name: "shout",
    description: "Says it loudly",
    parameters: { text: Schema.String },
    success: Schema.String,
    annotations: { readonly: true, capabilities: [] }
  },
  ({ text }) => `${text.toUpperCase()}!`
)

const tools = Toolkit.merge(Calculator.toolkit, Notes.toolkit, HttpRequest.toolkit, shout.toolkit)
const handlers = Layer.mergeAll(
  Calculator.layer({ precision: 20 }),
  Notes.layer({ directory }),
  HttpRequest.layer,
  shout.layer
)

// Public addresses only, but for this one; each hop of a redirect is decided again. A model names the credential and never sees it.
const network = OutboundHttp.layer({
  allowedDomains: ["127.0.0.1", "*.company.com"],
  allowedAddresses: ["127.0.0.1"],
  allowedPorts: [port]
}).pipe(
  Layer.provide(
    Credentials.layer({
      rates: { type: "bearer", hosts: ["127.0.0.1"], token: Redacted.make("a secret of the service's") }
    })
  )
)

const program = Effect.gen(function* () {
  const executor = yield* ToolExecutor.make(tools)
  const call = Effect.fnUntraced(function* (tool: string, params: unknown) {
    const { error, status, value } = yield* executor.execute({ tool, params })
    yield* Console.log(`${tool}: ${status} ${JSON.stringify(value) ?? error?.message}`)
  })
  yield* call("calculator_evaluate", { expression: "0.1 + 0.2" })
  yield* call("note_save", { title: "rates", content: "Ask again on Monday." })
  yield* call("shout", { text: "stop" })
  const { value } = yield* executor.execute({
    tool: "http_request",
    params: { method: "GET", url: `http://127.0.0.1:${port}/rate`, credential: "rates" }
  })
  yield* Console.log(`the service answers ${JSON.stringify((value as HttpRequest.Response).body)}`)
  yield* call("http_request", { method: "GET", url: "http://169.254.169.254/latest/meta-data/" })
})

await program.pipe(
  Principal.provide(Principal.make({ id: "ada", roles: ["write"] })),
  Effect.provide(Layer.merge(handlers, Interlock.layer()).pipe(Layer.provide(network))),
  Effect.runPromise
)
service.close()
rmSync(directory, { recursive: true })
