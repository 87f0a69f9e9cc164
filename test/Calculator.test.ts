/** Decimal arithmetic: every digit that is given is right, and what has no result says why, soon. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { ToolAnnotations, ToolExecutor } from "effect-interlock"
import * as Testing from "effect-interlock/testing"
import { Calculator } from "effect-interlock/toolbox"
import * as Fc from "fast-check"
import { type Answer, evaluate, functions } from "../src/toolbox/calculator/evaluate.ts"
import { parse } from "../src/toolbox/calculator/parse.ts"

const world = (options?: Calculator.Options) => Layer.merge(Calculator.layer(options), Testing.layer())

const executor = ToolExecutor.make(Calculator.toolkit)

/** What an expression comes to, or why it comes to nothing. */
const of = (expression: string, asked?: number): Answer | string => {
  try {
    return evaluate(parse(expression), { asked, otherwise: 10 })
  } catch (error) {
    assert.instanceOf(error, Calculator.CalculatorError)
    return error.reason
  }
}
const exactly = (expression: string): string => {
  const answer = of(expression)
  assert.isTrue(typeof answer === "object" && answer.exact, `${expression}: ${JSON.stringify(answer)}`)
  return (answer as Answer).result
}
const about = (expression: string, asked?: number): string => {
  const answer = of(expression, asked)
  assert.isTrue(typeof answer === "object" && !answer.exact, `${expression}: ${JSON.stringify(answer)}`)
  return (answer as Answer).result
}

describe("the calculator", () => {
  it.effect("does its seven operations, on numbers and on strings of digits", () =>
    Effect.gen(function* () {
      const { run } = yield* executor
      const done = (
        operation: "add" | "subtract" | "multiply" | "divide" | "power" | "percent",
        a: number | string,
        b: number | string
      ) =>
        Effect.map(
          run("calculator", { operation, a, b }),
          ({ exact, result }) => `${exact ? "" : "~"}${result}`
        )
      assert.strictEqual(yield* done("add", 0.1, 0.2), "0.3")
      assert.strictEqual(yield* done("subtract", "0.3", 0.1), "0.2")
      assert.strictEqual(yield* done("multiply", "12345678901234567890", "-10"), "-123456789012345678900")
      assert.strictEqual(yield* done("divide", 1, 3), "~0.3333333333")
      assert.strictEqual(yield* done("power", 2, "100"), "1267650600228229401496703205376")
      assert.strictEqual(yield* done("percent", 15, 200), "30")
      const root = yield* run("calculator", { operation: "sqrt", a: 2, precision: 30 })
      assert.deepStrictEqual(root, { result: "1.41421356237309504880168872421", exact: false })
    }).pipe(Effect.provide(world()))
  )

  it.effect("needs b where there are two numbers, and only there", () =>
    Effect.gen(function* () {
      const { run } = yield* executor
      const reason = (params: Parameters<typeof run<"calculator">>[1]) =>
        Effect.map(Effect.flip(run("calculator", params)), (error) =>
          error._tag === "CalculatorError" ? `${error.reason}: ${error.message}` : error.message
        )
      assert.strictEqual(yield* reason({ operation: "add", a: 1 }), "arguments: add needs b as well.")
      assert.strictEqual(
        yield* reason({ operation: "sqrt", a: 1, b: 2 }),
        "arguments: sqrt takes a alone, without b."
      )
      assert.match(
        yield* reason({ operation: "add", a: 2 ** 53, b: 1 }),
        /^arguments: a is a whole number above/
      )
    }).pipe(Effect.provide(world()))
  )

  it.effect("refuses numbers and precisions that are none before it runs, and says what it wants", () =>
    Effect.gen(function* () {
      const { execute } = yield* executor
      const refused = (params: object) =>
        Effect.map(
          execute({ tool: "calculator", params: { operation: "add", a: 1, b: 1, ...params } }),
          ({ error }) => {
            assert.strictEqual(error?.code, "INVALID_PARAMS")
            return error?.message ?? ""
          }
        )
      for (const a of [
        "",
        " 1",
        "0x10",
        "1e",
        "Infinity",
        "NaN",
        "1_000",
        "1,5",
        "--1",
        "١",
        "1\n",
        null,
        true,
        [1]
      ]) {
        assert.match(yield* refused({ a }), /"a"/, JSON.stringify(a))
      }
      for (const precision of [0, -1, 1.5, 101, "10"])
        assert.match(yield* refused({ precision }), /"precision"/)
    }).pipe(Effect.provide(world()))
  )

  it.effect("evaluates expressions, and tells a model what is wrong with one", () =>
    Effect.gen(function* () {
      const { execute } = yield* executor
      const call = (expression: string) => execute({ tool: "calculator_evaluate", params: { expression } })
      assert.deepStrictEqual((yield* call("(1 + 0.05)^12")).value, {
        result: "1.795856326022129150390625",
        exact: true
      })
      const { error } = yield* call("1 + ")
      assert.strictEqual(error?.code, "TOOL_FAILED")
      assert.strictEqual(error?.class, "Caller")
      assert.deepInclude(error?.reason, {
        failure: {
          _tag: "CalculatorError",
          reason: "syntax",
          message: "At 5 the expression ends where a number, a name or ( is expected.",
          at: 5
        }
      })
    }).pipe(Effect.provide(world()))
  )

  it.effect("rounds what has to be rounded to the precision of its layer", () =>
    Effect.gen(function* () {
      const { run } = yield* executor
      assert.deepStrictEqual(yield* run("calculator", { operation: "divide", a: 2, b: 3 }), {
        result: "0.667",
        exact: false
      })
      assert.throws(() => Calculator.layer({ precision: 0 }), RangeError)
      assert.throws(() => Calculator.layer({ precision: 101 }), RangeError)
    }).pipe(Effect.provide(world({ precision: 3 })))
  )

  it("says that it needs nothing, changes nothing and may be cached", () => {
    for (const tool of Object.values(Calculator.toolkit.tools)) {
      const facts = ToolAnnotations.read(tool)
      assert.deepInclude(facts, {
        capabilities: [],
        readonly: true,
        destructive: false,
        idempotent: true,
        openWorld: false,
        risk: "low"
      })
    }
  })
})

