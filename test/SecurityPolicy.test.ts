import { assert, describe, it } from "@effect/vitest"
import * as Tool from "effect/ai/Tool"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Schema from "effect/Schema"
import * as fc from "fast-check"
import { defaults } from "../src/internal/argumentLimits.ts"
import * as Principal from "../src/Principal.ts"
import * as SecurityPolicy from "../src/SecurityPolicy.ts"
import * as ToolAnnotations from "../src/ToolAnnotations.ts"
import * as Verdict from "../src/Verdict.ts"

const facts = (tool: Tool.Any) => ToolAnnotations.read(tool)
const named = (name: string) => facts(Tool.make(name))

const rulesFor = (
  policy: SecurityPolicy.Policy,
  tool: ToolAnnotations.ToolFacts,
  rules: ReadonlyArray<SecurityPolicy.Rule> = []
) => Effect.runSync(SecurityPolicy.make(policy, { rules })).compile(tool, "digest")

const byName = (policy: SecurityPolicy.Policy, tool: ToolAnnotations.ToolFacts) =>
  rulesFor(policy, tool).byName
const rulesOf = (verdict: Verdict.Verdict) =>
  verdict._tag === "Allow" ? [] : verdict.reasons.map((reason) => reason.rule)

const problems = (json: unknown) => Effect.runSync(Effect.flip(SecurityPolicy.decode(json))).problems

describe("a policy as data", () => {
  it.effect("decodes from JSON and keeps what it says", () =>
    Effect.gen(function* () {
      const json = {
        default: "deny",
        allow: ["search_*"],
        deny: ["delete_*"],
        requireConfirmation: ["payment_*"],
        requireApproval: ["wire_*"],
        allowedDomains: ["*.company.com", "10.0.0.0/8"],
        deniedDomains: ["secret.company.com"],
        argumentLimits: { depth: 8 }
      }
      assert.deepStrictEqual(
        yield* SecurityPolicy.decode(JSON.parse(JSON.stringify(json))),
        json as SecurityPolicy.Policy
      )
      assert.deepStrictEqual(yield* SecurityPolicy.decode({}), {})
    })
  )

  it("names every field that is wrong, in plain words", () => {
    assert.deepStrictEqual(
      problems({
        default: "maybe",
        allow: "search_*",
        deny: ["ok", " "],
        requireConfirmation: [1],
        requireApprovals: [],
        allowedDomains: ["https://company.com", "10.0.0.1/8"],
        deniedDomains: null,
        argumentLimits: { depth: 1001, bytes: "1", items: 0, size: 1 }
      })
        .map((problem) => [problem.field, problem.message])
        .sort(),
      [
        ["allow", `"allow" must be a list`],
        ["allowedDomains[0]", `"allowedDomains[0]" must be a host without scheme, user, port and path`],
        [
          "allowedDomains[1]",
          `"allowedDomains[1]" must be a host, or an address range such as 10.0.0.0/8 with no bits set beyond its prefix`
        ],
        ["argumentLimits.bytes", `"argumentLimits.bytes" must be a number`],
        ["argumentLimits.depth", `"argumentLimits.depth" must be a whole number from 1 to 1000`],
        ["argumentLimits.items", `"argumentLimits.items" must be a whole number from 1 to 9007199254740991`],
        ["argumentLimits.size", `"argumentLimits.size" is not a field of a security policy`],
        ["default", `"default" must be "allow" or "deny"`],
        ["deniedDomains", `"deniedDomains" must be a list`],
        ["deny[1]", `"deny[1]" must not be empty`],
        ["requireApprovals", `"requireApprovals" is not a field of a security policy`],
        ["requireConfirmation[0]", `"requireConfirmation[0]" must be a text`]
      ]
    )
    assert.deepStrictEqual(problems(null), [{ field: "", message: "it must be an object" }])
    assert.strictEqual(
      Effect.runSync(Effect.flip(SecurityPolicy.decode({ deny: [""] }))).message,
      `The security policy is not valid: "deny[0]" must not be empty`
    )
  })

  it.effect("dies with the same message when a program gives an invalid one", () =>
    Effect.gen(function* () {
      const exit = yield* Effect.exit(SecurityPolicy.make({ allowedDomains: ["*.10.0.0.1"] }))
      assert(Exit.isFailure(exit) && Cause.hasDies(exit.cause))
      assert.include(
        Cause.pretty(exit.cause),
        `"allowedDomains[0]" must not have a wildcard before an address`
      )
    })
  )
})

