#!/usr/bin/env node
/** The program `interlock`: checks that it can run here, and runs. */
import * as Module from "node:module"

const refuse = (message: string): never => {
  console.error(`interlock: ${message}`)
  return process.exit(2)
}

const [major = 0, minor = 0] = process.versions.node.split(".").map(Number)
if (major < 22 || (major === 22 && minor < 19)) {
  refuse(`Node ${process.versions.node} is too old: it needs 22.19 or later.`)
}

// A third of the time until a command begins is compiling: Node keeps what it has compiled, where it may.
Module.enableCompileCache()

process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  // Whoever reads the output may stop, as `head` does: then there is nobody to tell.
  if (error.code === "EPIPE") process.exit(0)
  console.error(`interlock: the output cannot be written: ${error.code ?? error.message}`)
  process.exit(1)
})
// What is said beside it has no reader any more; the work goes on.
process.stderr.on("error", () => undefined)

const platform = await import("./platform.ts").catch((error: NodeJS.ErrnoException) => {
  const [, missing] = /Cannot find package '([^']+)'/.exec(error.message) ?? []
  if (error.code !== "ERR_MODULE_NOT_FOUND" || missing === undefined) throw error
  return refuse(`a package is missing: npm install ${missing}`)
})
platform.main()