describe("an expression", () => {
  it("binds as in mathematics", () => {
    const cases: Readonly<Record<string, string>> = {
      "2 + 3 * 4": "14",
      "(2 + 3) * 4": "20",
      "-2^2": "-4",
      "(-2)^2": "4",
      "2^3^2": "512",
      "2**-3**2": "0.001953125",
      "-3 - -3": "0",
      "2 * -3": "-6",
      "+5": "5",
      "10 - 4 - 3": "3",
      "64 / 4 / 2": "8",
      "10 % 4 * 2": "4",
      "-7 % 3": "-1",
      "7 % -3": "1",
      "5 × 3 − 6 ÷ 4": "13.5",
      ".5 + 5.": "5.5",
      "1.5e3 / 1E-1": "15000"
    }
    for (const [expression, result] of Object.entries(cases)) assert.strictEqual(exactly(expression), result)
  })

  it("knows its functions and constants, and nothing else", () => {
    const cases: Readonly<Record<string, string>> = {
      "abs(-1.5)": "1.5",
      "sqrt(1.44)": "1.2",
      "cbrt(-27)": "-3",
      "round(2.5) + round(-2.5)": "0",
      "round(2.345, 2)": "2.35",
      "round(1234, -2)": "1200",
      "floor(-0.5)": "-1",
      "ceil(-0.5)": "0",
      "trunc(-1.9)": "-1",
      "min(3, 1, 2)": "1",
      "max(3, 1, 2)": "3",
      "sum(1, 2, 3)": "6",
      "percent(15, 200)": "30",
      "log2(1024)": "10",
      "log10(0.001)": "-3",
      "ln(1) + exp(0) + sin(0) + cos(0)": "2"
    }
    for (const [expression, result] of Object.entries(cases)) assert.strictEqual(exactly(expression), result)
    assert.strictEqual(about("pi", 50), "3.1415926535897932384626433832795028841971693993751")
    assert.strictEqual(about("e", 50), "2.7182818284590452353602874713526624977572470937")
    for (const name of [
      "constructor",
      "__proto__",
      "toString",
      "hasOwnProperty",
      "process",
      "this",
      "true",
      "PI"
    ]) {
      assert.strictEqual(of(name), "unknown_name")
      assert.strictEqual(of(`${name}(1)`), "unknown_name")
    }
  })

  it("that is none says so, whatever was written", () => {
    const wrong = [
      "",
      " ",
      "1 +",
      "* 2",
      "(1",
      "1)",
      "()",
      "1 2",
      "2(3)",
      "(1)(2)",
      "2pi",
      "1,000",
      "1,5",
      ",1",
      "1,",
      "1;",
      "1..2",
      "1.2.3",
      "1e",
      "0x10",
      "1_000",
      "sqrt",
      "sqrt 4",
      "sqrt(4",
      "max(1 2)",
      "max(1,)",
      "max(,1)",
      "200 * 15%",
      "5!",
      "a.b",
      "a[0]",
      "a = 1",
      "'1'",
      '"1"',
      "`1`",
      "[1]",
      "{}",
      "1 ? 2 : 3",
      "1 && 2",
      "1 == 1",
      "x => x",
      "~1",
      "1 << 2",
      "1\u00001",
      "1\u20282",
      "１",
      "½",
      "∞",
      "\ud800"
    ]
    for (const expression of wrong) assert.strictEqual(of(expression), "syntax", JSON.stringify(expression))
    for (const expression of [
      "sqrt()",
      "sqrt(1, 2)",
      "min()",
      "round(1, 2, 3)",
      "round(1, 0.5)",
      "round(1, 9999)"
    ]) {
      assert.strictEqual(of(expression), "arguments", expression)
    }
  })

  it("without a result says why", () => {
    const cases: Readonly<Record<string, ReadonlyArray<string>>> = {
      division_by_zero: ["1 / 0", "0 / 0", "1 % 0", "0^-1", "0^-0.5", "1 / (0.1 + 0.2 - 0.3)", "1 / 0e5"],
      negative_root: ["sqrt(-1)", "sqrt(-1e-999999)", "(-8)^(1/3)", "(-1)^0.5"],
      domain: ["ln(0)", "ln(-1)", "log10(0)", "log2(-8)"],
      overflow: [
        "1e1000001",
        "1e1000000 * 10",
        "9^9^9",
        "9^9^9^9",
        "exp(1e7)",
        "exp(9^99)",
        "1.0000001^1e15",
        "-1e999999 * 1e9",
        "0.5^-1e9",
        "2^1e1000000",
        "0.5^-1e999999",
        "(-3)^1e99999",
        "1.5^1e60"
      ],
      underflow: [
        "1e-1000001",
        "1e-1000000 / 10",
        "0.5^1e9",
        "0.5^1e1000000",
        "2^-1e999999",
        "exp(-1e7)",
        "9^-9^9"
      ],
      precision: [
        "sin(1e300)",
        "1e1000000 % 7",
        "floor(sqrt(2)^2)",
        "pi % 3",
        "1e3000 + 1 - 1e3000",
        "1 / (sqrt(2)^2 - 2)"
      ]
    }
    for (const [reason, expressions] of Object.entries(cases)) {
      for (const expression of expressions) assert.strictEqual(of(expression), reason, expression)
    }
  })

  it("that is too long, too deep or too much work is refused", () => {
    for (const [open, close] of [
      ["(", ")"],
      ["-", ""],
      ["sqrt(", ")"],
      ["2^", ""]
    ] as const) {
      assert.strictEqual(of(`${open.repeat(60)}1${close.repeat(60)}`), "too_complex", open)
    }
    assert.strictEqual(of(`1${"+1".repeat(1_000)}`), "too_complex")
    assert.strictEqual(of(`0${"+ln(2)".repeat(21)}`), "too_complex")
    assert.strictEqual(of(`0${"+2^0.5".repeat(21)}`), "too_complex")
    assert.strictEqual(exactly(`0${"+2^2".repeat(200)}`), "800")
  })
})

