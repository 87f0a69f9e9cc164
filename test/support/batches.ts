/** Tools for batches, of which each says what it is: for tests of what runs once, twice or never. */
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type * as SqlClient from "effect/sql/SqlClient"
import { ToolAnnotations as Annotate, Interlock, Keyring } from "effect-interlock"
import { SqlIdempotency } from "effect-interlock/sql"
import * as Line from "../../src/cli/batch/Line.ts"

const order = {
  parameters: Schema.Struct({
    n: Schema.Int,
    /** How long it takes, in milliseconds. */
    ms: Schema.optionalKey(Schema.Int),
    /** The first time or always. */
    fails: Schema.optionalKey(Schema.Literals(["once", "always"]))
  }),
  success: Schema.Int,
  failure: Schema.String
}

const make = <const Name extends string>(name: Name) =>
  Tool.make(name, order)
    .annotate(Annotate.Capabilities, [])
    .annotate(Annotate.Retries, 0)
    .annotate(Annotate.Circuit, false)

/**
 * `read` may run again, `write` must not, `ask` needs a human to run again, and `extra` is read where a batch can do
 * without it. `covered` may run again, but `write` answers for it where it fails.
 */
export const kit = Toolkit.make(
  make("read").annotate(Tool.Readonly, true),
  make("write"),
  make("ask").annotate(Annotate.AfterCrash, "ask"),
  make("extra").annotate(Tool.Readonly, true).annotate(Annotate.Importance, "optional"),
  make("covered").annotate(Tool.Readonly, true).annotate(Annotate.Fallback, { tool: "write" })
)

type Order = { readonly n: number; readonly ms?: number; readonly fails?: "once" | "always" }

/** Handlers that tell `did` of each call before they go on. */
export const handlers = (did: (tool: string, n: number) => void) => {
  const done = new Set<number>()
  const handler =
    (tool: string) =>
    ({ fails, ms = 0, n }: Order) =>
      Effect.suspend(() => {
        did(tool, n)
        const again = done.has(n)
        done.add(n)
        const answer =
          fails === "always" || (fails === "once" && !again) ? Effect.fail(`${n} failed`) : Effect.succeed(n)
        return ms > 0 ? Effect.delay(answer, ms) : answer
      })
  return kit.toLayer({
    read: handler("read"),
    write: handler("write"),
    ask: handler("ask"),
    extra: handler("extra"),
    covered: handler("covered")
  })
}

export const keyring = Keyring.layer({
  active: "test",
  keys: { test: Redacted.make("a key of thirty-two characters at least") }
})

/** What the command line has: keys, and idempotency that outlives the process. */
export const governance = (
  options: Interlock.Options = {}
): Layer.Layer<Interlock.Services, unknown, SqlClient.SqlClient> =>
  Interlock.layer({ idempotency: SqlIdempotency.layer(), ...options, keyring }) as never

/** Lines of JSON, as a file has them. */
export const textOf = (calls: ReadonlyArray<unknown>): string =>
  calls.map((call) => `${typeof call === "string" ? call : JSON.stringify(call)}\n`).join("")

export const linesOf = (text: string, chunk = 4096): Stream.Stream<Line.Line> => {
  const bytes = new TextEncoder().encode(text)
  const chunks = Array.from({ length: Math.ceil(bytes.length / chunk) }, (_, i) =>
    bytes.subarray(i * chunk, (i + 1) * chunk)
  )
  return Line.fromBytes(Stream.fromIterable(chunks))
}
