/**
 * Says the issues of Effect's schemas in the voice of `issues.ts`.
 *
 * Only what the schema's author wrote once and for all is repeated: its
 * literals, bounds, patterns and `message` and `expected` annotations. What a
 * check or a transformation says while it runs may hold the input, so it is not.
 */
import * as Predicate from "effect/Predicate"
import * as AST from "effect/SchemaAST"
import type * as SchemaIssue from "effect/SchemaIssue"
import type { Issue } from "../ToolError.ts"
import {
  anyOf,
  count,
  cut,
  Issues,
  kindOf,
  oneOf,
  type Path,
  properties,
  type Subject,
  withArticle
} from "./issues.ts"

// --- What a schema expects -------------------------------------------------

/** What a schema expects, as a phrase with its article. */
const expectedOf = (ast: AST.AST): string => {
  switch (ast._tag) {
    case "Number":
      return hasCheck(ast.checks, "effect/schema/isInt") ? "an integer" : "a number"
    case "Literal":
      return oneOf([ast.literal])
    case "UniqueSymbol":
      return "a symbol"
    case "Enum":
      return oneOf(ast.enums.map(([, value]) => value))
    case "TemplateLiteral":
      return "a string of a given form"
    case "Arrays":
      return "an array"
    case "Objects":
    case "ObjectKeyword":
      return "an object"
    case "Union": {
      const literals = literalsOf(ast)
      if (literals !== undefined) return oneOf(literals)
      return anyOf(ast.types.filter((type) => !AST.isUndefined(type)).map((type) => expectedOf(type)))
    }
    case "Suspend":
      return "a value of a recursive form"
    case "Declaration": {
      const expected = ast.annotations?.["expected"]
      return typeof expected === "string" ? withArticle(expected) : "a valid value"
    }
    case "Null":
    case "Undefined":
      return ast._tag.toLowerCase()
    case "Never":
    case "Void":
      return "nothing"
    case "Any":
    case "Unknown":
      return "a value"
    default:
      return withArticle(ast._tag.toLowerCase())
  }
}

const hasCheck = (checks: AST.Checks | undefined, id: string): boolean =>
  checks?.some((check) =>
    check._tag === "FilterGroup" ? hasCheck(check.checks, id) : check.annotations?.representation?.id === id
  ) ?? false

/** The literals of a union of nothing else. */
const literalsOf = (ast: AST.Union): ReadonlyArray<unknown> | undefined => {
  const literals: Array<unknown> = []
  for (const type of ast.types) {
    if (AST.isLiteral(type)) literals.push(type.literal)
    else if (AST.isNull(type)) literals.push(null)
    else if (AST.isEnum(type)) literals.push(...type.enums.map(([, value]) => value))
    else if (AST.isUnion(type)) {
      const inner = literalsOf(type)
      if (inner === undefined) return undefined
      literals.push(...inner)
    } else if (!AST.isUndefined(type)) return undefined
  }
  return literals.length === 0 || literals.every((literal) => literal === null) ? undefined : literals
}

/** The property that tells the members of a union of objects apart, and its literals. */
const discriminatorOf = (ast: AST.Union): readonly [string, ReadonlyArray<unknown>] | undefined => {
  const members = ast.types.map((type) => AST.toEncoded(type))
  const [first] = members
  if (members.length < 2 || first === undefined || !AST.isObjects(first)) return undefined
  for (const { name } of first.propertySignatures) {
    if (typeof name !== "string") continue
    const literals: Array<unknown> = []
    for (const member of members) {
      const type = AST.isObjects(member) ? propertyOf(member, name) : undefined
      if (type !== undefined && AST.isLiteral(type)) literals.push(type.literal)
    }
    if (literals.length === members.length) return [name, literals]
  }
  return undefined
}

const propertyOf = (ast: AST.AST | undefined, name: PropertyKey): AST.AST | undefined =>
  ast?._tag === "Objects"
    ? ast.propertySignatures.find((property) => property.name === name)?.type
    : ast?._tag === "Arrays" && typeof name === "number"
      ? ast.elements[name]
      : undefined

const lengthOf = (input: unknown, bounds: string, n: number): string =>
  typeof input === "string"
    ? `be ${bounds} ${count(n, "character")} long`
    : `have ${bounds} ${count(n, "item")}`

