/** Child processes that lead groups of their own, so that they are ended with whatever they have started. */
import type { ChildProcess } from "node:child_process"

/** Whether processes can be signalled together. */
export const hasGroups = process.platform !== "win32"

/** Signals a process and all of its group. */
export const signalGroup = (child: ChildProcess, signal: NodeJS.Signals): void => {
  if (child.pid === undefined) return
  try {
    if (hasGroups) process.kill(-child.pid, signal)
    else child.kill(signal)
  } catch {
    // Nobody of it is left.
  }
}

/** Whether the process has ended before so many milliseconds are over. */
export const ended = (child: ChildProcess, within: number): Promise<boolean> =>
  child.exitCode !== null || child.signalCode !== null
    ? Promise.resolve(true)
    : new Promise((resolve) => {
        const timer = setTimeout(() => resolve(false), within)
        child.once("exit", () => {
          clearTimeout(timer)
          resolve(true)
        })
      })

/** Processes of which this one must not leave any behind, however it ends. */
class Living {
  readonly #children = new Set<ChildProcess>()
  readonly #onExit = (): void => {
    for (const child of this.#children) signalGroup(child, "SIGKILL")
  }

  add(child: ChildProcess): void {
    if (this.#children.size === 0) process.on("exit", this.#onExit)
    this.#children.add(child)
  }

  delete(child: ChildProcess): void {
    if (this.#children.delete(child) && this.#children.size === 0) process.off("exit", this.#onExit)
  }
}
export const living = new Living()

// --- Standard error --------------------------------------------------------

const maxLine = 1000

/** Reads a stream by lines, each cut. */
export const linesOf = (stream: NodeJS.ReadableStream, onLine: (line: string) => void): void => {
  let line = ""
  stream.on("error", () => undefined)
  stream.setEncoding("utf8")
  stream.on("data", (text: string) => {
    const lines = text.split("\n")
    for (const [index, part] of lines.entries()) {
      line = (line + part).slice(0, maxLine)
      if (index === lines.length - 1) return
      if (line.trim() !== "") onLine(line)
      line = ""
    }
  })
}
