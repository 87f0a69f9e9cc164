import { assert, describe, it } from "@effect/vitest"
import * as Tool from "effect/ai/Tool"
import * as fc from "fast-check"
import * as Glob from "../src/internal/glob.ts"
import * as ToolAnnotations from "../src/ToolAnnotations.ts"

/** What a glob means, said by a regular expression. */
const expected = (pattern: string, name: string): boolean =>
  new RegExp(
    `^${[...pattern.toLowerCase()].map((c) => (c === "*" ? "[^]*" : c === "?" ? "[^]" : c.replace(/[^\w]/, "\\$&"))).join("")}$`
  ).test(name.toLowerCase())

describe("globs", () => {
  it("mean what the same regular expression means", () => {
    const text = (...characters: ReadonlyArray<string>) =>
      fc.string({ unit: fc.constantFrom(...characters), maxLength: 8 })
    fc.assert(
      fc.property(
        text("a", "b", "A", "_", ".", "*", "?"),
        text("a", "b", "B", "_", ".", "x"),
        (pattern, name) => {
          assert.strictEqual(Glob.matches(pattern, name), expected(pattern, name), `${pattern} ${name}`)
        }
      ),
      { numRuns: 1000 }
    )
  })

  it("match every name that their holes were filled to give", () => {
    fc.assert(
      fc.property(
        fc.array(fc.string(), { minLength: 1, maxLength: 5 }),
        fc.array(fc.string()),
        (parts, fill) => {
          const literal = parts.map((part) => part.replaceAll("*", "").replaceAll("?", ""))
          const name = literal
            .map((part, i) => part + (i < literal.length - 1 ? (fill[i] ?? "") : ""))
            .join("")
          assert.isTrue(Glob.matches(literal.join("*"), name))
        }
      ),
      { numRuns: 500 }
    )
  })

  it("ignore case and treat the rest literally", () => {
    assert.isTrue(Glob.matches("DELETE_*", "delete_user"))
    assert.isTrue(Glob.matches("a.b", "A.B"))
    assert.isFalse(Glob.matches("a.b", "axb"))
    assert.isFalse(Glob.matches("delete_*", "undelete_user"))
    assert.isFalse(Glob.matches("", "x"))
    assert.isTrue(Glob.matches("*", ""))
  })

  it("are found in an index of many as if each had been tried", () => {
    const text = (...characters: ReadonlyArray<string>) =>
      fc.string({ unit: fc.constantFrom(...characters), maxLength: 5 })
    fc.assert(
      fc.property(
        fc.array(text("a", "b", "A", "*", "?"), { maxLength: 30 }),
        fc.array(text("a", "b", "B"), { maxLength: 3 }),
        (globs, names) => {
          const places = [...globs.keys()].filter((place) => Glob.matchesAny(globs[place]!, names))
          const index = new Glob.Index(globs)
          assert.deepStrictEqual(index.places(names), places)
          assert.strictEqual(index.find(names), Glob.find(globs, names))
        }
      ),
      { numRuns: 2000 }
    )
  })

  it("do not backtrack over hostile patterns and names", () => {
    const before = process.cpuUsage()
    assert.isFalse(Glob.matches(`${"*a".repeat(1000)}b`, "a".repeat(10_000)))
    assert.isFalse(Glob.matches(`${"*".repeat(100_000)}b`, "a".repeat(1000)))
    assert.isFalse(Glob.matches(`${"?*".repeat(1000)}b`, "a".repeat(10_000)))
    assert.isTrue(Glob.matches("*a*a*a*a*a*a*a*a*a*", "a".repeat(100_000)))
    const { system, user } = process.cpuUsage(before)
    assert.isBelow((user + system) / 1000, 1000)
  })

  it("find the first pattern that matches any of the names", () => {
    assert.strictEqual(Glob.find(["x*", "D*", "*"], ["github__delete", "delete"]), "D*")
    assert.isUndefined(Glob.find(["x*"], ["github__delete", "delete"]))
    assert.isUndefined(Glob.find([], ["delete"]))
  })

  describe("law 11: they match the exposed and the upstream name", () => {
    const names = (tool: Tool.Any) => ToolAnnotations.read(tool).names

    it("takes the upstream name from the prefix", () => {
      const tool = names(Tool.make("github__delete_repo"))
      for (const glob of ["delete_*", "DELETE_REPO", "github__*", "*_repo"]) {
        assert.isTrue(Glob.matchesAny(glob, tool), glob)
      }
      assert.isFalse(Glob.matchesAny("hub__delete_repo", tool))
    })

    it("takes the upstream name that the tool gives", () => {
      const tool = names(Tool.make("remove").annotate(ToolAnnotations.UpstreamName, "delete_repo"))
      assert.isTrue(Glob.matchesAny("delete_*", tool))
      assert.isTrue(Glob.matchesAny("remove", tool))
    })

    it("gives a plain tool only its own name", () => {
      assert.deepStrictEqual(names(Tool.make("delete_repo")), ["delete_repo"])
      assert.deepStrictEqual(names(Tool.make("a__b__delete_x")), [
        "a__b__delete_x",
        "b__delete_x",
        "delete_x"
      ])
      assert.isTrue(Glob.matchesAny("delete_*", names(Tool.make("github___delete_y"))))
      assert.deepStrictEqual(names(Tool.make("__delete")), ["__delete"])
    })
  })
})
