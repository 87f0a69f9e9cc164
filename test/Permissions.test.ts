import { assert, describe, it } from "@effect/vitest"
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as fc from "fast-check"
import * as Capability from "../src/Capability.ts"
import * as Permissions from "../src/Permissions.ts"
import * as Principal from "../src/Principal.ts"
import * as Annotate from "../src/ToolAnnotations.ts"

const toolThatNeeds = (name: string, ...needed: ReadonlyArray<string>) =>
  Tool.make(name, { success: Schema.Void }).annotate(Annotate.Capabilities, needed)

const search = toolThatNeeds("search_web", "network_access", "external_api")
const read = toolThatNeeds("read_file", "read_data")
const remove = toolThatNeeds("github__delete_repo", "delete_data")
const clock = toolThatNeeds("clock")
const undeclared = Tool.make("undeclared")

const canUse = (principal: Principal.Principal, tool: Tool.Any, options?: Permissions.Options) =>
  Effect.provideService(Permissions.make(options).canUse(tool), Principal.CurrentPrincipal, principal)

const granted = { _tag: "Granted" }

const who = (options: Partial<Principal.Principal>) => Principal.make({ id: "ada", ...options })

describe("canUse", () => {
  it.effect("names everything that is missing, in a sentence and as a list", () =>
    Effect.gen(function* () {
      const access = yield* canUse(who({ capabilities: ["read_data"] }), search)
      assert.deepStrictEqual(access, {
        _tag: "Refused",
        missing: ["network_access", "external_api"],
        message: "This needs network_access, external_api, which the caller does not have."
      })
      const one = yield* canUse(who({ capabilities: ["network_access"] }), search)
      assert.deepStrictEqual(one._tag === "Refused" ? one.missing : [], ["external_api"])
    })
  )

  it.effect("grants what a principal's own capabilities cover", () =>
    Effect.gen(function* () {
      const both = who({ capabilities: ["external_api", "network_access", "financial"] })
      assert.deepStrictEqual(yield* canUse(both, search), granted)
    })
  )

  it.effect("grants what the default roles hold, and no more", () =>
    Effect.gen(function* () {
      const reader = who({ roles: ["read"] })
      const writer = who({ roles: ["write"] })
      const admin = who({ roles: ["admin"] })
      const table = [
        [reader, [read], [search, remove]],
        [writer, [read, search], [remove]],
        [admin, [read, search, remove, undeclared], []]
      ] as const
      for (const [principal, may, mayNot] of table) {
        for (const tool of may) assert.deepStrictEqual(yield* canUse(principal, tool), granted)
        for (const tool of mayNot) {
          const access = yield* canUse(principal, tool)
          assert.strictEqual(access._tag, "Refused", `${principal.roles} ${tool.name}`)
        }
      }
    })
  )

  it.effect("adds up a principal's roles and its own capabilities", () =>
    Effect.gen(function* () {
      const needsThree = toolThatNeeds("export", "read_data", "file_system", "reports")
      const roles = { files: ["file_system"] }
      const principal = who({ roles: ["read", "files"], capabilities: ["reports"] })
      assert.deepStrictEqual(yield* canUse(principal, needsThree, { roles }), granted)
    })
  )

  it.effect("knows roles of one's own beside the default ones; a name that is given again is replaced", () =>
    Effect.gen(function* () {
      const roles = { auditor: ["read_data", "audit"], write: ["write_data"] }
      const audits = toolThatNeeds("audit_log", "audit", "read_data")
      assert.deepStrictEqual(yield* canUse(who({ roles: ["auditor"] }), audits, { roles }), granted)
      assert.deepStrictEqual(yield* canUse(who({ roles: ["read"] }), read, { roles }), granted)
      const writer = yield* canUse(who({ roles: ["write"] }), read, { roles })
      assert.strictEqual(writer._tag, "Refused")
    })
  )

  it.effect("gives nothing for roles that nobody defined, whatever they are called", () =>
    Effect.gen(function* () {
      for (const role of ["ghost", "__proto__", "constructor", "toString", "*", ""]) {
        const access = yield* canUse(who({ roles: [role] }), read)
        assert.strictEqual(access._tag, "Refused", role)
      }
    })
  )

  it.effect("reads a role's list as a principal's: `*` and `tool:<glob>` work there too", () =>
    Effect.gen(function* () {
      const roles = { root: ["*"], searcher: [Capability.tool("search_*")] }
      assert.deepStrictEqual(yield* canUse(who({ roles: ["root"] }), remove, { roles }), granted)
      assert.deepStrictEqual(yield* canUse(who({ roles: ["searcher"] }), search, { roles }), granted)
      assert.strictEqual((yield* canUse(who({ roles: ["searcher"] }), read, { roles }))._tag, "Refused")
    })
  )

  it.effect("grants tools by glob whatever they need, by either name and without regard to case", () =>
    Effect.gen(function* () {
      const by = (glob: string) => who({ capabilities: [Capability.tool(glob)] })
      for (const glob of ["github__delete_repo", "github__*", "delete_*", "DELETE_REPO", "*"]) {
        assert.deepStrictEqual(yield* canUse(by(glob), remove), granted, glob)
      }
      for (const glob of ["delete", "github", "", "search_*"]) {
        assert.strictEqual((yield* canUse(by(glob), remove))._tag, "Refused", glob)
      }
    })
  )

  it.effect("does not take a tool's need for a grant", () =>
    Effect.gen(function* () {
      const odd = toolThatNeeds("odd", "tool:odd")
      assert.strictEqual((yield* canUse(who({ capabilities: ["odd"] }), odd))._tag, "Refused")
      const wild = toolThatNeeds("wild", "*")
      assert.strictEqual((yield* canUse(who({ capabilities: ["read_data"] }), wild))._tag, "Refused")
    })
  )

  it.effect("gives anonymous nothing but tools that need nothing or do not say", () =>
    Effect.gen(function* () {
      const { canUse } = Permissions.make()
      for (const tool of [search, read, remove]) {
        assert.strictEqual((yield* canUse(tool))._tag, "Refused", tool.name)
      }
      assert.deepStrictEqual(yield* canUse(clock), granted)
      assert.deepStrictEqual(yield* canUse(undeclared), granted)
    })
  )

  it.effect("denies tools that do not say what they need where that is asked for", () =>
    Effect.gen(function* () {
      const options: Permissions.Options = { undeclared: "deny" }
      const holder = who({ capabilities: Capability.known })
      assert.deepStrictEqual(yield* canUse(holder, undeclared, options), {
        _tag: "Refused",
        missing: [],
        message: "The tool does not say what it needs, and only tools that do may be used."
      })
      // One that says that it needs nothing has said so.
      assert.deepStrictEqual(yield* canUse(Principal.anonymous, clock, options), granted)
      assert.deepStrictEqual(yield* canUse(who({ capabilities: ["*"] }), undeclared, options), granted)
      assert.deepStrictEqual(
        yield* canUse(who({ capabilities: ["tool:undecl*"] }), undeclared, options),
        granted
      )
    })
  )

  it.effect("asks for the principal of the calling fiber each time", () =>
    Effect.gen(function* () {
      const { canUse } = Permissions.make()
      const asReader = Effect.provideService(
        canUse(read),
        Principal.CurrentPrincipal,
        who({ roles: ["read"] })
      )
      assert.strictEqual((yield* asReader)._tag, "Granted")
      assert.strictEqual((yield* canUse(read))._tag, "Refused")
    })
  )

  it("never takes away by granting more, and refuses exactly by what is missing", () => {
    const capability = fc.constantFrom(...Capability.known, "audit", "reports")
    fc.assert(
      fc.property(
        fc.uniqueArray(capability),
        fc.uniqueArray(capability),
        fc.uniqueArray(capability),
        (needed, own, more) => {
          const facts = Annotate.read(toolThatNeeds("some", ...needed))
          const access = (held: ReadonlyArray<string>) => Permissions.check(new Set(held), facts, "deny")
          const first = access(own)
          const missing = needed.filter((each) => !own.includes(each))
          assert.strictEqual(first._tag, missing.length === 0 ? "Granted" : "Refused")
          if (first._tag === "Refused") assert.deepStrictEqual(first.missing, missing)
          else assert.strictEqual(access([...own, ...more])._tag, "Granted")
          assert.strictEqual(access([...own, Capability.all])._tag, "Granted")
        }
      ),
      { numRuns: 500 }
    )
  })
})