describe("digits", () => {
  it("are all known, however much cancels out on the way", () => {
    assert.strictEqual(exactly("(1e50 + 1) - 1e50"), "1")
    assert.strictEqual(about("(1e20 + pi) - 1e20"), "3.141592654")
    assert.strictEqual(about("1e60 * (sqrt(1 + 1e-60) - 1)"), "0.5")
    assert.strictEqual(about("(exp(1e-40) - 1) * 1e40"), "1")
    assert.strictEqual(about("sqrt(2) * sqrt(2)"), "2")
    // What cannot be told from 0 in 100 places is 0, and said to be rounded.
    assert.strictEqual(about("sqrt(2)^2 - 2"), "0")
    assert.strictEqual(about("sin(pi)"), "0")
    assert.strictEqual(about("sin(1e-300)"), "1e-300")
    assert.strictEqual(about("sin(1e20)", 20), "-0.64525128526578084421")
    // A tie is one, and no guess.
    assert.strictEqual(about("2.5 * 1", 1), "3")
    assert.strictEqual(about("1.00000000005 + 0", 11), "1.0000000001")
  })

  it("are plain where all before the point are known, and otherwise have an exponent", () => {
    assert.strictEqual(exactly("12345678901 + 1"), "12345678902")
    assert.strictEqual(about("12345678901 + 1", 5), "1.2346e+10")
    assert.strictEqual(exactly("1000 * 1"), "1000")
    assert.strictEqual(about("2^1000"), "1.071508607e+301")
    assert.strictEqual(exactly("1e49"), `1${"0".repeat(49)}`)
    assert.strictEqual(exactly("1e60"), "1e+60")
    assert.strictEqual(exactly("1 / 1e20"), "1e-20")
    assert.strictEqual(exactly("0 * -1"), "0")
  })
})

