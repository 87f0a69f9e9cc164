/**
 * A server as a child process that speaks over its standard input and output: a
 * transport of the official SDK. The SDK's own ends only the process that it has
 * started, and not what that one has started (`npx`, `uvx` and shells start the
 * server itself); never fails a message that it could not write; and reads on
 * however much a server sends.
 *
 * - The process leads a group of its own, and the group is ended with it: its
 *   input is closed, then `SIGTERM`, then `SIGKILL`. Where this process ends
 *   without its finalizers, the groups are killed on `exit`.
 * - A line that is no message is counted and skipped. A message that is too
 *   large, or more unasked for than anybody needs, ends the process.
 * - At most so many messages are read in a turn of the event loop, so that one
 *   server that floods does not hold up the others.
 */
import { type ChildProcess, spawn } from "node:child_process"
import type { JSONRPCMessage, Transport } from "@modelcontextprotocol/client"
import { Bucket } from "./bucket.ts"
import { ended, hasGroups, linesOf, living, signalGroup } from "./processGroup.ts"

export interface Options {
  readonly command: string
  readonly args: ReadonlyArray<string>
  /** All of what the process sees. */
  readonly env: Readonly<Record<string, string>>
  readonly cwd: string | undefined
  readonly maxMessageBytes: number
  /** Milliseconds. */
  readonly now: () => number
  /** A line that the process has written to its standard error, cut. */
  readonly onStderr: (line: string) => void
}

/** How long the process is given to end by itself, and after `SIGTERM`; milliseconds. */
const patience = { closed: 500, terminated: 2000 }

/** Messages that a server sends unasked: at once, and a second. */
const unasked = { burst: 10_000, perSecond: 2000 }

/** Messages that are read in one turn of the event loop. */
const perTurn = 256

const newline = 0x0a

export class ChildProcessTransport implements Transport {
  onclose?: (() => void) | undefined
  onerror?: ((error: Error) => void) | undefined
  onmessage?: ((message: JSONRPCMessage) => void) | undefined
  /** Why the process ended by itself, or had to be ended; for people. */
  ending: string | undefined
  readonly #options: Options
  readonly #unasked: Bucket
  #child: ChildProcess | undefined
  #closing = false
  #closed = false
  #partial: Array<Buffer> = []
  #partialBytes = 0
  #unread: Array<Buffer> = []
  #reading = false
  #inTurn = 0

  constructor(options: Options) {
    this.#options = options
    this.#unasked = new Bucket(unasked.burst, unasked.perSecond, options.now)
  }

  get pid(): number | null {
    return this.#child?.pid ?? null
  }

  /** The SDK knows by this name, and by `pid`, that a server that does not answer its probe is an older one. */
  get stderr(): null {
    return null
  }

