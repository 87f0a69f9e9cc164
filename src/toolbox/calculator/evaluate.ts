/**
 * From an expression to its result: by balls, with as many working digits as it
 * takes to know every digit that is given.
 */
import { Decimal } from "decimal.js"
import { type Arithmetic, arithmetic } from "./arithmetic.ts"
import { type Ball, isExact, negate, read, Unsure } from "./ball.ts"
import { fail } from "./CalculatorError.ts"
import type { Expression, Operator } from "./parse.ts"

export interface Answer {
  /** Digits as a person writes them: `0.3`, `-12`, `1.5e+60`. */
  readonly result: string
  /** Whether that is all of it; else it is rounded, half away from 0. */
  readonly exact: boolean
}

export interface Precision {
  /** Significant digits that were asked for. */
  readonly asked: number | undefined
  /** Of what has to be rounded, where none were. */
  readonly otherwise: number
}

export const maxPrecision = 100
/** What is exact and no longer than this is given in full, unless fewer digits are asked for. */
const fullDigits = 50
const mostWorkingDigits = 240
/** Functions that are worked out as series, in one expression. */
const maxSeries = 20

/** Computes an expression. What has no result is a `CalculatorError`. */
export const evaluate = (expression: Expression, precision: Precision): Answer => {
  const places = precision.asked ?? precision.otherwise
  for (let digits = places + 20; ; digits = Math.min(2 * digits, mostWorkingDigits)) {
    const last = digits === mostWorkingDigits
    const ball = attempt(expression, digits)
    const answer = ball === undefined ? undefined : rounded(ball, precision, last)
    if (answer !== undefined) return answer
    if (last) {
      return fail(
        "precision",
        `The result cannot be known to ${places} digits: what it is computed from cancels out, or is too large.`
      )
    }
  }
}

const attempt = (expression: Expression, digits: number): Ball | undefined => {
  try {
    return walk(expression, operationsOf(arithmetic(digits)))
  } catch (error) {
    // What the library has no more digits of (π, logarithms) is not known to more, either.
    if (error instanceof Unsure || /Precision limit exceeded/.test(String(error))) return undefined
    throw error
  }
}

// --- Walking ---------------------------------------------------------------

interface Named {
  readonly least: number
  readonly most: number
  readonly series?: true
  readonly apply: (...args: ReadonlyArray<Ball>) => Ball
}

interface Operations {
  readonly binary: Readonly<Record<Operator, (a: Ball, b: Ball) => Ball>>
  readonly functions: ReadonlyMap<string, Named>
  readonly constants: ReadonlyMap<string, () => Ball>
  series: number
}

const unary = (apply: (a: Ball) => Ball): Named => ({ least: 1, most: 1, apply: (a) => apply(a!) })
const series = (apply: (a: Ball) => Ball): Named => ({ ...unary(apply), series: true })
const rounding = (apply: (a: Ball, places?: Ball) => Ball): Named => ({
  least: 1,
  most: 2,
  apply: (a, places) => apply(a!, places)
})
const many = (apply: (a: Ball, b: Ball) => Ball): Named => ({
  least: 1,
  most: Number.POSITIVE_INFINITY,
  apply: (...args) => args.reduce(apply)
})

const operationsOf = (on: Arithmetic): Operations => ({
  binary: {
    "+": on.add,
    "-": on.subtract,
    "*": on.multiply,
    "/": on.divide,
    "%": on.remainder,
    "^": on.power
  },
  functions: new Map<string, Named>([
    ["abs", unary(on.absolute)],
    ["sqrt", unary(on.root)],
    ["cbrt", unary(on.cubeRoot)],
    ["round", rounding(on.roundTo(Decimal.ROUND_HALF_UP))],
    ["floor", rounding(on.roundTo(Decimal.ROUND_FLOOR))],
    ["ceil", rounding(on.roundTo(Decimal.ROUND_CEIL))],
    ["trunc", rounding(on.roundTo(Decimal.ROUND_DOWN))],
    ["min", many(on.smaller)],
    ["max", many(on.larger)],
    ["sum", many(on.add)],
    ["percent", { least: 2, most: 2, apply: (a, b) => on.percent(a!, b!) }],
    ["exp", series(on.exponential)],
    ["ln", series(on.logarithm)],
    ["log2", series(on.logarithmTo("2"))],
    ["log10", series(on.logarithmTo("10"))],
    ["sin", series(on.sine)],
    ["cos", series(on.cosine)],
    ["tan", series((a) => on.divide(on.sine(a), on.cosine(a)))]
  ]),
  constants: new Map([
    ["pi", on.pi],
    ["e", () => on.exponential(read("1"))]
  ]),
  series: 0
})

