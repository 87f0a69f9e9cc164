/** The command line as a user has it: the real program, in a folder of its own, as processes of their own. */
import { type ChildProcess, spawn } from "node:child_process"
import { existsSync, mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Deferred, Effect, type Scope } from "effect"

const root = join(import.meta.dirname, "../..")
const interlock = `${process.execPath} ${join(root, "src/cli/bin.ts")}`

export interface Ran {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** A process that runs, with an end that the test waits for. */
export interface Started {
  /** Waits until it has printed this on stdout, after what was waited for before; gives what it printed up to its end. */
  readonly printed: (what: RegExp) => Effect.Effect<string>
  readonly type: (keys: string) => Effect.Effect<void>
  readonly signal: (signal: NodeJS.Signals) => Effect.Effect<void>
  readonly ended: Effect.Effect<Ran>
}

export interface Options {
  /** Beside `PATH` and `HOME`. */
  readonly env?: Readonly<Record<string, string>>
  /** All that there is to read; nothing by default. */
  readonly stdin?: string
}

export interface Folder {
  readonly path: string
  /** Runs the program to its end. */
  readonly run: (args: ReadonlyArray<string>, options?: Options) => Effect.Effect<Ran>
  /** Runs the program with `--json`, and gives the value that it prints. */
  readonly json: <A>(args: ReadonlyArray<string>, options?: Options) => Effect.Effect<A>
  /** Starts the program; it ends with the scope at the latest. */
  readonly start: (args: ReadonlyArray<string>) => Effect.Effect<Started, never, Scope.Scope>
  /** Starts a command line of the program in a terminal. */
  readonly terminal: (line: string) => Effect.Effect<Started, never, Scope.Scope>
  /** Runs a shell command, in which `$interlock` is the program. */
  readonly shell: (command: string) => Effect.Effect<Ran>
}

/** Whether there is a program that gives others a terminal. */
export const hasTerminals = process.platform === "linux" && existsSync("/usr/bin/script")

// --- Processes -------------------------------------------------------------

type CommandLine = readonly [string, ...ReadonlyArray<string>]

class Running implements Started {
  readonly child: ChildProcess
  readonly #ended = Deferred.makeUnsafe<Ran>()
  readonly #waiting = new Set<() => void>()
  #stdout = ""
  #stderr = ""
  #read = 0

