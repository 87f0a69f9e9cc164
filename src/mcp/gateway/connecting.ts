/** How a server's connection is made from its configuration: anew for every start, so that secrets may have changed. */
import type * as Sdk from "@modelcontextprotocol/client"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import { version } from "../../internal/version.ts"
import type * as Upstream from "../Upstream.ts"
import { Bucket } from "./bucket.ts"
import type { Calls } from "./calls.ts"
import { ChildProcessTransport } from "./childProcess.ts"
import { type FindCredential, resolve, type ServerConfig, startTimeoutOf } from "./config.ts"
import { shown } from "./errors.ts"
import { HttpTransport } from "./http.ts"
import * as Session from "./session.ts"
import type { Environment } from "./variables.ts"

export interface Options {
  readonly sdk: typeof Sdk
  readonly environment: Environment
  readonly find: FindCredential
  readonly maxMessageBytes: number
}

/** Connects to one server. What it prints and what is ignored of it goes to the log, at debug: 50 lines a second. */
export const connector = Effect.fnUntraced(function* (
  { environment, find, maxMessageBytes, sdk }: Options,
  name: string,
  config: ServerConfig,
  calls: Calls
): Effect.fn.Return<Upstream.Options["open"]> {
  const clock = yield* Clock.Clock
  const run = Effect.runForkWith(yield* Effect.context<never>())
  const now = () => clock.currentTimeMillisUnsafe()
  const lines = new Bucket(200, 50, now)
  const debug = (text: string): void => {
    if (lines.take()) run(Effect.logDebug(`${name}: ${text}`))
  }
  const memory: Session.Memory = { older: false, sse: config.type === "sse" }
  return (hooks) =>
    Effect.gen(function* () {
      const { secrets, target } = yield* resolve(name, config, environment, find)
      const hide = hiding(secrets)
      return yield* Session.open({
        sdk,
        name,
        version,
        timeout: startTimeoutOf(config),
        memory,
        otherwise: target._tag === "Process" ? "older" : target.kind === undefined ? "sse" : undefined,
        hide,
        transport: ({ sse }) =>
          target._tag === "Process"
            ? new ChildProcessTransport({
                ...target,
                maxMessageBytes,
                now,
                onStderr: (line) => debug(shown(line, hide))
              })
            : new HttpTransport(sdk, {
                ...target,
                kind: target.kind ?? (sse ? "sse" : "streamable"),
                maxMessageBytes,
                now
              }),
        hooks: {
          ...hooks,
          onLog: (params) => calls.onLog(params),
          onQuestion: (question, signal) => calls.onQuestion(question, signal),
          onNoise: debug
        }
      })
    })
})

/** Takes these values out of a text; the shortest of them could be anything. */
const hiding =
  (secrets: ReadonlyArray<string>) =>
  (text: string): string =>
    secrets.reduce((hidden, secret) => (secret.length < 6 ? hidden : hidden.replaceAll(secret, "***")), text)
