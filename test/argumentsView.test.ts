import { assert, describe, it } from "@effect/vitest"
import { defaults, inspect, type Measured } from "../src/internal/argumentLimits.ts"
import { ArgumentsView } from "../src/internal/argumentsView.ts"

const key = new Uint8Array(32)
const names = new Set(["id", "more"])
const redact = () => ({ value: "masked", masked: [{ path: "id", rule: "test" }] })

const measured = (raw: unknown): Measured => inspect(raw, defaults) as Measured

const viewOf = (raw: unknown, hashKey = key, sharesInput = false) =>
  ArgumentsView.of({ hashKey, names, redact, sharesInput }, measured(raw))

describe("the view of a call's arguments", () => {
  it("is of the arguments as they were, whatever becomes of them", () => {
    const mine: Record<string, unknown> = { id: 1 }
    const view = viewOf(mine)
    mine["id"] = "changed"
    mine["mine"] = mine
    assert.deepStrictEqual(view.toJSON(), viewOf({ id: 1 }).toJSON())
    assert.strictEqual(view.shape, "{ id: number }")
  })

  it("is of the arguments as they were, whatever a handler that is given parts of them does", () => {
    const arguments_ = measured({ id: 1, more: [{ id: 2 }] })
    const view = ArgumentsView.of({ hashKey: key, names, redact, sharesInput: true }, arguments_)
    const parts = arguments_.copy as { more: Array<unknown> }
    parts.more.push("changed")
    assert.deepStrictEqual(view.toJSON(), viewOf({ id: 1, more: [{ id: 2 }] }).toJSON())
  })

  it("hashes equal arguments alike, in any order of their keys, and under its key only", () => {
    const hash = (raw: unknown, by = key) => viewOf(raw, by).hash
    assert.strictEqual(hash({ id: 1, more: [true] }), hash({ more: [true], id: 1 }))
    assert.notStrictEqual(hash({ id: 1 }), hash({ id: "1" }))
    assert.notStrictEqual(hash({ id: 1 }), hash({ id: 1 }, new Uint8Array(32).fill(1)))
  })

  it("shows what the redaction makes of them, of arguments nothing walked nothing", () => {
    assert.deepStrictEqual(viewOf({ id: 1 }).view, redact())
    assert.deepStrictEqual(ArgumentsView.refused("depth").view, { value: undefined, masked: [] })
  })

  it("names only the keys of the schema", () => {
    assert.strictEqual(viewOf({ id: 1, secret_4711: 2 }).shape, "{ id: number, 1 other }")
  })
})
