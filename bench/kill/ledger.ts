/**
 * `node ledger.ts <file>`: counts effects where the process that has them cannot
 * lie about them. Every `POST /<call id>` is appended to the file and synced
 * before it is answered. Prints its port.
 */
import { closeSync, fsyncSync, openSync, writeSync } from "node:fs"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"

const file = openSync(process.argv[2] ?? "", "a", 0o600)

const server = createServer((request, response) => {
  if (request.method === "GET") {
    // How many others are connected: none, when everything that a killed process had sent is dealt with.
    server.getConnections((_, count) => response.end(String(count - 1)))
    return
  }
  request.resume()
  request.on("end", () => {
    writeSync(file, `${request.url?.slice(1)}\n`)
    fsyncSync(file)
    response.end("done")
  })
})
server.keepAliveTimeout = 60_000
server.listen(0, "127.0.0.1", () => {
  process.stdout.write(`${(server.address() as AddressInfo).port}\n`)
})
process.on("SIGTERM", () => {
  closeSync(file)
  process.exit(0)
})
