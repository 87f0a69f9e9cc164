/**
 * Looks into arguments for what should not reach a tool, and into untrusted
 * results for what speaks to a model. It refuses or flags; it never changes a
 * value, because what was stripped may be harmful in another way.
 *
 * | rule | what it finds | by default |
 * |---|---|---|
 * | `control` | control characters but tab and line breaks | refuse |
 * | `bidi` | characters that reorder what is shown | refuse |
 * | `invisible` | characters that are not seen, but for what writing and emoji need | refuse |
 * | `homoglyph` | hosts that mix scripts or imitate another, in URLs, e-mail addresses, bare hosts and fields annotated as hosts | refuse |
 * | `path` | `..` in any encoding, places of the system; in annotated fields also absolute paths and NUL | flag |
 * | `sql`, `script`, `html` | patterns of injected code | flag |
 * | `instructions` | in results only: text that speaks to a model | flag |
 *
 * Precedence, said once: a field annotated with `ToolAnnotations.screened` refuses what it names, whatever
 * the options say; then the first glob of `tools` that matches and says something of the rule; then `rules`;
 * then the table. An annotation on a structure holds for everything in it.
 *
 * Every string is looked at, names of properties included; a name is reported at the object that has it. A
 * field has one finding per rule, and a call at most 20, refusals first. What is nested deeper than 500
 * levels is not looked into: arguments are refused for it (`depth`), results flagged.
 *
 * Results are screened where the tool is declared untrusted, or with `strict` not declared trusted:
 * `instructions`, `bidi` and `invisible`, always as flags.
 *
 * What is ordinary and what is not, with the Unicode reports it is taken from, is said in
 * `internal/screening/characters.ts` and `internal/screening/hosts.ts`. Gotchas: text from web pages and word
 * processors may hold soft hyphens, zero width spaces and isolates, which are refused; set `invisible` or
 * `bidi` to `flag` for tools that take such text. Patterns find what is common, not what is possible: see
 * `internal/screening/patterns.ts`.
 */
import * as Context from "effect/Context"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Glob from "./internal/glob.ts"
import { fieldsOf } from "./internal/screening/fields.ts"
import { scanParams, scanResult } from "./internal/screening/scan.ts"
import type { ToolFacts } from "./ToolAnnotations.ts"

/**
 * What screening found: the rule, the field as `ArgumentPath.format` writes it, and a sentence. Never the
 * value.
 */
export interface Finding {
  readonly rule: string
  readonly path: string
  readonly message: string
  /** `refuse`: the call must not run; `flag`: recorded, and shown to whoever is asked. */
  readonly severity: "refuse" | "flag"
}

export type Rule =
  | "control"
  | "bidi"
  | "invisible"
  | "homoglyph"
  | "path"
  | "sql"
  | "script"
  | "html"
  | "instructions"

export type Setting = "refuse" | "flag" | "off"

/** `instructions` are looked for in results, which are never refused: `refuse` is `flag` for them. */
export type Settings = { readonly [R in Rule]?: Setting }

export interface Options {
  readonly rules?: Settings
  /** Other settings for tools that a glob matches, by any of their names. */
  readonly tools?: { readonly [glob: Glob.Glob]: Settings }
  /** Screens the results of tools that do not say whether they can be trusted. Default false. */
  readonly strict?: boolean
}

/** What each rule does where nothing else was said. */
export const defaults: { readonly [R in Rule]: Setting } = {
  control: "refuse",
  bidi: "refuse",
  invisible: "refuse",
  homoglyph: "refuse",
  path: "flag",
  sql: "flag",
  script: "flag",
  html: "flag",
  instructions: "flag"
}

const rules = Object.keys(defaults) as ReadonlyArray<Rule>

// --- Service ---------------------------------------------------------------

/**
 * What screening looks for in one tool's calls, worked out once. Pure, never throws; input is JSON of bounded
 * depth.
 */
export interface ToolScreening {
  /** Every finding in raw (encoded) arguments; the same empty array when there is none. */
  readonly params: (raw: unknown) => ReadonlyArray<Finding>
  /** Every finding in an encoded result of an untrusted tool: instruction-like content, never changed. */
  readonly result: (encoded: unknown) => ReadonlyArray<Finding>
}

/** Says what to look for in the calls of a tool. */
export class Screening extends Context.Service<
  Screening,
  {
    /** `undefined`: nothing is looked for, so a call pays nothing. */
    readonly forTool: (tool: ToolFacts) => ToolScreening | undefined
  }
>()("interlock/Screening") {}

/** Throws a `RangeError` for a rule or a setting that does not exist. */
export const make = (options: Options = {}): Screening["Service"] => {
  const tools = Object.entries(options.tools ?? {})
  check("rules", options.rules)
  for (const [glob, settings] of tools) check(`tools["${glob}"]`, settings)
  return {
    forTool: (tool) => {
      const settings = settingsOf(options.rules, tools, tool)
      const { parametersSchema } = tool.tool
      const fields = Schema.isSchema(parametersSchema) ? fieldsOf(parametersSchema.ast) : undefined
      const untrusted = tool.trust === "untrusted" || (options.strict === true && tool.trust === undefined)
      const annotated = fields !== undefined
      const looksAtParams =
        annotated || rules.some((rule) => rule !== "instructions" && settings[rule] !== "off")
      const looksAtResult =
        untrusted && (["instructions", "bidi", "invisible"] as const).some((rule) => settings[rule] !== "off")
      if (!looksAtParams && !looksAtResult) return undefined
      return {
        params: looksAtParams ? (raw) => scanParams(raw, settings, fields) : nothing,
        result: looksAtResult ? (encoded) => scanResult(encoded, settings) : nothing
      }
    }
  }
}

const empty: ReadonlyArray<Finding> = Object.freeze([])
const nothing = (): ReadonlyArray<Finding> => empty

const settingsOf = (
  common: Settings | undefined,
  tools: ReadonlyArray<readonly [Glob.Glob, Settings]>,
  tool: ToolFacts
): { readonly [R in Rule]: Setting } => {
  const own = tools.filter(([glob]) => Glob.matchesAny(glob, tool.names)).map(([, settings]) => settings)
  const settings = { ...defaults }
  for (const rule of rules) {
    const said = own.find((each) => each[rule] !== undefined) ?? common
    settings[rule] = said?.[rule] ?? defaults[rule]
  }
  return settings
}

const check = (where: string, settings: Settings | undefined): void => {
  for (const [rule, setting] of Object.entries(settings ?? {})) {
    if (!Object.hasOwn(defaults, rule)) throw new RangeError(`Screening: ${where} names no rule: "${rule}"`)
    if (setting !== undefined && !["refuse", "flag", "off"].includes(setting)) {
      throw new RangeError(`Screening: ${where}.${rule} must be "refuse", "flag" or "off", not "${setting}"`)
    }
  }
}

// --- Layers ----------------------------------------------------------------

/** Screens every tool's calls. Dies with a `RangeError` for a rule or a setting that does not exist. */
export const layer = (options?: Options): Layer.Layer<Screening> => Layer.sync(Screening, () => make(options))

/** Looks for nothing. */
export const layerNoop: Layer.Layer<Screening> = Layer.succeed(Screening, { forTool: () => undefined })
