/**
 * A thread that kills its own process from within: so that a moment inside a step
 * can be hit, also where the step blocks the main thread.
 */
import { isMainThread, Worker, workerData } from "node:worker_threads"

interface Orders {
  readonly signal: SharedArrayBuffer
  /** Microseconds between the order and the kill. */
  readonly delay: number
}

/** Makes the thread; what is returned orders the kill. */
export const hire = async (delay: number): Promise<() => void> => {
  const signal = new SharedArrayBuffer(4)
  const orders: Orders = { signal, delay }
  const worker = new Worker(new URL(import.meta.url), { workerData: orders })
  await new Promise((resolve) => worker.once("online", resolve))
  const cell = new Int32Array(signal)
  return () => {
    Atomics.store(cell, 0, 1)
    Atomics.notify(cell, 0)
  }
}

if (!isMainThread) {
  const { delay, signal }: Orders = workerData
  Atomics.wait(new Int32Array(signal), 0, 0)
  for (const until = performance.now() + delay / 1000; performance.now() < until; );
  process.kill(process.pid, "SIGKILL")
}
