/**
 * A server that speaks MCP over its standard input and output, or only seems
 * to: `node gatewayServer.ts '<plan as JSON>'`. What it is to say of its tools it
 * reads from a file at every start, so that a test can change it meanwhile.
 */
import { spawn } from "node:child_process"
import { appendFileSync, existsSync, readFileSync } from "node:fs"
import { createInterface } from "node:readline"

export interface Plan {
  /**
   * - `well`: does as it should.
   * - `hang`: never answers.
   * - `exit`: ends at once, with code 3.
   * - `older`: ends when it is asked anything before `initialize`.
   * - `deaf`: answers nothing that it does not know.
   * - `garbage`: prints what is no message before each answer.
   * - `flood`: prints messages without an end once it is initialized.
   * - `huge`: prints one line without an end.
   * - `stubborn`: does not end when it is asked to, and leaves a process behind that does not either.
   * - `endless`: its list of tools has no end.
   * - `toolless`: has no tools, and says so.
   */
  readonly mode?:
    | "well"
    | "hang"
    | "exit"
    | "older"
    | "deaf"
    | "garbage"
    | "flood"
    | "huge"
    | "stubborn"
    | "endless"
    | "toolless"
  /** A file that holds its list of tools as JSON; else it has those below. */
  readonly tools?: string
  /** Reads nothing for so many milliseconds. */
  readonly late?: number
  /** A file that holds its list of prompts as JSON; without one it has none. */
  readonly prompts?: string
  /** A file that it appends to what happens to it, a line each. */
  readonly log?: string
  /** The process id of what it leaves behind goes to this file. */
  readonly child?: string
}

type Json = Record<string, unknown>

const object = (properties: Json = {}, required: ReadonlyArray<string> = []): Json => ({
  type: "object",
  properties,
  required
})

/** What it has unless its plan says otherwise. */
export const ownTools: ReadonlyArray<Json> = [
  {
    name: "echo",
    description: "Gives back what it is given.",
    inputSchema: object({ text: { type: "string" } }, ["text"]),
    annotations: { readOnlyHint: true, idempotentHint: true }
  },
  { name: "pid", description: "Its process.", inputSchema: object() },
  { name: "environment", description: "What it sees of the environment.", inputSchema: object() },
  {
    name: "wait",
    description: "Answers when it is told to stop, and then not at all.",
    inputSchema: object()
  },
  { name: "steps", description: "Says three times how far it is.", inputSchema: object() },
  { name: "die", description: "Ends its process before it has answered.", inputSchema: object() },
  { name: "fail", description: "Says that it has failed.", inputSchema: object() },
  { name: "refuse", description: "Answers with an error of the protocol.", inputSchema: object() },
  { name: "nonsense", description: "Answers with what is no result.", inputSchema: object() },
  {
    name: "large",
    description: "Answers with a large text.",
    inputSchema: object({ bytes: { type: "integer" } })
  },
  {
    name: "promise",
    description: "Answers with other structured content than it promises.",
    inputSchema: object(),
    outputSchema: object({ n: { type: "number" } }, ["n"])
  },
  { name: "ask", description: "Asks the human of its client.", inputSchema: object() },
  { name: "change", description: "Has another tool from now on, and says so.", inputSchema: object() }
]

// Imported for its types and its tools, it does nothing.
if (process.argv[1] === import.meta.filename) serve(JSON.parse(process.argv[2] ?? "{}"))