  start(): Promise<void> {
    const { args, command, cwd, env } = this.#options
    return new Promise((resolve, reject) => {
      const child = spawn(command, args, {
        env,
        cwd,
        stdio: ["pipe", "pipe", "pipe"],
        detached: hasGroups,
        windowsHide: true
      })
      this.#child = child
      child.once("spawn", () => {
        living.add(child)
        resolve()
      })
      child.once("error", (error: NodeJS.ErrnoException) => {
        this.ending ??= `it could not be started (${error.code ?? "unknown"})`
        reject(error)
        this.#end()
      })
      child.once("exit", (code, signal) => {
        if (!this.#closing) {
          this.ending ??=
            signal === null ? `it exited with code ${code ?? "unknown"}` : `it was ended by ${signal}`
        }
        living.delete(child)
        // What it has started and left behind must not outlive it.
        signalGroup(child, "SIGKILL")
        // What it has written last may still be in the pipe, which whoever inherited it can keep open.
        setTimeout(() => this.#end(), 100)
      })
      child.once("close", () => this.#end())
      child.stdin?.on("error", (error) => this.onerror?.(error))
      child.stdout?.on("error", (error) => this.onerror?.(error))
      child.stdout?.on("data", (chunk: Buffer) => this.#read(chunk))
      if (child.stderr !== null) linesOf(child.stderr, this.#options.onStderr)
    })
  }

  send(message: JSONRPCMessage): Promise<void> {
    const stdin = this.#child?.stdin
    if (this.#closed || stdin === undefined || stdin === null || !stdin.writable) {
      return Promise.reject(notConnected())
    }
    // One that does not read must not fill our memory instead.
    if (stdin.writableLength > this.#options.maxMessageBytes) {
      this.#fail("it does not read what it is sent")
      return Promise.reject(notConnected())
    }
    return new Promise((resolve, reject) => {
      stdin.write(`${JSON.stringify(message)}\n`, (error) => {
        if (error === null || error === undefined) resolve()
        else reject(Object.assign(notConnected(), { cause: error }))
      })
    })
  }

  async close(): Promise<void> {
    const child = this.#child
    this.#closing = true
    if (child?.pid === undefined) {
      this.#end()
      return
    }
    child.stdin?.end()
    if (!(await ended(child, patience.closed))) {
      signalGroup(child, "SIGTERM")
      if (!(await ended(child, patience.terminated))) {
        signalGroup(child, "SIGKILL")
        await ended(child, patience.terminated)
      }
    }
    this.#end()
  }

  #end(): void {
    if (this.#closed) return
    this.#closed = true
    const child = this.#child
    child?.stdout?.destroy()
    child?.stderr?.destroy()
    child?.stdin?.destroy()
    this.#partial = []
    this.#unread = []
    this.onclose?.()
  }

  #fail(why: string): void {
    if (this.ending === undefined) this.ending = why
    const child = this.#child
    if (child !== undefined) signalGroup(child, "SIGKILL")
    this.#end()
  }

  // --- Reading -------------------------------------------------------------

  #read(chunk: Buffer): void {
    this.#unread.push(chunk)
    if (this.#reading) return
    this.#reading = true
    this.#inTurn = 0
    this.#go()
  }

  /** What was read goes through in turns; meanwhile the pipe fills, and whoever floods it has to wait. */
  #go(): void {
    while (!this.#closed) {
      const chunk = this.#unread[0]
      if (chunk === undefined) break
      if (this.#inTurn >= perTurn) {
        this.#child?.stdout?.pause()
        setImmediate(() => {
          this.#inTurn = 0
          this.#go()
        })
        return
      }
      const end = chunk.indexOf(newline)
      if (end === -1) {
        this.#unread.shift()
        this.#keep(chunk)
        continue
      }
      if (end + 1 === chunk.length) this.#unread.shift()
      else this.#unread[0] = chunk.subarray(end + 1)
      this.#keep(chunk.subarray(0, end))
      if (this.#closed) return
      const line = this.#partial.length === 1 ? this.#partial[0]! : Buffer.concat(this.#partial)
      this.#partial = []
      this.#partialBytes = 0
      this.#inTurn++
      if (this.#line(line.toString("utf8"))) {
        // The SDK looks at notifications a moment later than at answers: progress must not be overtaken by its answer.
        queueMicrotask(() => this.#go())
        return
      }
    }
    this.#reading = false
    this.#child?.stdout?.resume()
  }

  #keep(part: Buffer): void {
    this.#partialBytes += part.length
    if (this.#partialBytes <= this.#options.maxMessageBytes) this.#partial.push(part)
    else this.#fail(`it sent a message of more than ${this.#options.maxMessageBytes} bytes`)
  }

  /** Whether there was a notification in it. */
  #line(line: string): boolean {
    if (line.trim() === "") return false
    let parsed: unknown
    try {
      parsed = JSON.parse(line)
    } catch {
      // Many print to standard output what belongs to standard error.
      this.#count(new Error("A line of its standard output is no message"))
      return false
    }
    let told = false
    // Until 2025-06-18 several messages could come as one.
    for (const message of Array.isArray(parsed) ? parsed : [parsed]) {
      if (message === null || typeof message !== "object") this.#count(new Error("A message is no object"))
      else {
        if ("method" in message) {
          told = true
          this.#count(undefined)
        }
        this.onmessage?.(message as JSONRPCMessage)
      }
      if (this.#closed) return false
    }
    return told
  }

  #count(error: Error | undefined): void {
    if (!this.#unasked.take()) this.#fail("it sent more messages than anybody asked for")
    else if (error !== undefined) this.onerror?.(error)
  }
}

const notConnected = (): Error =>
  Object.assign(new Error("The server's process has ended"), { code: "EPIPE" })
