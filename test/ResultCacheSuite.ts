/** What every backend of `ResultCache` does. Times are passed in; those of `invalidate` come from `TestClock`. */
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { TestClock } from "effect/testing"
import * as fc from "fast-check"
import * as ResultCache from "../src/ResultCache.ts"

type Service = ResultCache.ResultCache["Service"]
export interface Options {
  readonly maxEntries?: number
  readonly maxEntryBytes?: number
}
export type Build = (options?: Options) => Effect.Effect<Service, unknown, Scope.Scope>

/** A service of a layer, built anew. */
export const built = <E>(
  layer: Layer.Layer<ResultCache.ResultCache, E>
): Effect.Effect<Service, E, Scope.Scope> =>
  Effect.map(Layer.build(Layer.fresh(layer)), Context.get(ResultCache.ResultCache))

export const keyOf = (more: Partial<ResultCache.Key> = {}): ResultCache.Key => ({
  tenant: "acme",
  principal: "ann",
  tool: "search",
  toolDigest: "d1",
  argumentsHash: "h",
  ...more
})

export const put = (
  service: Service,
  key: ResultCache.Key,
  encoded: unknown,
  {
    now = 0,
    since,
    tags = [],
    ttl = 1_000
  }: { now?: number; since?: number; tags?: Array<string>; ttl?: number } = {}
) => service.put(key, { encoded, ttl, tags, ...(since === undefined ? {} : { since }) }, now)

export const encodedOf = (service: Service, key: ResultCache.Key, now = 0) =>
  Effect.map(service.get(key, now), (entry) => entry?.encoded)

