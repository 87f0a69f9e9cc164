/**
 * From the text of an expression to its tree, by precedence:
 *
 * | binds | operators |
 * |---|---|
 * | loosest | `+` `-` |
 * | | `*` `/` `%` (the remainder) |
 * | | a sign |
 * | tightest | `^` or `**`, from the right |
 *
 * So `-2^2` is -4 and `2^3^2` is 2^9, as in mathematics. There is nothing else
 * to write than numbers, these operators, parentheses, and functions and
 * constants by name: no property, no string, no assignment.
 */
import { fail } from "./CalculatorError.ts"

export type Operator = "+" | "-" | "*" | "/" | "%" | "^"

export type Expression =
  | { readonly _tag: "Number"; readonly text: string }
  | { readonly _tag: "Negated"; readonly of: Expression }
  | {
      readonly _tag: "Binary"
      readonly operator: Operator
      readonly left: Expression
      readonly right: Expression
    }
  | {
      readonly _tag: "Name"
      readonly name: string
      readonly at: number
      /** Absent where it is a constant. */
      readonly args: ReadonlyArray<Expression> | undefined
    }

export const maxLength = 1_000
/** Parentheses, signs and powers within one another. */
export const maxDepth = 50

const precedence: Readonly<Record<Operator, number>> = { "+": 1, "-": 1, "*": 2, "/": 2, "%": 2, "^": 4 }
const sign = 3

/** What is a number, wherever one is written: an exponent may follow, a sign belongs to what stands before it. */
export const number = /(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?/
const tokens = new RegExp(
  String.raw`(?<space>\s+)|(?<number>${number.source})|(?<name>[A-Za-z_]\w*)|(?<symbol>\*\*|[-+*/%^(),×·÷−])`,
  "y"
)

/** Other ways to write an operator. */
const spelled: Readonly<Record<string, string>> = { "**": "^", "×": "*", "·": "*", "÷": "/", "−": "-" }

interface Token {
  readonly kind: "number" | "name" | "symbol" | "end"
  readonly text: string
  /** From 1. */
  readonly at: number
}

/** Reads an expression; one that is none is a `CalculatorError` that says where. */
export const parse = (text: string): Expression => {
  if (text.length > maxLength) {
    fail("too_complex", `An expression has at most ${maxLength} characters, this one has ${text.length}.`)
  }
  const all = tokenize(text)
  let next = 0
  let depth = 0
  const peek = (): Token => all[next]!
  const takeIf = (symbol: string): boolean => {
    const found = peek().kind === "symbol" && peek().text === symbol
    if (found) next++
    return found
  }

  const deeper = (at: number, read: () => Expression): Expression => {
    if (++depth > maxDepth)
      fail("too_complex", `The expression is nested deeper than ${maxDepth} levels.`, at)
    const expression = read()
    depth--
    return expression
  }

  const binary = (least: number): Expression => {
    let left = operand()
    while (true) {
      const { at, kind, text } = peek()
      const binds = kind === "symbol" && Object.hasOwn(precedence, text) ? precedence[text as Operator] : 0
      if (binds < least || binds === 0) return left
      next++
      // A power takes the powers to its right first.
      const right = binds === precedence["^"] ? deeper(at, () => binary(binds)) : binary(binds + 1)
      left = { _tag: "Binary", operator: text as Operator, left, right }
    }
  }

  const operand = (): Expression => {
    const token = peek()
    const { at, kind, text } = token
    if (kind === "number") {
      next++
      return { _tag: "Number", text }
    }
    if (kind === "name") {
      next++
      return { _tag: "Name", name: text, at, args: takeIf("(") ? listed(at) : undefined }
    }
    if (takeIf("-")) return { _tag: "Negated", of: deeper(at, () => binary(sign)) }
    if (takeIf("+")) return deeper(at, () => binary(sign))
    if (takeIf("(")) {
      const inner = deeper(at, () => binary(1))
      return takeIf(")") ? inner : unexpected(peek(), "an operator or )")
    }
    return unexpected(token, "a number, a name or (", all[next - 1])
  }

  const listed = (at: number): ReadonlyArray<Expression> => {
    const args: Array<Expression> = []
    if (takeIf(")")) return args
    do args.push(deeper(at, () => binary(1)))
    while (takeIf(","))
    return takeIf(")") ? args : unexpected(peek(), "an operator, a comma or )")
  }

  const whole = binary(1)
  return peek().kind === "end" ? whole : unexpected(peek(), "an operator or the end")
}

const tokenize = (text: string): ReadonlyArray<Token> => {
  const found: Array<Token> = []
  let at = 0
  while (at < text.length) {
    tokens.lastIndex = at
    const groups = tokens.exec(text)?.groups
    if (groups === undefined) {
      return fail("syntax", `${shown(text.codePointAt(at)!)} at ${at + 1} has no meaning here.`, at + 1)
    }
    const { name, number, space, symbol } = groups
    const [kind, read] = number !== undefined ? ["number" as const, number] : ["name" as const, name]
    if (symbol !== undefined) found.push({ kind: "symbol", text: spelled[symbol] ?? symbol, at: at + 1 })
    else if (read !== undefined) found.push({ kind, text: read, at: at + 1 })
    at += (space ?? symbol ?? read)!.length
  }
  return [...found, { kind: "end", text: "", at: text.length + 1 }]
}

const unexpected = ({ at, kind, text }: Token, expected: string, before?: Token): never => {
  const found = kind === "end" ? "the expression ends" : `there is ${text}`
  const hint =
    text === ","
      ? " Numbers are written with a point and without separators: 1234.5."
      : before?.text === "%"
        ? " % is the remainder of a division; 15 % of 200 is percent(15, 200)."
        : ""
  return fail("syntax", `At ${at} ${found} where ${expected} is expected.${hint}`, at)
}

// What has no shape of its own is shown by its number.
const shown = (code: number): string =>
  code > 32 && code < 127
    ? String.fromCharCode(code)
    : `The character U+${code.toString(16).padStart(4, "0")}`