/** What a built-in check asks for, to go on after `must `; `undefined` for any other. */
const checkPhrase = (
  id: string,
  payload: Readonly<Record<string, unknown>>,
  input: unknown
): string | undefined => {
  const p = payload as Readonly<Record<string, number>>
  switch (id.slice(id.lastIndexOf("/") + 1)) {
    case "isInt":
      return Number.isInteger(input)
        ? `be an integer between ${Number.MIN_SAFE_INTEGER} and ${Number.MAX_SAFE_INTEGER}`
        : "be an integer"
    case "isFinite":
      return "be a finite number"
    case "isGreaterThan":
    case "isGreaterThanBigInt":
      return `be greater than ${p["exclusiveMinimum"]}`
    case "isGreaterThanOrEqualTo":
    case "isGreaterThanOrEqualToBigInt":
      return `be at least ${p["minimum"]}`
    case "isLessThan":
    case "isLessThanBigInt":
      return `be less than ${p["exclusiveMaximum"]}`
    case "isLessThanOrEqualTo":
    case "isLessThanOrEqualToBigInt":
      return `be at most ${p["maximum"]}`
    case "isBetween":
    case "isBetweenBigInt":
      return payload["exclusiveMinimum"] || payload["exclusiveMaximum"]
        ? `be ${payload["exclusiveMinimum"] ? "greater than" : "at least"} ${p["minimum"]} and ${payload["exclusiveMaximum"] ? "less than" : "at most"} ${p["maximum"]}`
        : `be between ${p["minimum"]} and ${p["maximum"]}`
    case "isMultipleOf":
      return `be a multiple of ${p["divisor"]}`
    case "isMinLength":
      return lengthOf(input, "at least", p["minLength"]!)
    case "isMaxLength":
      return lengthOf(input, "at most", p["maxLength"]!)
    case "isMinCodePoints":
      return lengthOf(input, "at least", p["minCodePoints"]!)
    case "isMaxCodePoints":
      return lengthOf(input, "at most", p["maxCodePoints"]!)
    case "isBetweenLength":
    case "isBetweenCodePoints":
      return lengthOf(
        input,
        p["minimum"] === p["maximum"] ? "exactly" : `between ${p["minimum"]} and`,
        p["maximum"]!
      )
    case "isMinProperties":
      return `have at least ${properties(p["minProperties"]!)}`
    case "isMaxProperties":
      return `have at most ${properties(p["maxProperties"]!)}`
    case "isUnique":
      return "have no item twice"
    case "isPropertyNames":
      return "have no property name that is not allowed"
    case "isPattern":
      return `match the pattern ${cut(String(payload["source"]), 200)}`
    default:
      return undefined
  }
}

/** All problems at once; inputs are kept in the issues for their kind, and go no further. */
export const parseOptions = { errors: "all", onExcessProperty: "error", reportInput: true } as const

/** Says an issue of a schema that was run with `parseOptions`. */
export const fromSchemaIssue = (issue: SchemaIssue.Issue, subject: Subject): ReadonlyArray<Issue> =>
  addSchemaIssue(new Issues(subject), issue).toArray()

/** The same, added to others. */
export const addSchemaIssue = (issues: Issues, issue: SchemaIssue.Issue): Issues =>
  collect(issues, issue, [], undefined)

const foundIn = (issue: SchemaIssue.Issue): string =>
  Object.hasOwn(issue, "input") ? kindOf(issue.input) : "value"

const staticText = (
  annotations: { readonly [key: string]: unknown } | undefined,
  key: string
): string | undefined => {
  const text = annotations?.[key]
  return typeof text === "string" ? text : undefined
}

const step = (issues: Issues, key: PropertyKey): string | number =>
  typeof key === "number" || (typeof key === "string" && issues.subject.names.has(key)) ? key : "*"