// --- Laws --------------------------------------------------------------------

const integer = Fc.bigInt({ min: -(10n ** 24n), max: 10n ** 24n })
const decimal = Fc.tuple(integer, Fc.integer({ min: -40, max: 20 })).map(
  ([digits, exponent]) => `(${digits}e${exponent})`
)
const asked = Fc.integer({ min: 1, max: 40 })

/** Two answers to the same question differ at most in the last of so many digits. */
const close = (left: string, right: string, digits: number): boolean => {
  const off = of(`abs((${left}) - (${right})) - 2 * abs(${left}) * 10^(1 - ${digits})`, 5)
  return typeof off === "object" && (off.result === "0" || off.result.startsWith("-"))
}

describe("laws", () => {
  const sameAs = (left: string, right: string, digits?: number) =>
    assert.deepStrictEqual(of(left, digits), of(right, digits), `${left} = ${right}`)

  it("addition and multiplication commute, associate and distribute", () => {
    Fc.assert(
      Fc.property(decimal, decimal, decimal, asked, (a, b, c, digits) => {
        sameAs(`${a} + ${b}`, `${b} + ${a}`, digits)
        sameAs(`${a} * ${b}`, `${b} * ${a}`, digits)
        sameAs(`(${a} + ${b}) + ${c}`, `${a} + (${b} + ${c})`, digits)
        sameAs(`(${a} * ${b}) * ${c}`, `${a} * (${b} * ${c})`, digits)
        sameAs(`${a} * (${b} + ${c})`, `${a} * ${b} + ${a} * ${c}`, digits)
      })
    )
  })

  it("subtraction, division and roots undo", () => {
    Fc.assert(
      Fc.property(decimal, decimal, asked, (a, b, digits) => {
        sameAs(`${a} + ${b} - ${b}`, a, digits)
        sameAs(`-(-${a})`, a, digits)
        sameAs(`sqrt(${a} * ${a})`, `abs(${a})`, digits)
        if (exactly(b) !== "0") sameAs(`${a} * ${b} / ${b}`, a, digits)
        if (exactly(b) !== "0") sameAs(`(${a} - ${a} % ${b}) / ${b}`, `trunc(${a} / ${b})`, digits)
      })
    )
  })

  it("powers add, and logarithms undo them", () => {
    const small = Fc.integer({ min: 0, max: 12 })
    Fc.assert(
      Fc.property(decimal, small, small, (a, m, n) =>
        sameAs(`${a}^${m} * ${a}^${n}`, `${a}^(${m} + ${n})`, 40)
      )
    )
    const positive = Fc.tuple(Fc.integer({ min: 1, max: 1e9 }), Fc.integer({ min: -8, max: 3 })).map(
      ([digits, exponent]) => `(${digits}e${exponent})`
    )
    Fc.assert(
      Fc.property(positive, asked, (a, digits) => {
        assert.isTrue(close(`exp(ln(${a}))`, a, digits))
        assert.isTrue(close(`10^log10(${a})`, a, digits))
        assert.isTrue(close(`sin(${a})^2 + cos(${a})^2`, "1", digits))
        assert.isTrue(close(`${a}^0.5`, `sqrt(${a})`, digits))
        assert.isTrue(close(`${a}^12.3`, `exp(12.3 * ln(${a}))`, digits))
        assert.isTrue(close(`${a}^(1/3)`, `cbrt(${a})`, digits))
      }),
      { numRuns: 30 }
    )
  })

  it("integers are computed as BigInt does", () => {
    Fc.assert(
      Fc.property(integer, integer, (a, b) => {
        assert.strictEqual(exactly(`${a} + ${b}`.replace("+ -", "- ")), `${a + b}`)
        assert.strictEqual(exactly(`${a} - (${b})`), `${a - b}`)
        assert.strictEqual(exactly(`(${a}) * (${b})`), `${a * b}`)
        if (b !== 0n) {
          assert.strictEqual(exactly(`(${a}) % (${b})`), `${a % b}`)
          assert.strictEqual(exactly(`trunc((${a}) / (${b}))`), `${a / b}`)
        }
      })
    )
    Fc.assert(
      Fc.property(Fc.bigInt({ min: -99n, max: 99n }), Fc.integer({ min: 0, max: 25 }), (a, n) => {
        assert.strictEqual(exactly(`(${a})^${n}`), `${a ** BigInt(n)}`)
      })
    )
  })

  it("fewer digits are the rounded more digits", () => {
    const transcendental = Fc.tuple(
      Fc.constantFrom("ln", "exp", "sin", "cos", "tan", "sqrt", "cbrt", "log2", "log10"),
      Fc.integer({ min: 1, max: 100_000 })
    ).map(([name, n]) => `${name}(${n} / 7)`)
    Fc.assert(
      Fc.property(transcendental, Fc.integer({ min: 1, max: 30 }), (expression, digits) => {
        const more = of(expression, 60)
        const fewer = of(expression, digits)
        assert.isTrue(typeof more === "object" && typeof fewer === "object", `${expression} ${more} ${fewer}`)
        assert.strictEqual((fewer as Answer).result, (of((more as Answer).result, digits) as Answer).result)
      }),
      { numRuns: 60 }
    )
  })

  it("numbers with a decimal expansion are computed as JavaScript does, as far as it can", () => {
    const sensible = Fc.double({ min: -1e6, max: 1e6, noNaN: true, noDefaultInfinity: true }).filter(
      (n) => n === 0 || Math.abs(n) > 1e-6
    )
    Fc.assert(
      Fc.property(sensible, sensible, (a, b) => {
        for (const [operator, value] of [
          ["*", a * b],
          ["/", a / b]
        ] as const) {
          if (!Number.isFinite(value) || value === 0) continue
          const answer = of(`(${a}) ${operator} (${b})`, 14)
          const relative = Math.abs(Number((answer as Answer).result) - value) / Math.abs(value)
          assert.isBelow(relative, 1e-13, `${a} ${operator} ${b}`)
        }
      })
    )
  })

  it("whatever is written has a result or a reason", () => {
    const piece = Fc.constantFrom(
      "1",
      "0",
      "9",
      ".",
      "e",
      "+",
      "-",
      "*",
      "/",
      "%",
      "^",
      "(",
      ")",
      ",",
      " ",
      "pi",
      "1e9",
      "1e-9",
      "0.5",
      "99",
      ...functions.map((name) => `${name}(`)
    )
    Fc.assert(
      Fc.property(Fc.array(piece, { maxLength: 14 }), (pieces) => {
        const answer = of(pieces.join(""))
        if (typeof answer === "object") assert.match(answer.result, /^-?\d+(\.\d+)?(e[+-]\d+)?$/)
      }),
      { numRuns: 3_000 }
    )
  })
})
