/**
 * A cause as operators may see it: every message, stack and field of its errors
 * shown by one function. Names, tags and the order of reasons stay.
 */
import * as Cause from "effect/Cause"

/** Errors within errors that are followed; deeper ones are left out. */
const maxDepth = 8

/** `text` shows free text: `ToolRedaction.message` with the call's arguments, or `Redaction.text`. */
export const redactCause = (
  cause: Cause.Cause<unknown>,
  text: (text: string) => string
): Cause.Cause<unknown> =>
  Cause.fromReasons(
    cause.reasons.map((reason): Cause.Reason<unknown> => {
      const shown = (): Cause.Reason<unknown> => {
        switch (reason._tag) {
          case "Fail":
            return Cause.makeFailReason(errorOf(reason.error, text, 0))
          case "Die":
            return Cause.makeDieReason(errorOf(reason.defect, text, 0))
          case "Interrupt":
            return reason
        }
      }
      return shown()
    })
  )

const errorOf = (error: unknown, text: (text: string) => string, depth: number): unknown => {
  try {
    return shownError(error, text, depth)
  } catch {
    // An error whose own code throws says nothing.
    return new Error("[cannot be read]")
  }
}

const shownError = (error: unknown, text: (text: string) => string, depth: number): unknown => {
  if (typeof error === "string") return text(error)
  if (!(error instanceof Error)) return dataOf(error, text)
  const shown = new Error(text(error.message))
  Object.defineProperty(shown, "name", { value: text(error.name), configurable: true })
  Object.defineProperty(shown, "stack", { value: text(error.stack ?? ""), configurable: true })
  const { cause, ...fields } = { ...error } as { readonly cause?: unknown }
  const inner = error.cause ?? cause
  if (inner !== undefined && depth < maxDepth) {
    Object.defineProperty(shown, "cause", { value: errorOf(inner, text, depth + 1), configurable: true })
  }
  if (error instanceof AggregateError && depth < maxDepth) {
    const errors = error.errors.slice(0, 100).map((item) => errorOf(item, text, depth + 1))
    Object.defineProperty(shown, "errors", { value: errors, configurable: true })
  }
  const data = dataOf(fields, text)
  if (typeof data === "object" && data !== null) {
    for (const [key, value] of Object.entries(data)) {
      if (key !== "message" && key !== "name" && key !== "stack") {
        Object.defineProperty(shown, key, { value, enumerable: true, configurable: true })
      }
    }
  }
  return shown
}

/** As JSON, so that the names of fields are known where their values are looked at. */
const dataOf = (value: unknown, text: (text: string) => string): unknown => {
  if (typeof value === "number" || typeof value === "boolean" || value === null || value === undefined)
    return value
  let json: string | undefined
  try {
    json = JSON.stringify(value, (_, item) => (typeof item === "bigint" ? String(item) : item))
  } catch {
    return "[cannot be written as JSON]"
  }
  if (json === undefined) return `[${typeof value}]`
  const shown = text(json)
  try {
    return JSON.parse(shown)
  } catch {
    return shown
  }
}
