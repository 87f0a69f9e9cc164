/** `node fileAuditLogHolder.ts <directory>`: opens the files of an audit log, appends a record and waits to be killed. */
import { NodeFileSystem, NodePath } from "@effect/platform-node"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as FileAuditLog from "../../src/FileAuditLog.ts"

const line = { sequence: 1, time: 1, line: JSON.stringify({ v: 1, sequence: 1, time: 1, text: "é1" }) }

await FileAuditLog.makeStore({ directory: process.argv[2] ?? "" }).pipe(
  Effect.flatMap((store) => store.append([line], undefined, "head 1")),
  Effect.andThen(Effect.sync(() => process.stdout.write("ready\n"))),
  Effect.andThen(Effect.never),
  Effect.scoped,
  Effect.provide(Layer.merge(NodeFileSystem.layer, NodePath.layer)),
  Effect.runPromise
)
