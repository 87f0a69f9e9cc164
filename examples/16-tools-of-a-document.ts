/** An API's operations as governed tools, from its OpenAPI document: reads run, deletions ask, and what retries deserve follows from statuses. */
import { createServer } from "node:http"
import { NodeServices } from "@effect/platform-node"
import { Console, Effect, Layer } from "effect"
import { Interlock, Principal, ToolRegistry } from "effect-interlock"
import { Credentials, OpenApi, OutboundHttp } from "effect-interlock/toolbox"

// The API: a little shop, whose answer to a search comes only when it is asked again.
let asked = 0
const shop = createServer((request, response) => {
  const answer = (status: number, body: unknown) => {
    response.writeHead(status, { "content-type": "application/json" })
    response.end(JSON.stringify(body))
  }
  if (request.url?.startsWith("/products?") === true) {
    asked++
    return asked === 1
      ? answer(503, { error: "warming up" })
      : answer(200, [{ id: "p/1", asked: request.url }])
  }
  return answer(404, { error: `nothing at ${request.method} ${request.url}` })
})
await new Promise<void>((resolve) => shop.listen(0, "127.0.0.1", resolve))
const { port } = shop.address() as { readonly port: number }

const id = { name: "id", in: "path", required: true, schema: { type: "string" } }
const document = {
  openapi: "3.1.0",
  info: { title: "Shop", version: "1" },
  servers: [{ url: `http://127.0.0.1:${port}` }],
  paths: {
    "/products": {
      get: {
        operationId: "searchProducts",
        summary: "Finds products",
        parameters: [
          { name: "tags", in: "query", explode: false, schema: { type: "array", items: { type: "string" } } },
          { name: "limit", in: "query", schema: { type: "integer", maximum: 50 } }
        ],
        responses: { 200: { description: "Products" } }
      }
    },
    "/products/{id}": {
      get: { operationId: "getProduct", parameters: [id], responses: { 200: { description: "A product" } } },
      delete: { operationId: "deleteProduct", parameters: [id], responses: { 204: { description: "Gone" } } }
    }
  }
}

const network = OutboundHttp.layer({
  allowedDomains: ["127.0.0.1"],
  allowedAddresses: ["127.0.0.1"],
  allowedPorts: [port]
}).pipe(Layer.provideMerge(Credentials.layerNone))

const program = Effect.gen(function* () {
  const registry = yield* ToolRegistry.ToolRegistry
  yield* registry.put("shop", yield* OpenApi.make({ document, prefix: "shop" }))
  const executor = yield* registry.executor
  const call = Effect.fnUntraced(function* (tool: string, params: unknown) {
    const { attempts, error, status, value } = yield* executor.execute({ tool, params })
    yield* Console.log(`${tool}: ${status} after ${attempts}, ${JSON.stringify(value) ?? error?.message}`)
  })
  yield* call("shop__searchProducts", { tags: ["a b", "c&d"], limit: 3 })
  yield* call("shop__searchProducts", { limit: 51 })
  yield* call("shop__getProduct", { id: "../orders?all" }) // stays in its segment, whatever it is
  yield* call("shop__deleteProduct", { id: "p/1" })
})

await program.pipe(
  Principal.provide(Principal.make({ id: "ada", roles: ["admin"] })),
  Effect.provide(
    ToolRegistry.layer.pipe(
      Layer.provideMerge(Interlock.layer({ policy: { requireConfirmation: ["delete*"] } })),
      Layer.provideMerge(Layer.merge(network, NodeServices.layer))
    )
  ),
  Effect.runPromise
)
shop.close()