describe("rules by name", () => {
  it("deny over everything, and say which rule", () => {
    const everything = {
      allow: ["*"],
      requireConfirmation: ["*"],
      requireApproval: ["*"],
      deny: ["x", "Delete_*"]
    }
    assert.deepStrictEqual(byName(everything, named("github__delete_repo")), {
      _tag: "Deny",
      reasons: [{ rule: `deny "Delete_*"`, message: "The security policy denies this tool." }]
    })
  })

  it("deny wins whatever else the policy says", () => {
    const globs = fc.array(fc.constantFrom("*", "delete_*", "search", "DELETE_user", "x"), { maxLength: 3 })
    const policy = fc.record(
      {
        default: fc.constantFrom("allow" as const, "deny" as const),
        allow: globs,
        deny: globs,
        requireConfirmation: globs,
        requireApproval: globs
      },
      { requiredKeys: [] }
    )
    const confirmation = fc.constantFrom(undefined, "confirm" as const, "approve" as const)
    fc.assert(
      fc.property(policy, confirmation, (policy, confirmation) => {
        const tool = { ...named("delete_user"), confirmation }
        const hit = (globs: ReadonlyArray<string> = []) =>
          globs.some((glob) => glob !== "search" && glob !== "x")
        const denied =
          hit(policy.deny) ||
          (policy.default === "deny" &&
            ![policy.allow, policy.requireConfirmation, policy.requireApproval].some(hit))
        const expected = denied
          ? "Deny"
          : hit(policy.requireApproval) || confirmation === "approve"
            ? "Approve"
            : hit(policy.requireConfirmation) || confirmation === "confirm"
              ? "Confirm"
              : "Allow"
        assert.strictEqual(byName(policy, tool)._tag, expected)
      }),
      { numRuns: 500 }
    )
  })

  it("deny by default what no glob names", () => {
    const policy = {
      default: "deny",
      allow: ["a"],
      requireConfirmation: ["b"],
      requireApproval: ["c"]
    } as const
    assert.deepStrictEqual(
      ["a", "b", "c", "d"].map((name) => byName(policy, named(name))._tag),
      ["Allow", "Confirm", "Approve", "Deny"]
    )
    assert.deepStrictEqual(rulesOf(byName(policy, named("d"))), [`default "deny"`])
    assert.strictEqual(byName({}, named("d"))._tag, "Allow")
  })

  it("ask for approval instead of confirmation where money or deletion is at stake", () => {
    const tool = (...capabilities: ReadonlyArray<string>) =>
      facts(Tool.make("pay").annotate(ToolAnnotations.Capabilities, capabilities))
    const policy = { requireConfirmation: ["p*"] }
    assert.strictEqual(byName(policy, tool("read_data"))._tag, "Confirm")
    assert.strictEqual(byName(policy, tool("read_data", "financial"))._tag, "Approve")
    assert.strictEqual(byName(policy, tool("delete_data"))._tag, "Approve")
    assert.deepStrictEqual(rulesOf(byName(policy, tool("delete_data"))), [`requireConfirmation "p*"`])
  })

  it("take the tool's own word as given", () => {
    const tool = (confirmation: "confirm" | "approve") =>
      facts(
        Tool.make("pay")
          .annotate(ToolAnnotations.Confirmation, confirmation)
          .annotate(ToolAnnotations.Capabilities, ["financial"])
      )
    assert.strictEqual(byName({}, tool("confirm"))._tag, "Confirm")
    assert.strictEqual(byName({}, tool("approve"))._tag, "Approve")
    assert.deepStrictEqual(rulesOf(byName({ requireApproval: ["pay"] }, tool("approve"))), [
      `requireApproval "pay"`,
      `confirmation "approve"`
    ])
    assert.strictEqual(byName({ deny: ["pay"] }, tool("confirm"))._tag, "Deny")
  })

  it("find one tool among ten thousand globs in a moment", () => {
    const globs = Array.from({ length: 10_000 }, (_, n) => `tool_${n}_*`)
    const policy = Effect.runSync(
      SecurityPolicy.make({ deny: [...globs, "last*"], allowedDomains: globs.map((_, n) => `*.d${n}.com`) })
    )
    const before = process.cpuUsage()
    assert.deepStrictEqual(rulesOf(policy.compile(named("last_one"), "digest").byName), [`deny "last*"`])
    const { byArguments } = policy.compile(named("other"), "digest")
    for (let i = 0; i < 1000; i++) byArguments!({ url: "https://a.d9999.com" }, Principal.anonymous)
    const { system, user } = process.cpuUsage(before)
    assert.isBelow((user + system) / 1000, 500)
  })
})