describe("filter", () => {
  const kit = Toolkit.make(search, read, remove, clock, undeclared)
  const visibleTo = (principal: Principal.Principal, options?: Permissions.Options) =>
    Effect.map(
      Effect.provideService(Permissions.make(options).filter(kit), Principal.CurrentPrincipal, principal),
      (filtered) => Object.keys(filtered.tools)
    )

  it.effect("keeps what the principal may use, in the toolkit's order", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* visibleTo(Principal.anonymous), ["clock", "undeclared"])
      assert.deepStrictEqual(yield* visibleTo(who({ roles: ["read"] })), ["read_file", "clock", "undeclared"])
      assert.deepStrictEqual(yield* visibleTo(who({ roles: ["admin"] })), Object.keys(kit.tools))
      assert.deepStrictEqual(yield* visibleTo(Principal.anonymous, { undeclared: "deny" }), ["clock"])
    })
  )

  it.effect("shows a tool exactly where canUse grants it", () =>
    Effect.gen(function* () {
      for (const role of ["read", "write", "admin", "none"]) {
        const principal = who({ roles: [role] })
        const visible = yield* visibleTo(principal)
        for (const tool of Object.values(kit.tools)) {
          const access = yield* canUse(principal, tool)
          assert.strictEqual(visible.includes(tool.name), access._tag === "Granted", tool.name)
        }
      }
    })
  )

  it.effect("leaves the toolkit as it was", () =>
    Effect.gen(function* () {
      yield* visibleTo(Principal.anonymous)
      assert.lengthOf(Object.keys(kit.tools), 5)
    })
  )
})
