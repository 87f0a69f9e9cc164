/**
 * A process of its own that works on the same keys as others: `work` runs each
 * key that it comes to hold, writes so to the ledger, and prints what every key
 * came to; `die` begins one key and is killed.
 */
import * as Fs from "node:fs"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import * as Redacted from "effect/Redacted"
import { Idempotency, type Lease } from "../../src/Idempotency.ts"
import * as Keyring from "../../src/Keyring.ts"
import * as SqlIdempotency from "../../src/sql/SqlIdempotency.ts"
import * as Sqlite from "../../src/sql/Sqlite.ts"

const [mode = "", filename = "", ledger = "", name = "", keys = "0"] = process.argv.slice(2)

export const keyring = Keyring.layer({
  active: "test",
  keys: { test: Redacted.make("a key of thirty-two characters at least") }
})

const keyOf = (key: string) => ({ tenant: undefined, principal: "shared", tool: "effect", key })

/** Holds the key until somebody has completed it: runs it at most half of the time that it could. */
const settleKey = Effect.fnUntraced(function* (key: string) {
  const service = yield* Idempotency
  while (true) {
    const now = yield* Clock.currentTimeMillis
    const claim = yield* service.claim(
      keyOf(key),
      { callId: `${name} ${key}`, argumentsHash: key, expiresAt: now + 60_000 },
      now
    )
    switch (claim._tag) {
      case "Run":
        yield* run(claim.lease, key)
        continue
      case "InFlight":
        yield* claim.wait
        continue
      case "Done":
        return [key, claim.callId, claim.outcome] as const
      case "Conflict":
      case "Abandoned":
        return yield* Effect.die(claim)
    }
  }
})

const run = Effect.fnUntraced(function* (lease: Lease, key: string) {
  const service = yield* Idempotency
  const now = yield* Clock.currentTimeMillis
  if (yield* Random.nextBoolean) return yield* service.release(lease, now)
  yield* service.begin(lease, now)
  Fs.appendFileSync(ledger, `${key}\n`)
  yield* Effect.yieldNow
  yield* service.complete(lease, { _tag: "Value", encoded: { by: name, key } }, now)
})

const work = Effect.gen(function* () {
  const order = yield* Random.shuffle(Array.from({ length: Number(keys) }, (_, n) => `key ${n}`))
  const outcomes = yield* Effect.forEach(order, settleKey, { concurrency: 8 })
  console.log(JSON.stringify(outcomes.toSorted()))
})

const die = Effect.gen(function* () {
  const service = yield* Idempotency
  const claim = yield* service.claim(
    keyOf("dies"),
    { callId: "died", argumentsHash: "h", expiresAt: 1_000 },
    0
  )
  if (claim._tag === "Run") yield* service.begin(claim.lease, 0)
  process.kill(process.pid, "SIGKILL")
  yield* Effect.never
})

if (mode !== "") {
  await Effect.runPromise(
    (mode === "die" ? die : work).pipe(
      Effect.provide(
        SqlIdempotency.layer({ pollInterval: 5 }).pipe(
          Layer.provide([keyring, Sqlite.layer({ filename, busyTimeout: "30 seconds" })])
        )
      )
    )
  )
}
