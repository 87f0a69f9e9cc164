/** One request to a server of this process, in a process whose environment names proxies. */
import * as Http from "node:http"
import { Effect, Layer } from "effect"
import { Credentials, OutboundHttp } from "effect-interlock/toolbox"

const server = Http.createServer((_, response) => response.end("direct"))
server.listen(0, "127.0.0.1", () => {
  const { port } = server.address() as { readonly port: number }
  const http = OutboundHttp.layer({
    allowedDomains: ["127.0.0.1"],
    allowedAddresses: ["127.0.0.1"],
    allowedPorts: [port]
  }).pipe(Layer.provide(Credentials.layerNone))
  const request = Effect.flatMap(OutboundHttp.OutboundHttp, ({ request }) =>
    request({ method: "GET", url: `http://127.0.0.1:${port}/` })
  )
  void Effect.runPromise(Effect.provide(request, http)).then(({ body }) => {
    process.stdout.write(Buffer.from(body))
    server.close()
  })
})
