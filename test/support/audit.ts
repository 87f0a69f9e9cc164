/** Logs, calls and stores that break, for tests of the audit log. */
import * as Effect from "effect/Effect"
import * as ErrorReporter from "effect/ErrorReporter"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as AuditLog from "../../src/AuditLog.ts"
import type { CallRecord } from "../../src/CallRecord.ts"
import { ArgumentsView } from "../../src/internal/argumentsView.ts"
import { makeMemoryStore } from "../../src/internal/audit/memory.ts"
import * as Keyring from "../../src/Keyring.ts"
import { Redaction, type View } from "../../src/Redaction.ts"
import { type ReasonTag, type Status, table } from "../../src/ToolError.ts"
import { type LiveRecord, pending } from "./records.ts"

export type Log = AuditLog.AuditLog["Service"]

/** Where a log can be opened again; in memory every opening is a log of its own. */
export interface Place {
  readonly open: (options?: AuditLog.Options) => Effect.Effect<Log, never, Scope.Scope>
}

export type Backend = Effect.Effect<Place, never, Scope.Scope>

export const keyring = Keyring.make({
  deployment: "test",
  active: "k1",
  keys: { k1: Redacted.make("a key of the tests, long enough for it") }
})

/** Masks what stands under `password`, and `sk-` with what follows. */
const redacted = (value: unknown, path: string, masked: Array<{ path: string; rule: string }>): unknown => {
  if (typeof value === "string") {
    if (/sk-\w+/.test(value)) masked.push({ path, rule: "key" })
    return value.replace(/sk-\w+/g, "[redacted key]")
  }
  if (Array.isArray(value)) return value.map((item, i) => redacted(item, `${path}[${i}]`, masked))
  if (typeof value !== "object" || value === null) return value
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => {
      const at = path === "" ? key : `${path}.${key}`
      if (key !== "password") return [key, redacted(item, at, masked)]
      masked.push({ path: at, rule: "password" })
      return [key, "[redacted password]"]
    })
  )
}

export const view = (value: unknown): View => {
  const masked: Array<{ path: string; rule: string }> = []
  return { value: redacted(value, "", masked), masked }
}

const redaction = Redaction.of({
  forTool: () => ({ params: view, result: view, message: (text: string) => text }),
  value: view,
  text: (text) => String(view(text).value)
})

/** What a log needs. */
export const requirements: Layer.Layer<Keyring.Keyring | Redaction> = Layer.merge(
  Layer.succeed(Keyring.Keyring, keyring),
  Layer.succeed(Redaction, redaction)
)

export const overStore = (
  store: AuditLog.AuditStore,
  options?: AuditLog.Options
): Effect.Effect<Log, never, Scope.Scope> => Effect.provide(AuditLog.make(store, options), requirements)

/** Arguments as the pipeline keeps them. */
export const args = (raw: unknown): ArgumentsView =>
  ArgumentsView.of(
    { hashKey: keyring.key("arguments"), names: new Set(), redact: view, sharesInput: false },
    { _tag: "Ok", bytes: JSON.stringify(raw)?.length ?? 2, copy: raw }
  )

/** A call that has reached its handler. */
export const running = (fields: Partial<CallRecord> = {}): LiveRecord => {
  const record = pending({ traceId: "trace-1", arguments: args({ city: "Rome" }), ...fields })
  record.status = "running"
  record.attempts = 1
  return record
}

/** Ends a call. */
export const end = (
  record: LiveRecord,
  outcome: "success" | ReasonTag,
  fields: Partial<CallRecord> & { readonly took?: number } = {}
): LiveRecord => {
  const { took = 0, ...rest } = fields
  Object.assign(record, { completedAt: record.queuedAt + took }, rest)
  const status: Status = outcome === "success" ? "success" : table[outcome].status
  if (rest.status === undefined) record.status = status
  if (outcome !== "success") {
    record.reason = outcome
    record.code = table[outcome].code
  }
  return record
}

/** A whole call, from its intent to its outcome, at a time. */
export const called = Effect.fnUntraced(function* (
  log: Log,
  now: number,
  fields: Partial<CallRecord> & { readonly took?: number } = {},
  result: unknown = { ok: true }
) {
  const { took = 0, ...rest } = fields
  const record = running({ queuedAt: now, ...rest })
  yield* log.intent(record, now)
  end(record, "success", { took })
  yield* log.outcome(record, result, now + took)
  return record
})

/** A call that was refused before its handler. */
export const refused = Effect.fnUntraced(function* (
  log: Log,
  now: number,
  fields: Partial<CallRecord> = {},
  reason: ReasonTag = "PolicyDenied"
) {
  const record = end(pending({ queuedAt: now, stage: "policy", ...fields }), reason)
  yield* log.outcome(record, undefined, now)
  return record
})

export const linesOf = (store: Pick<AuditLog.AuditStore, "read">) => Stream.runCollect(store.read({}))

/** What reached the error reporters. */
export const reports = (): { readonly messages: Array<string>; readonly layer: Layer.Layer<never> } => {
  const messages: Array<string> = []
  const reporter = ErrorReporter.make(({ error }) => {
    messages.push(error.message)
  })
  return { messages, layer: ErrorReporter.layer([reporter]) }
}

const broken = AuditLog.storeError("broken on purpose", undefined)

/** A store in memory that can be made to fail, to hang, or to do what it is asked and then say that it failed. */
export const fragileStore = () => {
  const store = makeMemoryStore()
  let mode: "works" | "fails" | "hangs" | "lies" = "works"
  let appends = 0
  const guard = <A>(effect: Effect.Effect<A, AuditLog.AuditStoreError>) =>
    Effect.suspend(() => (mode === "fails" ? Effect.fail(broken) : effect))
  const fragile: AuditLog.AuditStore = {
    ...store,
    append: (batch, expected, head) =>
      Effect.suspend(() => {
        appends += 1
        const append = store.append(batch, expected, head)
        switch (mode) {
          case "works":
            return append
          case "fails":
            return Effect.fail(broken)
          case "hangs":
            return Effect.never
          case "lies":
            return Effect.andThen(append, Effect.fail(broken))
        }
      }),
    head: guard(store.head),
    last: guard(store.last),
    put: (name, value) => guard(store.put(name, value))
  }
  return {
    store: fragile,
    inner: store,
    set: (to: typeof mode) =>
      Effect.sync(() => {
        mode = to
      }),
    appends: () => appends
  }
}