describe("rules by arguments", () => {
  const check = (
    policy: SecurityPolicy.Policy,
    params: unknown,
    tool = named("fetch"),
    rules: ReadonlyArray<SecurityPolicy.Rule> = []
  ) => rulesFor(policy, tool, rules).byArguments!(params, Principal.anonymous)

  it("are absent where none looks at the arguments", () => {
    assert.isUndefined(rulesFor({ deny: ["x"] }, named("a")).byArguments)
    assert.isUndefined(rulesFor({ deniedDomains: [] }, named("a")).byArguments)
    assert.isDefined(rulesFor({ allowedDomains: [] }, named("a")).byArguments)
  })

  it("deny a domain with the field and the host, and show nothing else of the arguments", () => {
    const policy = { allowedDomains: ["*.company.com"], deniedDomains: ["old.company.com"] }
    assert.deepStrictEqual(
      check(policy, { body: { links: ["https://key:secret@evil.com/secret?secret"] } }),
      {
        _tag: "Deny",
        reasons: [
          {
            rule: "allowedDomains",
            message: `The host evil.com in "body.links[0]" is not among the allowed domains.`
          }
        ]
      }
    )
    assert.deepStrictEqual(check(policy, "http://old.company.com"), {
      _tag: "Deny",
      reasons: [{ rule: "deniedDomains", message: "The host old.company.com in the arguments is denied." }]
    })
    assert.deepStrictEqual(check(policy, { url: "http://[secret" }), {
      _tag: "Deny",
      reasons: [{ rule: "allowedDomains", message: `The host of a URL in "url" cannot be read.` }]
    })
    assert.deepStrictEqual(
      check(policy, { url: "https://api.company.com/x", file: "report.zip" }),
      Verdict.allow
    )
  })

  it("read annotated fields wherever the schema puts them", () => {
    const Host = Schema.String.annotate(ToolAnnotations.host)
    interface Tree {
      readonly at: string
      readonly kids: ReadonlyArray<Tree>
    }
    const Tree = Schema.Struct({
      at: Host,
      kids: Schema.Array(Schema.suspend((): Schema.Codec<Tree> => Tree))
    })
    class Target extends Schema.Class<Target>("Target")({ name: Host }) {}
    const tool = facts(
      Tool.make("scan", {
        parameters: Schema.Struct({
          host: Host,
          maybe: Schema.optionalKey(Host.check(Schema.isMinLength(1))),
          either: Schema.optional(Schema.Union([Schema.Number, Host])),
          key: Schema.String.annotateKey(ToolAnnotations.host),
          list: Schema.Array(Schema.Struct({ host: Host })),
          pair: Schema.Tuple([Schema.String, Host]),
          record: Schema.Record(Schema.String, Host),
          tree: Tree,
          target: Target,
          url: Schema.URLFromString.annotate(ToolAnnotations.host),
          free: Schema.String
        })
      })
    )
    const policy = { allowedDomains: ["good.com"] }
    const refuses = (params: unknown) => check(policy, params, tool)._tag === "Deny"
    const leaf = { at: "good.com", kids: [] }
    for (const params of [
      { host: "evil" },
      { maybe: "evil" },
      { either: "evil" },
      { key: "evil" },
      { list: [{ host: "good.com" }, { host: "evil" }] },
      { pair: ["x", "evil"] },
      { record: { any: "evil" } },
      { tree: { at: "evil", kids: [] } },
      { tree: { at: "good.com", kids: [leaf, { at: "evil", kids: [] }] } },
      {
        tree: {
          at: "good.com",
          kids: [{ at: "good.com", kids: [{ at: "good.com", kids: [{ at: "evil", kids: [] }] }] }]
        }
      },
      { target: { name: "evil" } },
      { target: new Target({ name: "evil" }) },
      { url: "evil" },
      { url: new URL("https://evil.com") }
    ]) {
      assert.isTrue(refuses(params), JSON.stringify(params))
    }
    assert.isFalse(
      refuses({
        host: "good.com",
        free: "evil.zip",
        tree: { at: "good.com", kids: [leaf] },
        list: [],
        pair: ["evil", "good.com"]
      })
    )
  })

  it("survive schemas that contain one another", () => {
    const types: Array<Schema.Codec<unknown>> = []
    for (let i = 0; i < 30; i++) {
      types.push(
        Schema.Struct(
          Object.fromEntries(
            Array.from({ length: 30 }, (_, n) => [
              `f${n}`,
              Schema.optionalKey(Schema.suspend(() => types[n]!))
            ])
          )
        ) as Schema.Codec<unknown>
      )
    }
    const tool = facts(Tool.make("graph", { parameters: types[0]! }))
    assert.strictEqual(check({ allowedDomains: [] }, { f1: "evil.com" }, tool)._tag, "Deny")
  })

  it("combine with the application's own rules, and see tool and principal", () => {
    const rule = (name: string, verdict: Verdict.Verdict): SecurityPolicy.Rule => ({
      name,
      decide: () => verdict
    })
    const policy = { allowedDomains: ["good.com"] }
    assert.strictEqual(
      check(policy, {}, named("a"), [
        rule("a", Verdict.confirm("a", "A.")),
        rule("b", Verdict.approve("b", "B."))
      ])._tag,
      "Approve"
    )
    assert.deepStrictEqual(
      rulesOf(check(policy, "http://evil.com", named("a"), [rule("a", Verdict.approve("a", "A."))])),
      ["allowedDomains"]
    )
    const seen: SecurityPolicy.Rule = {
      name: "weekday",
      decide: ({ params, principal, tool }) =>
        Verdict.deny(`${tool.name} ${principal.id} ${JSON.stringify(params)}`, "No.")
    }
    const verdict = rulesFor({}, named("a"), [seen]).byArguments!({ x: 1 }, Principal.make({ id: "ann" }))
    assert.deepStrictEqual(rulesOf(verdict), [`a ann {"x":1}`])
  })

  it("are asked in their order, and only for the tools that they name", () => {
    const asked: Array<string> = []
    const rule = (name: string, tools?: ReadonlyArray<string>): SecurityPolicy.Rule => ({
      name,
      ...(tools === undefined ? {} : { tools }),
      decide: () => {
        asked.push(name)
        return Verdict.allow
      }
    })
    const rules = [rule("1", ["pay_*", "PAY"]), rule("2"), rule("3", ["*_card", "pay*"]), rule("4", [])]
    const askedFor = (tool: string) => {
      asked.length = 0
      check({}, {}, named(tool), rules)
      return asked.join("")
    }
    assert.strictEqual(askedFor("pay_card"), "123")
    assert.strictEqual(askedFor("pay"), "123")
    assert.strictEqual(askedFor("lost_card"), "23")
    assert.strictEqual(askedFor("read"), "2")
    for (const tools of [["pay"], []]) {
      assert.isUndefined(rulesFor({}, named("read"), [rule("1", tools)]).byArguments)
    }
  })

  it("are in the digest of the tools that they name", () => {
    const digestOf = (tool: string, rules: ReadonlyArray<SecurityPolicy.Rule>) =>
      rulesFor({}, named(tool), rules).digest
    const decide = () => Verdict.allow
    const rule: SecurityPolicy.Rule = { name: "1", tools: ["pay"], decide }
    assert.strictEqual(digestOf("read", [rule]), digestOf("read", []))
    assert.notStrictEqual(digestOf("pay", [rule]), digestOf("pay", []))
    assert.notStrictEqual(digestOf("pay", [rule]), digestOf("pay", [{ ...rule, name: "2" }]))
    assert.notStrictEqual(
      digestOf("pay", [rule]),
      digestOf("pay", [{ ...rule, decide: () => Verdict.confirm("1", "") }])
    )
    assert.notStrictEqual(digestOf("pay", [{ name: "1", decide }]), digestOf("pay", [{ name: "2", decide }]))
  })

  it("ask no further rule after a denial", () => {
    let asked = 0
    const counting: SecurityPolicy.Rule = {
      name: "counting",
      decide: () => {
        asked++
        return Verdict.deny("counting", "No.")
      }
    }
    const policy = { allowedDomains: ["good.com"] }
    check(policy, "http://evil.com", named("a"), [counting])
    assert.strictEqual(asked, 0)
    assert.deepStrictEqual(rulesOf(check(policy, "x", named("a"), [counting, counting])), ["counting"])
    assert.strictEqual(asked, 1)
  })

  it("deny when a rule throws or does not answer with a verdict, and keep its words to themselves", () => {
    const answers: ReadonlyArray<() => unknown> = [
      () => {
        throw new Error("secret")
      },
      () => undefined,
      () => Promise.resolve(Verdict.allow),
      () => ({ _tag: "constructor" })
    ]
    for (const answer of answers) {
      assert.deepStrictEqual(
        check({}, {}, named("a"), [{ name: "mine", decide: answer as SecurityPolicy.Rule["decide"] }]),
        {
          _tag: "Deny",
          reasons: [{ rule: "mine", message: `The rule "mine" could not decide, so the call is refused.` }]
        }
      )
    }
    const trap = new Proxy(
      {},
      {
        ownKeys: () => {
          throw new Error("secret")
        }
      }
    )
    const verdict = check({ allowedDomains: [] }, trap)
    assert.strictEqual(verdict._tag, "Deny")
    assert.notInclude(JSON.stringify(verdict), "secret")
  })
})