const collect = (
  issues: Issues,
  issue: SchemaIssue.Issue,
  path: Path,
  // The schema at `path`, where it is known.
  ast: AST.AST | undefined
): Issues => {
  switch (issue._tag) {
    case "Pointer": {
      const inner = issue.issue
      const key = issue.path.at(-1)
      if (key === undefined) return collect(issues, inner, path, ast)
      const before =
        issue.path.length === 1 ? path : [...path, ...issue.path.slice(0, -1).map((key) => step(issues, key))]
      // A record of nothing, as of a tool without parameters, has no place for a key either.
      if (inner._tag === "UnexpectedKey" || (inner._tag === "InvalidType" && AST.isNever(inner.ast))) {
        return issues.unknown(
          before,
          typeof key === "number" ? key : String(key),
          foundIn(inner),
          namesOf(ast)
        )
      }
      return collect(issues, inner, [...before, step(issues, key)], propertyOf(ast, key))
    }
    case "Composite":
      if (AST.isTemplateLiteral(issue.ast))
        return issues.must(path, `be ${expectedOf(issue.ast)}`, foundIn(issue))
      for (const one of issue.issues) collect(issues, one, path, issue.ast)
      return issues
    case "Filter":
      return collectCheck(issues, issue, path)
    case "Encoding": {
      const inner = issue.issue
      if (inner._tag !== "InvalidValue" && inner._tag !== "Forbidden")
        return collect(issues, inner, path, issue.ast)
      const expected = expectedOf(issue.ast)
      return issues.say(path, expected, foundIn(inner), `cannot be read as ${expected}`)
    }
    case "AnyOf":
      return collectUnion(issues, issue, path)
    case "OneOf":
      return issues.must(
        path,
        `fit exactly one of its ${issue.ast.types.length} forms, but fits several`,
        foundIn(issue)
      )
    case "MissingKey": {
      const expected = ast === undefined ? "a value" : expectedOf(AST.toEncoded(ast))
      const message = staticText(issue.annotations, "messageMissingKey")
      return message === undefined
        ? issues.missing(path, expected)
        : issues.add(path, expected, "missing", message)
    }
    case "UnexpectedKey":
      return issues.say(path, "nothing", foundIn(issue), "has something unexpected")
    case "InvalidType": {
      const message = staticText(issue.ast.annotations, "message")
      if (message !== undefined)
        return issues.say(path, expectedOf(issue.ast), foundIn(issue), `is not valid: ${message}`)
      return AST.isLiteral(issue.ast) || AST.isEnum(issue.ast)
        ? issues.must(path, `be ${expectedOf(issue.ast)}`, foundIn(issue))
        : issues.type(path, expectedOf(issue.ast), foundIn(issue))
    }
    // Its message may hold the input, so it is not repeated.
    case "InvalidValue":
    case "Forbidden":
      return issues.say(path, "a valid value", foundIn(issue), "is not valid")
  }
}

const namesOf = (ast: AST.AST | undefined): ReadonlyArray<string> =>
  ast?._tag === "Objects" ? ast.propertySignatures.map(({ name }) => name).filter(Predicate.isString) : []

const collectCheck = (issues: Issues, issue: SchemaIssue.Filter, path: Path): Issues => {
  const annotations = issue.filter.annotations
  const at = innerPath(issues, issue.issue, path)
  // The check saw the value at `path`.
  const found = at === path ? foundIn(issue) : "value"
  const message = staticText(annotations, "message")
  const representation = annotations?.representation
  const expected = staticText(annotations, "expected")
  if (message !== undefined)
    return issues.say(at, expected ?? "a valid value", found, `is not valid: ${message}`)
  const phrase =
    representation === undefined
      ? undefined
      : checkPhrase(
          representation.id,
          (representation.payload ?? {}) as Readonly<Record<string, unknown>>,
          issue.input
        )
  if (phrase !== undefined) {
    const odd = found === "NaN" || found === "infinity"
    return issues.must(representation?.id.endsWith("isPropertyNames") ? path : at, phrase, found, odd)
  }
  if (expected !== undefined) return issues.must(at, `be ${withArticle(expected)}`, found)
  return issues.say(at, "a valid value", found, "is not valid")
}

/** Where a check says that the trouble is, when it names one place. */
const innerPath = (issues: Issues, issue: SchemaIssue.Issue, path: Path): Path =>
  issue._tag === "Pointer"
    ? innerPath(issues, issue.issue, [...path, ...issue.path.map((key) => step(issues, key))])
    : path

const collectUnion = (issues: Issues, issue: SchemaIssue.AnyOf, path: Path): Issues => {
  const [only] = issue.issues
  if (issues.full) return issues.add(path, "", "", "")
  if (only !== undefined && issue.issues.length === 1) return collect(issues, only, path, undefined)
  const literals = literalsOf(issue.ast)
  const found = foundIn(issue)
  if (literals !== undefined) return issues.must(path, `be ${oneOf(literals)}`, found)
  if (only === undefined) {
    const discriminator = found === "object" ? discriminatorOf(issue.ast) : undefined
    if (discriminator === undefined) return issues.type(path, expectedOf(issue.ast), found)
    const [name, tags] = discriminator
    const input = issue.input as Readonly<Record<string, unknown>>
    return issues.must(
      [...path, name],
      `be ${oneOf(tags)}`,
      Object.hasOwn(input, name) ? kindOf(input[name]) : "missing"
    )
  }
  // Several members were tried: the one with the fewest problems is probably what was meant.
  const tries = issue.issues.map((one) => {
    const inner = new Issues(issues.subject)
    collect(inner, one, path, undefined)
    return inner
  })
  const best = tries.reduce((a, b) => (b.size < a.size ? b : a))
  const said = best
    .toArray()
    .slice(0, 2)
    .map((one) => one.message)
  return issues.say(
    path,
    `one of ${issue.ast.types.length} forms`,
    found,
    `fits none of its ${issue.ast.types.length} forms; the closest: ${said.join(", ")}`
  )
}
