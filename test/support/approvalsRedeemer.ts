/** A process that tries to use the grants of `calls` calls and prints which it got: `node approvalsRedeemer.ts <file> <calls>`. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Approvals } from "../../src/Approvals.ts"
import * as Keyring from "../../src/Keyring.ts"
import * as SqlApprovals from "../../src/sql/SqlApprovals.ts"
import * as Sqlite from "../../src/sql/Sqlite.ts"
import { keys, redeem } from "./approvals.ts"

const [filename = "", calls = "0"] = process.argv.slice(2)

const layer = SqlApprovals.layer().pipe(
  Layer.provide(Sqlite.layer({ filename })),
  Layer.provide(Layer.succeed(Keyring.Keyring, keys))
)

const program = Effect.gen(function* () {
  const approvals = yield* Approvals
  const got: Array<string> = []
  for (let call = 0; call < Number(calls); call++) {
    const redeemed = yield* redeem(approvals, { callId: `call-${call}` })
    if (redeemed._tag === "Granted") got.push(redeemed.request.id)
  }
  console.log(JSON.stringify(got))
})

await Effect.runPromise(Effect.provide(program, layer))