export const suite = (name: string, build: Build, runs: number) =>
  describe(`ResultCache (${name})`, () => {
    it.effect("gives a result until its time has passed", () =>
      Effect.gen(function* () {
        const service = yield* build()
        assert.isUndefined(yield* service.get(keyOf(), 0))
        yield* put(service, keyOf(), { a: [1, "é🙂", null] }, { now: 10, ttl: 500 })
        for (const now of [10, 509]) {
          assert.deepStrictEqual(yield* service.get(keyOf(), now), {
            encoded: { a: [1, "é🙂", null] },
            storedAt: 10
          })
        }
        assert.isUndefined(yield* service.get(keyOf(), 510))
        yield* put(service, keyOf(), "new", { now: 600, ttl: Number.POSITIVE_INFINITY })
        assert.deepStrictEqual(yield* service.get(keyOf(), 1e15), { encoded: "new", storedAt: 600 })
        for (const ttl of [0, -1, Number.NaN]) {
          yield* put(service, keyOf(), "never", { ttl })
          assert.isUndefined(yield* service.get(keyOf(), 0))
        }
      })
    )

    it.effect("gives nobody a result of another tenant, principal, tool, definition or arguments", () =>
      Effect.gen(function* () {
        const service = yield* build()
        const keys = [
          keyOf(),
          keyOf({ tenant: undefined }),
          keyOf({ tenant: "" }),
          keyOf({ principal: undefined }),
          keyOf({ principal: "" }),
          keyOf({ principal: "-" }),
          keyOf({ toolDigest: "d2" }),
          keyOf({ argumentsHash: "h2" }),
          keyOf({ tenant: "acmea", principal: "nn" }),
          keyOf({ principal: "anns", tool: "earch" }),
          keyOf({ tool: "searchd", toolDigest: "1" }),
          keyOf({ toolDigest: "d", argumentsHash: "1h" }),
          keyOf({ tenant: "__proto__", principal: "constructor", tool: "%", argumentsHash: "'" })
        ]
        for (const [n, key] of keys.entries()) yield* put(service, key, n)
        for (const [n, key] of keys.entries()) assert.strictEqual(yield* encodedOf(service, key), n)
      })
    )

    it.effect("keeps what it was given, not what became of it", () =>
      Effect.gen(function* () {
        const service = yield* build()
        const result = { list: [1] }
        yield* put(service, keyOf(), result)
        result.list.push(2)
        const first = yield* encodedOf(service, keyOf())
        assert.deepStrictEqual(first, { list: [1] })
        ;(first as typeof result).list.push(3)
        assert.deepStrictEqual(yield* encodedOf(service, keyOf()), { list: [1] })
      })
    )

    it.effect("keeps nothing that is too large or no JSON, nor what that replaces", () =>
      Effect.gen(function* () {
        const service = yield* build({ maxEntryBytes: 20 })
        const circular: Record<string, unknown> = {}
        circular["self"] = circular
        for (const bad of ["x".repeat(19), "é".repeat(10), circular, 1n, undefined]) {
          yield* put(service, keyOf(), "before")
          yield* put(service, keyOf(), bad)
          assert.isUndefined(yield* service.get(keyOf(), 0))
        }
        for (const good of ["x".repeat(18), "é".repeat(9), null, 0, false, ""]) {
          yield* put(service, keyOf(), good)
          assert.strictEqual(yield* encodedOf(service, keyOf()), good)
        }
      })
    )

    it.effect("forgets what all of a selection holds for, and says how many", () =>
      Effect.gen(function* () {
        const service = yield* build()
        const all: ReadonlyArray<readonly [string, ResultCache.Key, Array<string>]> = [
          ["ann", keyOf(), ["web", "read"]],
          ["bob", keyOf({ principal: "bob" }), ["web"]],
          ["shared", keyOf({ principal: undefined }), ["web"]],
          ["other tool", keyOf({ tool: "fetch" }), ["web"]],
          ["other tenant", keyOf({ tenant: "umbrella" }), ["read"]],
          ["no tenant", keyOf({ tenant: undefined }), []]
        ]
        const gone = Effect.fnUntraced(function* (selection: ResultCache.Selection) {
          for (const [what, key, tags] of all) yield* put(service, key, what, { tags })
          const count = yield* service.invalidate(selection)
          const left = yield* Effect.forEach(all, ([, key]) => encodedOf(service, key))
          const names = all.flatMap(([what], n) => (left[n] === undefined ? [what] : []))
          assert.strictEqual(count, names.length)
          return names
        })
        assert.deepStrictEqual(yield* gone({ tool: "fetch" }), ["other tool"])
        assert.deepStrictEqual(yield* gone({ tag: "read" }), ["ann", "other tenant"])
        assert.deepStrictEqual(yield* gone({ tag: "rea" }), [])
        assert.deepStrictEqual(yield* gone({ tag: "%" }), [])
        assert.deepStrictEqual(yield* gone({ principal: "ann" }), [
          "ann",
          "other tool",
          "other tenant",
          "no tenant"
        ])
        assert.deepStrictEqual(yield* gone({ principal: "ann", tenant: "acme" }), ["ann", "other tool"])
        assert.deepStrictEqual(yield* gone({ tenant: "umbrella" }), ["other tenant"])
        assert.deepStrictEqual(yield* gone({ tool: "search", tag: "web", tenant: "acme" }), [
          "ann",
          "bob",
          "shared"
        ])
        assert.deepStrictEqual(yield* gone({ tool: "search", tag: "web", principal: "nobody" }), [])
        assert.strictEqual((yield* gone({})).length, all.length)
      })
    )

    it.effect("knows a result that was replaced by its new tags only", () =>
      Effect.gen(function* () {
        const service = yield* build()
        yield* put(service, keyOf(), "before", { tags: ["old"] })
        yield* put(service, keyOf(), "after", { tags: ["new"] })
        assert.strictEqual(yield* service.invalidate({ tag: "old" }), 0)
        assert.strictEqual(yield* service.invalidate({ tag: "new" }), 1)
      })
    )

    it.effect("does not keep what began before an invalidation and ended after it", () =>
      Effect.gen(function* () {
        const service = yield* build()
        yield* TestClock.adjust(100)
        yield* service.invalidate({ tag: "web" })
        yield* TestClock.adjust(50)
        for (const since of [0, 99, 100]) {
          yield* put(service, keyOf(), "old", { now: 150, since })
          assert.isUndefined(yield* service.get(keyOf(), 150))
        }
        yield* put(service, keyOf(), "new", { now: 150, since: 101 })
        assert.strictEqual(yield* encodedOf(service, keyOf(), 150), "new")
        yield* put(service, keyOf(), "older", { now: 160, since: 100 })
        assert.strictEqual(yield* encodedOf(service, keyOf(), 160), "new")
      })
    )

    it.effect("holds no more than it is told", () =>
      Effect.gen(function* () {
        const service = yield* build({ maxEntries: 50 })
        for (let n = 0; n < 301; n++)
          yield* put(service, keyOf({ argumentsHash: `${n}` }), n, { now: n, ttl: 1e6 })
        const kept = yield* Effect.forEach(Array.from({ length: 301 }), (_, n) =>
          encodedOf(service, keyOf({ argumentsHash: `${n}` }), 301)
        )
        const left = kept.filter((encoded) => encoded !== undefined)
        assert.isAtMost(left.length, 50)
        assert.include(left, 300)
        assert.notInclude(left, 0)
      })
    )

    it.effect("gives the last result that was put and stands, for any order of steps", () =>
      Effect.gen(function* () {
        const service = yield* build()
        const principal = fc.constantFrom("ann", "bob")
        const tool = fc.constantFrom("search", "fetch")
        const tag = fc.constantFrom("web", "read")
        const step = fc.oneof(
          fc.record({
            does: fc.constant("put" as const),
            principal: fc.option(principal, { nil: undefined }),
            tool,
            tags: fc.uniqueArray(tag),
            ttl: fc.nat(40),
            after: fc.nat(10)
          }),
          fc.record({
            does: fc.constant("get" as const),
            principal: fc.option(principal, { nil: undefined }),
            tool,
            after: fc.nat(10)
          }),
          fc.record({
            does: fc.constant("invalidate" as const),
            selection: fc.record({ principal, tool, tag }, { requiredKeys: [] }),
            after: fc.nat(10)
          })
        )
        type Step = typeof step extends fc.Arbitrary<infer A> ? A : never
        const check = Effect.fnUntraced(function* (steps: ReadonlyArray<Step>) {
          yield* service.invalidate({})
          let now = 0
          let kept: Array<{ key: ResultCache.Key; tags: Array<string>; encoded: number; until: number }> = []
          const same = (a: ResultCache.Key, b: ResultCache.Key) =>
            a.principal === b.principal && a.tool === b.tool
          for (const [n, step] of steps.entries()) {
            now += step.after
            switch (step.does) {
              case "put": {
                const key = keyOf({ principal: step.principal, tool: step.tool })
                yield* put(service, key, n, { now, ttl: step.ttl, tags: step.tags })
                kept = kept.filter((entry) => !same(entry.key, key))
                kept.push({ key, tags: step.tags, encoded: n, until: now + step.ttl })
                break
              }
              case "get": {
                const key = keyOf({ principal: step.principal, tool: step.tool })
                const found = kept.find((entry) => same(entry.key, key) && now < entry.until)
                assert.strictEqual(yield* encodedOf(service, key, now), found?.encoded)
                break
              }
              case "invalidate": {
                const { principal, tag, tool } = step.selection
                yield* service.invalidate(step.selection)
                kept = kept.filter(
                  ({ key, tags }) =>
                    (principal !== undefined && principal !== key.principal) ||
                    (tool !== undefined && tool !== key.tool) ||
                    (tag !== undefined && !tags.includes(tag))
                )
                break
              }
            }
          }
        })
        yield* Effect.promise(() =>
          fc.assert(
            fc.asyncProperty(fc.array(step, { maxLength: 40, size: "max" }), (steps) =>
              Effect.runPromise(check(steps))
            ),
            { numRuns: runs }
          )
        )
      })
    )
  })
