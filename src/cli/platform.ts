/** The command line on Node: its platform services, its signals and its exit codes. */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Effect from "effect/Effect"
import { run } from "./main.ts"

export const main = (): void =>
  NodeRuntime.runMain(Effect.provide(run(process.argv.slice(2)), NodeServices.layer))