  constructor(cwd: string, [command, ...args]: CommandLine, env: Options["env"] = {}) {
    this.child = spawn(command, args, {
      cwd,
      env: { PATH: process.env["PATH"], HOME: cwd, TERM: "xterm", interlock, ...env },
      // Whatever becomes of the test, nothing is left running.
      timeout: 120_000,
      killSignal: "SIGKILL"
    })
    this.child.stdin?.on("error", () => undefined)
    this.child.stdout?.setEncoding("utf8").on("data", (text: string) => {
      this.#stdout += text
      for (const look of this.#waiting) look()
    })
    this.child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      this.#stderr += text
    })
    this.child.once("close", (code) => {
      Deferred.doneUnsafe(this.#ended, Effect.succeed({ code, stdout: this.#stdout, stderr: this.#stderr }))
      for (const look of this.#waiting) look()
    })
  }

  printed(what: RegExp): Effect.Effect<string> {
    return Effect.callback<string>((resume) => {
      const look = () => {
        const found = what.exec(this.#stdout.slice(this.#read))
        const isOver = this.child.exitCode !== null || this.child.signalCode !== null
        if (found === null && !isOver) return
        this.#waiting.delete(look)
        if (found === null) {
          resume(
            Effect.die(new Error(`It ended, and never printed ${what}:\n${this.#stdout}${this.#stderr}`))
          )
          return
        }
        // Whoever waits may go on at once, and wait for what comes after.
        const begin = this.#read
        this.#read += found.index + found[0].length
        resume(Effect.succeed(this.#stdout.slice(begin, this.#read)))
      }
      this.#waiting.add(look)
      look()
      return Effect.sync(() => this.#waiting.delete(look))
    })
  }

  type(keys: string): Effect.Effect<void> {
    return Effect.sync(() => void this.child.stdin?.write(keys))
  }

  signal(signal: NodeJS.Signals): Effect.Effect<void> {
    return Effect.sync(() => void this.child.kill(signal))
  }

  get ended(): Effect.Effect<Ran> {
    return Deferred.await(this.#ended)
  }
}

// --- Folders ---------------------------------------------------------------

const folderAt = (path: string): Folder => {
  const program: CommandLine = [process.execPath, join(root, "src/cli/bin.ts")]
  const run = (command: CommandLine, { env, stdin }: Options = {}) =>
    Effect.suspend(() => {
      const running = new Running(path, command, env)
      running.child.stdin?.end(stdin)
      return Effect.onInterrupt(running.ended, () => running.signal("SIGKILL"))
    })
  const start = (command: CommandLine): Effect.Effect<Started, never, Scope.Scope> =>
    Effect.acquireRelease(
      Effect.sync(() => new Running(path, command)),
      (running) => Effect.andThen(running.signal("SIGKILL"), running.ended)
    )
  const folder: Folder = {
    path,
    run: (args, options) => run([...program, ...args], options),
    json: (args, options) =>
      Effect.map(folder.run(["--json", ...args], options), ({ code, stderr, stdout }) => {
        try {
          return JSON.parse(stdout)
        } catch {
          throw new Error(`${args.join(" ")} ended with ${code} and printed no JSON:\n${stdout}${stderr}`)
        }
      }),
    start: (args) => start([...program, ...args]),
    terminal: (line) => start(["script", "-qefc", `${interlock} ${line}`, "/dev/null"]),
    shell: (command) => run(["bash", "-c", command])
  }
  return folder
}

/** An empty folder with the packages that `npm install` would put there, and these files; gone with the scope. */
export const folder = (files: Readonly<Record<string, string>>): Effect.Effect<Folder, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const path = realpathSync(mkdtempSync(join(tmpdir(), "interlock-cli-")))
      mkdirSync(join(path, "node_modules"))
      for (const name of ["effect", "@effect"]) {
        symlinkSync(join(root, "node_modules", name), join(path, "node_modules", name))
      }
      symlinkSync(root, join(path, "node_modules/effect-interlock"))
      for (const [name, text] of Object.entries(files)) writeFileSync(join(path, name), text)
      return folderAt(path)
    }),
    ({ path }) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
  )

/** A configuration with tools that do what their names say; fields of `data` come in the place of its own. */
export const configuration = (data: Readonly<Record<string, unknown>> = {}): string => `
import { Effect, Schema } from "effect"
import { Tool, Toolkit } from "effect/ai"
import { Handlers, ToolAnnotations as Annotate, Toolset } from "effect-interlock"
import { defineConfig } from "effect-interlock/cli"

const text = { parameters: Schema.Struct({ text: Schema.String }), success: Schema.String }
const kit = Toolkit.make(
  Tool.make("echo", text).annotate(Tool.Readonly, true).annotate(Annotate.Capabilities, []),
  Tool.make("send_note", text).annotate(Annotate.Capabilities, ["external_api"]),
  Tool.make("delete_note", text).annotate(Annotate.Capabilities, ["delete_data"]),
  Tool.make("paid", text).annotate(Annotate.Cost, { usd: 250_000 }).annotate(Annotate.Capabilities, []),
  Tool.make("broken", text).annotate(Annotate.Retries, 0).annotate(Annotate.Capabilities, []),
  Tool.make("hang", text).annotate(Annotate.Capabilities, []),
  Tool.make("evil\\u001b[2J\\u202etool", text).annotate(Annotate.Capabilities, [])
)
const same = ({ text }) => Effect.succeed(text)
const handlers = Handlers.toLayer(kit, {
  echo: same,
  send_note: ({ text }) => Effect.succeed("sent " + text),
  delete_note: ({ text }) => Effect.succeed("deleted " + text),
  paid: same,
  broken: () => Effect.die(new Error("out of order")),
  hang: () => Effect.never,
  "evil\\u001b[2J\\u202etool": same
})

export default defineConfig({
  principals: {
    me: { roles: ["write"], capabilities: ["delete_data"] },
    boss: { roles: ["write"], capabilities: ["delete_data"] },
    other: { tenant: "elsewhere", roles: ["read"] }
  },
  principal: "me",
  policy: { requireConfirmation: ["send_*"], requireApproval: ["delete_*", "evil*"] },
  budgets: [{ name: "daily", max: 1, per: "principal", window: "day" }],
  tools: [Toolset.make(kit, handlers)],
  ...${JSON.stringify(data)}
})
`

/** A folder with that configuration. */
export const project = (
  data?: Readonly<Record<string, unknown>>
): Effect.Effect<Folder, never, Scope.Scope> => folder({ "interlock.config.ts": configuration(data) })

/** Each start of the program costs half a second where nothing else runs, and far more where other tests do. */
export const patience = { timeout: 180_000 }

/** What a terminal would act upon: control characters other than the end of a line, and those that turn text around. */
export const acts = /[[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]--[\n]]/v
