/** Texts that stand in a header: a subject, a name, the name of a file. */
import * as Schema from "effect/Schema"
import type * as SchemaAST from "effect/SchemaAST"
import * as Characters from "../../internal/screening/characters.ts"

const problems = {
  malformed: "it must be well-formed Unicode",
  lines: "it must be one line",
  control: "it must not have control characters",
  bidi: "it must not have characters that reorder what is shown",
  invisible: "it must not have characters that are not seen"
} as const

/**
 * Why a text may not stand in a header; `undefined` where it may. A line break would begin another header, and what
 * is not seen, or reorders what is seen, lets people read something else than machines.
 */
export const lineProblem = (text: string): string | undefined => {
  if (!text.isWellFormed()) return problems.malformed
  if (/[\r\n\u2028\u2029]/.test(text)) return problems.lines
  const { bidi, control, invisible } = Characters.find(text)
  // A tab is no control character of texts, but folds a header.
  if (control !== undefined || text.includes("\t")) return problems.control
  if (bidi !== undefined) return problems.bidi
  return invisible === undefined ? undefined : problems.invisible
}

/** Why a text may not be a body; lines, tabs and every visible character may stand there. */
const bodyProblem = (text: string): string | undefined => {
  if (!text.isWellFormed()) return problems.malformed
  return Characters.find(text).control === undefined ? undefined : problems.control
}

/** Checks that say which rule is broken, and nothing of the text: one for each thing that `problemOf` may say. */
export const checks = (
  problemOf: (text: string) => string | undefined,
  messages: Iterable<string>
): [SchemaAST.Filter<string>, ...ReadonlyArray<SchemaAST.Filter<string>>] =>
  Array.from(messages, (message) =>
    Schema.makeFilter((text: string) => problemOf(text) !== message, { message })
  ) as never

/** A text of one line. */
export const line = (description: string) =>
  Schema.String.annotate({ description }).check(
    Schema.isNonEmpty(),
    ...checks(lineProblem, Object.values(problems))
  )

/** A text of many. */
export const body = (description: string) =>
  Schema.String.annotate({ description }).check(
    ...checks(bodyProblem, [problems.malformed, problems.control])
  )
