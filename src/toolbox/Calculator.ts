/**
 * Arithmetic in decimals, for those who are bad at it.
 *
 * `calculator` does one operation, `calculator_evaluate` an expression. Both
 * compute with as many digits as it takes to know every digit of the result, so
 * `0.1 + 0.2` is `0.3` and `(1e50 + 1) - 1e50` is `1`. What is exact and has at
 * most 50 digits is given in full, everything else with ten significant digits,
 * or as many as were asked for: up to 100. The result says whether it is exact.
 *
 * Whatever has no result is a `CalculatorError` with its reason, in bounded time:
 * numbers beyond 10^±1,000,000, expressions of more than 1,000 characters or 50
 * levels, results whose digits cannot be known.
 */
import * as Tool from "effect/ai/Tool"
import * as Toolkit from "effect/ai/Toolkit"
import type * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Handlers from "../Handlers.ts"
import { whole } from "../internal/options.ts"
import * as ToolAnnotations from "../ToolAnnotations.ts"
import { CalculatorError, fail } from "./calculator/CalculatorError.ts"
import { constants, evaluate, functions, maxPrecision } from "./calculator/evaluate.ts"
import { type Expression, maxLength, number, parse } from "./calculator/parse.ts"

export { CalculatorError } from "./calculator/CalculatorError.ts"

/** How results are rounded. */
export const Options = Schema.Struct({
  /** Significant digits of what has to be rounded, where a call does not say how many, from 1 to 100; 10. */
  precision: Schema.optionalKey(Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: maxPrecision })))
})
export type Options = typeof Options.Type

const precision = Schema.optionalKey(
  Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: maxPrecision })).annotate({
    description: `Significant digits of the result, from 1 to ${maxPrecision}. Without it exact results are given in full, and others with 10 digits unless it is configured otherwise.`
  })
)

const Numeric = Schema.Union([
  Schema.Finite,
  Schema.String.check(
    Schema.isMaxLength(maxLength),
    Schema.isPattern(new RegExp(`^[+-]?${number.source}$`, "u"), {
      message: 'it is no number in decimal digits, such as "-12.5" or "1e-9"'
    })
  )
]).annotate({
  description: "A number, or its decimal digits as a string, which more than 15 digits need."
})

const Result = Schema.Struct({
  /** Digits as a person writes them. */
  result: Schema.String,
  /** `false` where it is rounded. */
  exact: Schema.Boolean
})

const operations = ["add", "subtract", "multiply", "divide", "power", "sqrt", "percent"] as const

const annotated = <T extends Tool.Any>(tool: T): T =>
  tool
    .annotate(Tool.Readonly, true)
    .annotate(Tool.Destructive, false)
    .annotate(Tool.Idempotent, true)
    .annotate(Tool.OpenWorld, false)
    .annotate(ToolAnnotations.Capabilities, [])
    .annotate(ToolAnnotations.Trust, "trusted")
    .annotate(ToolAnnotations.Cache, { within: "tenant" }) as T

export const toolkit = Toolkit.make(
  annotated(
    Tool.make("calculator", {
      description:
        "Does one operation on decimal numbers without rounding errors: a + b, a - b, a * b, a / b, a to the power of b, the square root of a, or a percent of b.",
      parameters: Schema.Struct({
        operation: Schema.Literals(operations),
        a: Numeric,
        b: Schema.optionalKey(Numeric.annotate({ description: "Not for sqrt." })),
        precision
      }),
      success: Result,
      failure: CalculatorError,
      failureMode: "return"
    })
  ),
  annotated(
    Tool.make("calculator_evaluate", {
      description: `Evaluates an arithmetic expression on decimal numbers without rounding errors, such as "(1 + 0.05)^12 * sqrt(2)". Operators: + - * / % (remainder) ^ and parentheses. Functions: ${functions.join(", ")}. Constants: ${constants.join(", ")}. Angles are in radians.`,
      parameters: Schema.Struct({
        expression: Schema.String.check(Schema.isMaxLength(maxLength)),
        precision
      }),
      success: Result,
      failure: CalculatorError,
      failureMode: "return"
    })
  )
)

/** Handlers of the two tools. An option that makes no sense is a `RangeError`. */
export const layer = (options: Options = {}): Layer.Layer<Tool.HandlersFor<typeof toolkit.tools>> => {
  const otherwise = whole("Calculator: precision", options.precision ?? 10, 1, maxPrecision)
  return Handlers.toLayer(toolkit, {
    calculator: ({ a, b, operation, precision: asked }) =>
      evaluate(expressionOf(operation, a, b), { asked, otherwise }),
    calculator_evaluate: ({ expression, precision: asked }) =>
      evaluate(parse(expression), { asked, otherwise })
  })
}

type Numeric = number | string

const operators = { add: "+", subtract: "-", multiply: "*", divide: "/", power: "^" } as const

const expressionOf = (
  operation: (typeof operations)[number],
  a: Numeric,
  b: Numeric | undefined
): Expression => {
  const left = numberOf("a", a)
  if (operation === "sqrt") {
    if (b !== undefined) fail("arguments", "sqrt takes a alone, without b.")
    return { _tag: "Name", name: "sqrt", at: 1, args: [left] }
  }
  if (b === undefined) return fail("arguments", `${operation} needs b as well.`)
  const right = numberOf("b", b)
  return operation === "percent"
    ? { _tag: "Name", name: "percent", at: 1, args: [left, right] }
    : { _tag: "Binary", operator: operators[operation], left, right }
}

const numberOf = (name: string, value: Numeric): Expression => {
  // Whoever wrote it may have meant another number than this one.
  if (typeof value === "number" && Number.isInteger(value) && !Number.isSafeInteger(value)) {
    fail(
      "arguments",
      `${name} is a whole number above 2^53, which JSON numbers do not hold exactly: write it as a string.`
    )
  }
  return { _tag: "Number", text: `${value}` }
}