function serve(plan: Plan): void {
  const mode = plan.mode ?? "well"
  const note = (line: string): void => {
    if (plan.log !== undefined) appendFileSync(plan.log, `${line}\n`)
  }
  const print = (text: string): void => {
    process.stdout.write(text)
  }
  const send = (message: Json): void => print(`${JSON.stringify({ jsonrpc: "2.0", ...message })}\n`)
  const text = (text: string): Json => ({ content: [{ type: "text", text }] })
  const added: Array<Json> = []
  const questions = new Map<unknown, (answer: Json) => void>()
  let initialized = false
  let nextId = 1000

  note(`started ${process.pid}`)
  if (mode === "exit") process.exit(3)
  if (mode === "stubborn") {
    for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"]) process.on(signal, () => note(signal))
    const left = spawn(
      process.execPath,
      ["-e", "process.on('SIGTERM', () => {}); setInterval(() => {}, 1000)"],
      {
        stdio: "ignore"
      }
    )
    if (plan.child !== undefined) appendFileSync(plan.child, String(left.pid))
    setInterval(() => undefined, 1000)
  }
  if (mode === "huge") {
    const more = (): void => {
      process.stdout.write("x".repeat(65_536), () => setImmediate(more))
    }
    more()
    return
  }

  const list = (): ReadonlyArray<Json> =>
    plan.tools !== undefined && existsSync(plan.tools)
      ? (JSON.parse(readFileSync(plan.tools, "utf8")) as ReadonlyArray<Json>)
      : [...ownTools, ...added]

  const answer = (id: unknown, result: Json): void => send({ id, result })

  const calls: Readonly<Record<string, (id: unknown, args: Json, token: unknown) => void>> = {
    echo: (id, args) => answer(id, text(String(args["text"]))),
    pid: (id) => answer(id, text(String(process.pid))),
    environment: (id) => answer(id, text(JSON.stringify(process.env))),
    wait: (id) => note(`waiting ${String(id)}`),
    steps: (id, _, token) => {
      for (const progress of token === undefined ? [] : [1, 2, 3]) {
        const params = { progressToken: token, progress, total: 3, message: `step ${progress}` }
        send({ method: "notifications/progress", params })
      }
      answer(id, text("done"))
    },
    die: () => {
      process.kill(process.pid, "SIGKILL")
    },
    fail: (id) => answer(id, { ...text("It did not work."), isError: true }),
    refuse: (id) => send({ id, error: { code: -32602, message: "Not with these arguments\u001b[31m" } }),
    nonsense: (id) => answer(id, { content: "none" }),
    large: (id, args) => answer(id, text("x".repeat(Number(args["bytes"] ?? 1000)))),
    promise: (id) => answer(id, { ...text("{}"), structuredContent: { n: "one" } }),
    ask: (id) => {
      const question = `q${nextId++}`
      questions.set(question, (said) => answer(id, text(JSON.stringify(said))))
      const requestedSchema = object({ name: { type: "string" } })
      send({ id: question, method: "elicitation/create", params: { message: "Your name?", requestedSchema } })
    },
    change: (id) => {
      added.push({ name: `added${added.length}`, description: "It came later.", inputSchema: object() })
      send({ method: "notifications/tools/list_changed" })
      answer(id, text("changed"))
    }
  }

  const methods: Readonly<Record<string, (id: unknown, params: Json) => void>> = {
    initialize: (id, { protocolVersion }) => {
      initialized = true
      answer(id, {
        protocolVersion,
        capabilities: {
          ...(mode === "toolless" ? {} : { tools: { listChanged: true } }),
          ...(plan.prompts === undefined ? {} : { prompts: {} })
        },
        serverInfo: { name: "scripted", version: "1" }
      })
    },
    "notifications/initialized": () => {
      if (mode === "flood") flood()
    },
    "notifications/cancelled": (_, { requestId }) => note(`cancelled ${String(requestId)}`),
    "tools/list": (id, { cursor }) => {
      if (mode === "toolless") return send({ id, error: { code: -32601, message: "Method not found" } })
      note("listed")
      const page = Number(cursor ?? 0)
      answer(
        id,
        mode === "endless"
          ? { tools: [{ name: `page${page}`, inputSchema: object() }], nextCursor: String(page + 1) }
          : { tools: list() }
      )
    },
    "prompts/list": (id) => answer(id, { prompts: JSON.parse(readFileSync(String(plan.prompts), "utf8")) }),
    "prompts/get": (id, { name }) =>
      answer(id, {
        messages: [{ role: "user", content: { type: "text", text: `the prompt ${String(name)}` } }]
      }),
    "tools/call": (id, { _meta, arguments: args, name }) => {
      const run = calls[String(name)]
      if (run === undefined) send({ id, error: { code: -32602, message: `Unknown tool ${String(name)}` } })
      else run(id, (args ?? {}) as Json, (_meta as Json | undefined)?.["progressToken"])
    }
  }

  const flood = (): void => {
    for (let i = 0; i < 200; i++) send({ method: "notifications/tools/list_changed" })
    setImmediate(flood)
  }

  const handle = (message: Json): void => {
    const { error, id, method, params, result } = message
    if (typeof method !== "string") {
      questions.get(id)?.((result ?? error) as Json)
      return
    }
    if (mode === "hang") return
    if (mode === "older" && !initialized && method !== "initialize") process.exit(1)
    if (mode === "garbage") print('this is no message\n{"neither": \n')
    const known = methods[method]
    if (known !== undefined) known(id, (params ?? {}) as Json)
    else if (id !== undefined && mode !== "deaf")
      send({ id, error: { code: -32601, message: "Method not found" } })
  }

  const read = (): void => {
    createInterface({ input: process.stdin }).on("line", (line) => handle(JSON.parse(line) as Json))
  }
  if (plan.late === undefined) read()
  else setTimeout(read, plan.late)
  if (mode !== "stubborn") process.stdin.on("end", () => process.exit(0))
}
