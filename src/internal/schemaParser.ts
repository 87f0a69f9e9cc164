/**
 * Effect's parsers of a schema: compiled where code may be generated, interpreted elsewhere, with the same
 * answers.
 *
 * - A schema that only checks and copies is parsed once; where that fails, the compiled parser itself goes on
 *   to say everything that is wrong.
 * - One that transforms, declares or refers to itself is parsed up to its first problem, which is what Effect is
 *   fast at, and again for all of them: its transformations may run twice for a value that does not fit.
 * - One whose transformations are effects is parsed once, in full.
 */
import type * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Schema from "effect/Schema"
import type * as AST from "effect/SchemaAST"
import type * as SchemaIssue from "effect/SchemaIssue"
import * as SchemaParser from "effect/SchemaParser"
import * as JIT from "effect/schema/SchemaJITCompiler"
import { isExit } from "./exits.ts"
import { lazily } from "./lazily.ts"
import { isReplayable, onlyChecks } from "./schemaFacts.ts"
import { parseOptions } from "./schemaIssues.ts"
import { type Keys, keysOf } from "./schemaKeys.ts"

export type Parser = (input: unknown) => Effect.Effect<unknown, SchemaIssue.Issue>

// --- Compiling -------------------------------------------------------------

let allowed: boolean | undefined

/** Whether this runtime makes code of strings: Workers, and Node where it is told not to, do not. */
const mayGenerate = (): boolean => {
  if (allowed === undefined) {
    try {
      new Function("return true")
      allowed = true
    } catch {
      allowed = false
    }
  }
  return allowed
}

/** Compiling twice would throw the first code away. */
const compiled = new WeakSet<AST.AST>()

/**
 * Has a schema, and no other, parsed by generated code from its first use on. Effect keeps one table of parsers, by the
 * identity of a schema's parts, so whatever else of the program uses this very schema has it compiled too.
 */
export const accelerate = <S extends Schema.Constraint>(schema: S): S => {
  if (mayGenerate() && !compiled.has(schema.ast)) {
    compiled.add(schema.ast)
    JIT.enable(schema.ast)
  }
  return schema
}

// --- Parsing ---------------------------------------------------------------

/** Every problem, and of what kind the value is; keys that the schema does not name are dropped. */
const dropping = { errors: "all", reportInput: true } as const

type Run = (input: unknown, options?: AST.ParseOptions) => Effect.Effect<unknown, SchemaIssue.Issue>

const runOf = (schema: Schema.Constraint): Run => SchemaParser.decodeUnknownEffect(accelerate(schema)) as Run

/** Parses and tells the first problem: for those who do not tell it on. */
export const quickParser = (schema: () => Schema.Constraint): Parser =>
  deferred(() => runOf(schema()) as Parser)

/** Parses and tells every problem; of unknown keys too, where they are `refused`. */
export const parserOf = (schema: () => Schema.Constraint, unknownKeys: "refused" | "dropped"): Parser =>
  deferred(() => fullParser(schema(), unknownKeys))

/** Compiled when it is first used: of many tools most are never called, and fewer fail. */
const deferred = (make: () => Parser): Parser => {
  const parser = lazily(make)
  return (input) => parser()(input)
}

const fullParser = (schema: Schema.Constraint, unknownKeys: "refused" | "dropped"): Parser => {
  const run = runOf(schema)
  const full = unknownKeys === "refused" ? parseOptions : dropping
  if (!isReplayable(schema.ast)) return (input) => run(input, full)
  const keys = unknownKeys === "refused" ? keysOf(schema.ast) : undefined
  const once = mayGenerate() && onlyChecks(schema.ast)
  return (input) => {
    if (keys !== undefined && !isKnown(keys, input)) return run(input, full)
    if (once) return run(input, dropping)
    const parsed = run(input)
    return isExit(parsed) && Exit.isSuccess(parsed) ? parsed : run(input, full)
  }
}

const isKnown = (keys: Keys, input: unknown): boolean => {
  try {
    return keys(input)
  } catch {
    // The value's own code throws: the parser says so.
    return false
  }
}