describe("the service", () => {
  it.effect("puts another policy in force and says that rules are stale", () =>
    Effect.gen(function* () {
      const service = yield* SecurityPolicy.SecurityPolicy
      const before = service.version()
      assert.strictEqual(service.compile(named("a"), "digest").byName._tag, "Deny")
      yield* service.set({ argumentLimits: { depth: 3 } })
      assert.notStrictEqual(service.version(), before)
      assert.deepStrictEqual(yield* service.policy, { argumentLimits: { depth: 3 } })
      const rules = service.compile(named("a"), "digest")
      assert.strictEqual(rules.byName._tag, "Allow")
      assert.deepStrictEqual(rules.limits, { ...defaults, depth: 3 })
    }).pipe(Effect.provide(SecurityPolicy.layer({ deny: ["a"] })))
  )

  it.effect("keeps its policy when the next one is not valid", () =>
    Effect.gen(function* () {
      const service = yield* SecurityPolicy.SecurityPolicy
      const version = service.version()
      const exit = yield* Effect.exit(service.set({ deny: [""] }))
      assert.isTrue(Exit.isFailure(exit))
      assert.deepStrictEqual(yield* service.policy, { deny: ["a"] })
      assert.strictEqual(service.version(), version)
    }).pipe(Effect.provide(SecurityPolicy.layer({ deny: ["a"] })))
  )

  it.effect("does not follow changes to the lists it was given", () =>
    Effect.gen(function* () {
      const deny = ["a"]
      const service = yield* SecurityPolicy.make({ deny })
      deny.length = 0
      assert.strictEqual(service.compile(named("a"), "digest").byName._tag, "Deny")
    })
  )
})