const names = operationsOf(arithmetic(1))
/** What may be called, and what stands for a number. */
export const functions: ReadonlyArray<string> = [...names.functions.keys()]
export const constants: ReadonlyArray<string> = [...names.constants.keys()]

const walk = (expression: Expression, on: Operations): Ball => {
  switch (expression._tag) {
    case "Number":
      return read(expression.text)
    case "Negated":
      return negate(walk(expression.of, on))
    case "Binary": {
      const { left, operator, right } = expression
      // Any but a whole power is worked out as a series.
      if (operator === "^" && !(right._tag === "Number" && /^\d+$/.test(right.text))) countSeries(on)
      return on.binary[operator](walk(left, on), walk(right, on))
    }
    case "Name":
      return expression.args === undefined
        ? constant(expression.name, expression.at, on)
        : call(expression.name, expression.args, expression.at, on)
  }
}

const constant = (name: string, at: number, on: Operations): Ball => {
  const value = on.constants.get(name)
  if (value !== undefined) {
    countSeries(on)
    return value()
  }
  return on.functions.has(name)
    ? fail("syntax", `${name} is a function: write ${name}(…).`, at)
    : fail("unknown_name", `There is no "${name}". Constants: ${constants.join(", ")}.`, at)
}

const call = (name: string, args: ReadonlyArray<Expression>, at: number, on: Operations): Ball => {
  const named = on.functions.get(name)
  if (named === undefined) {
    return fail("unknown_name", `There is no function "${name}". Functions: ${functions.join(", ")}.`, at)
  }
  const { apply, least, most } = named
  if (args.length < least || args.length > most) {
    const wanted = most === least ? `${least}` : most > 2 ? `at least ${least}` : `${least} or ${most}`
    return fail(
      "arguments",
      `${name} takes ${wanted} argument${wanted.endsWith("1") ? "" : "s"}, not ${args.length}.`,
      at
    )
  }
  if (named.series) countSeries(on)
  return apply(...args.map((arg) => walk(arg, on)))
}

const countSeries = (on: Operations): void => {
  if (++on.series > maxSeries) {
    fail("too_complex", `An expression has at most ${maxSeries} powers, constants, logarithms and the like.`)
  }
}

// --- Rounding --------------------------------------------------------------

/** The digits that are known; `undefined` where some of those that are wanted are not. */
const rounded = (ball: Ball, { asked, otherwise }: Precision, last: boolean): Answer | undefined => {
  const { error, value } = ball
  const places = asked ?? otherwise
  if (isExact(ball)) {
    const digits = asked ?? (value.precision() <= fullDigits ? fullDigits : otherwise)
    const result = value.toSignificantDigits(digits)
    return shown(result, result.eq(value), digits)
  }
  const low = value.minus(error).toSignificantDigits(places)
  if (low.eq(value.plus(error).toSignificantDigits(places))) return shown(low, false, places)
  if (!last) return undefined
  // Right between two: either is as near as can be.
  if (error.lte(value.abs().times(new Decimal(10).pow(-places - 2)))) {
    return shown(value.toSignificantDigits(places), false, places)
  }
  // It is 0 to more places than anyone asks for.
  return value.abs().plus(error).lt(new Decimal(10).pow(-maxPrecision))
    ? { result: "0", exact: false }
    : undefined
}

/** Plain where every digit before the point is known, and few zeros follow it. */
const shown = (value: Decimal, exact: boolean, digits: number): Answer => {
  const plain = value.isZero() || (value.e >= -7 && value.e < (exact ? fullDigits : digits))
  return { result: plain ? value.toFixed() : value.toExponential(), exact }
}
