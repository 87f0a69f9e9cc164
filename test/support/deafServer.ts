/** A process that listens and accepts nobody: once its queue is full, connecting takes for ever. */
import { type AddressInfo, createServer } from "node:net"

const server = createServer().listen({ port: 0, host: "127.0.0.1", backlog: 1 }, () => {
  process.send?.({ port: (server.address() as AddressInfo).port }, () => {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)
  })
})
