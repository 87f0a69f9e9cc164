/** The command line as a library: what its configuration is written with. */
export { type Code, Config, defineConfig, type Input, type Platform } from "./Config.ts"
export { exitCodes } from "./ExitCode.ts"
export { run } from "./main.ts"
