/** A process that reads a counter and writes it back one higher, `times` times: `node sqliteCounter.ts <file> <times>`. */
import * as Effect from "effect/Effect"
import * as SqlClient from "effect/sql/SqlClient"
import * as Sqlite from "../../src/sql/Sqlite.ts"

const [filename = "", times = "0"] = process.argv.slice(2)

const increment = Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient
  yield* sql.withTransaction(
    Effect.gen(function* () {
      const [row] = yield* sql<{ readonly n: number }>`SELECT n FROM counter`
      yield* Effect.yieldNow
      yield* sql`UPDATE counter SET n = ${(row?.n ?? 0) + 1}`
    })
  )
})

await Effect.runPromise(
  increment.pipe(Effect.repeat({ times: Number(times) - 1 }), Effect.provide(Sqlite.layer({ filename })))
)
