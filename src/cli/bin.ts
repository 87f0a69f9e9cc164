#!/usr/bin/env node
/** The program `interlock`. */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Effect from "effect/Effect"
import { run } from "./main.ts"

NodeRuntime.runMain(Effect.provide(run(process.argv.slice(2)), NodeServices.layer))
