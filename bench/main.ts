/**
 * `node --expose-gc bench/main.ts [case…]`: runs the benchmarks, each in a
 * process of its own, and fails where one misses its target.
 */
import { spawnSync } from "node:child_process"
import { fileURLToPath } from "node:url"
import { machine } from "./support.ts"

const cases: Readonly<Record<string, () => Promise<{ readonly run: () => Promise<void> }>>> = {
  failFast: () => import("./failFast.ts"),
  million: () => import("./million.ts"),
  call: () => import("./call.ts"),
  redaction: () => import("./redaction.ts")
}

const named = process.argv.slice(2)
const [only] = named
if (named.length === 1 && only !== undefined) {
  const load = cases[only]
  if (load === undefined) {
    console.error(`There is no case ${only}; there are ${Object.keys(cases).join(", ")}.`)
    process.exitCode = 2
  } else {
    await (await load()).run()
  }
} else {
  console.log(machine())
  for (const name of named.length === 0 ? Object.keys(cases) : named) {
    console.log()
    const { status } = spawnSync(process.execPath, ["--expose-gc", fileURLToPath(import.meta.url), name], {
      stdio: "inherit"
    })
    if (status !== 0) process.exitCode = 1
  }
}
