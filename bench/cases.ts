/** The cases, and running each in a process of its own: `fork`ed on this file, which sends back what the case comes to. */
import { fork } from "node:child_process"
import { fileURLToPath } from "node:url"
import { type Outcome, outcome } from "./report.ts"

interface Case {
  readonly load: () => Promise<{ readonly run: () => Promise<Outcome> }>
  /** It is ended after so many seconds. */
  readonly seconds: number
}

export const cases = {
  call: { load: () => import("./call.ts"), seconds: 180 },
  batch: { load: () => import("./batch.ts"), seconds: 120 },
  refused: { load: () => import("./refused.ts"), seconds: 120 },
  failFast: { load: () => import("./failFast.ts"), seconds: 120 },
  memory: { load: () => import("./memory.ts"), seconds: 300 },
  imports: { load: () => import("./imports.ts"), seconds: 120 },
  stages: { load: () => import("./stages.ts"), seconds: 120 },
  scale: { load: () => import("./scale.ts"), seconds: 120 },
  redaction: { load: () => import("./redaction.ts"), seconds: 60 },
  cancel: { load: () => import("./cancel.ts"), seconds: 120 },
  gateway: { load: () => import("./gateway.ts"), seconds: 180 }
} as const satisfies Readonly<Record<string, Case>>
export type CaseName = keyof typeof cases

export const isCase = (name: string): name is CaseName => Object.hasOwn(cases, name)

/** Runs a case; one that fails altogether is wrong. */
export const runCase = (name: CaseName): Promise<Outcome> =>
  new Promise((resolve) => {
    const child = fork(fileURLToPath(import.meta.url), [name], {
      execArgv: ["--expose-gc"],
      // What a case or a peer prints is not part of the report.
      stdio: ["ignore", 2, 2, "ipc"],
      // JSON knows no NaN.
      serialization: "advanced",
      timeout: cases[name].seconds * 1000,
      killSignal: "SIGKILL"
    })
    let sent: Outcome | undefined
    child.on("message", (message) => {
      sent = message as Outcome
    })
    child.on("exit", (code, signal) =>
      resolve(sent ?? outcome({ wrong: [`${name}: its process ended with ${signal ?? code}`] }))
    )
  })

if (import.meta.main) {
  const [name = ""] = process.argv.slice(2)
  if (!isCase(name)) throw new Error(`there is no case ${name}`)
  const { run } = await cases[name].load()
  const result = await run()
  // A peer may hold timers or workers: what was asked for is done.
  process.send?.(result, () => process.exit())
}
