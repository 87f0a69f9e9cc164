/**
 * What anyone may see of a call: its arguments, its result, the texts about it,
 * with what is secret replaced by a mask that names the rule, such as
 * `[redacted github-token]`.
 *
 * What is secret is said in three ways, and the first that speaks wins:
 *
 * 1. Declared. A tool's schemas say so: `Schema.Redacted`, a field annotated with
 *    `ToolAnnotations.sensitive`, and in a raw JSON Schema `format: "password"`,
 *    `writeOnly: true`, `"interlock/sensitive": true` or `"x-sensitive": true`.
 *    Such a field is masked whole, whatever it holds, in any branch of a union.
 * 2. Named. A field's name ends in words such as `password`, `apiKey` or
 *    `x-auth-token`, and its value may be what the name says. The same holds for
 *    `{ name, value }`, for pairs, for `--flags`, and for `name=value` in a text.
 * 3. Shaped. A text has the shape of a token, a JWT, a private key, a card or
 *    IBAN whose checksum is right, a URL with a password, an e-mail address, a
 *    phone number. The rest of the text stays readable.
 *
 * A text that is JSON is shown as such. Percent-encoding and base64 are decoded
 * once and looked into; what they hide is masked whole.
 *
 * Gotchas
 *
 * - Only what is declared is certain. A secret without a shape (a password, 40
 *   random characters) under a harmless name is not found, nor is one that is
 *   encoded twice, in hexadecimal, compressed, or split over several values.
 * - A transformation that moves a value to a field which exists on both of its
 *   sides is not seen through: annotate the encoded side.
 * - A string is read up to `maxLength` characters (65,536); a note stands for the
 *   rest, from the beginning of the word that would have been cut. Below 200
 *   levels and beyond 100,000 values there is a note too.
 * - Looking takes time linear in the text. A rule of your own must keep to that:
 *   it is run on whatever a model writes.
 *
 * Memory: the verdicts on 4,096 names, and per tool on 10,000 places of a schema.
 */
import type * as Tool from "effect/ai/Tool"
import { isDynamic } from "effect/ai/Tool"
import type * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Layer from "effect/Layer"
import { whole } from "./internal/options.ts"
import { redactCause } from "./internal/redaction/cause.ts"
import { either, type Place } from "./internal/redaction/declared.ts"
import * as JsonSchema from "./internal/redaction/jsonSchema.ts"
import { KeyRules, words } from "./internal/redaction/keys.ts"
import { unquote } from "./internal/redaction/quotes.ts"
import { declared, rules as kept, type Rule, urlCredentials } from "./internal/redaction/rules.ts"
import * as Schemas from "./internal/redaction/schema.ts"
import * as Text from "./internal/redaction/text.ts"
import { escape } from "./internal/redaction/tokens.ts"
import * as View from "./internal/redaction/view.ts"
import type { ToolFacts } from "./ToolAnnotations.ts"

export type { Rule } from "./internal/redaction/rules.ts"
export type { View } from "./internal/redaction/view.ts"

/** What may be shown of one tool's calls, worked out once. Never throws; input is JSON of bounded depth. */
export interface ToolRedaction {
  /** Raw (encoded) arguments: declared fields masked whatever they hold, then what is detected. */
  readonly params: (raw: unknown) => View.View
  /** An encoded success or failure. */
  readonly result: (encoded: unknown) => View.View
}

export class Redaction extends Context.Service<
  Redaction,
  {
    readonly forTool: (tool: ToolFacts) => ToolRedaction
    /** Any JSON nothing is declared of: metadata, messages in structures. */
    readonly value: (value: unknown) => View.View
    /** Free text, with every detected secret replaced by its mask. */
    readonly text: (text: string) => string
  }
>()("interlock/Redaction") {}

export interface Options {
  /** Rules of your own, tried before those that ship. */
  readonly rules?: ReadonlyArray<Rule>
  /** Names of rules that are not wanted: of `ruleNames`, or of your own. What is declared is always masked. */
  readonly without?: ReadonlyArray<string>
  /** Names of fields whose text is always masked, as their last words: `badge number` is `employeeBadgeNumber` too. */
  readonly keys?: ReadonlyArray<string>
  /** `false` leaves e-mail addresses and phone numbers readable; default `true`. */
  readonly pii?: boolean
  /** What stands for a secret; `[redacted <rule>]`. */
  readonly mask?: (rule: string) => string
  /** Characters of one string that are read and shown; 65,536, at least 1,024. */
  readonly maxLength?: number
}

/** The rules that ship, in the order in which they are tried. */
export const rules: ReadonlyArray<Rule> = kept

/** The names that masks may have. */
export const ruleNames: ReadonlyArray<string> = [
  ...new Set([...kept.map(({ name }) => name), urlCredentials])
]

/** Throws a `RangeError` for options that make no sense. */
export const make = (options: Options = {}): Redaction["Service"] => {
  const config = compile(options)
  return {
    value: (value) => View.view(config, value, undefined),
    text: (text) => View.text(config, text),
    forTool: ({ tool }) => {
      const params = paramsOf(tool)
      const result = either(Schemas.declaredBy(tool.successSchema), Schemas.declaredBy(tool.failureSchema))
      return {
        params: (raw) => View.view(config, raw, params),
        result: (encoded) => View.view(config, encoded, result)
      }
    }
  }
}

export const layer = (options?: Options): Layer.Layer<Redaction> => Layer.sync(Redaction, () => make(options))

/**
 * Shows texts about one call, such as the message of an error: what is detected, and every text of four characters or
 * more that is masked in these arguments, and in the result where there is one, wherever it is quoted, also as JSON or
 * percent-encoded. `names`, which a schema knows, are no secrets where they stand in what it declares to be one.
 */
export const aboutCall = (
  redaction: Redaction["Service"],
  tool: ToolRedaction,
  raw: unknown,
  more: { readonly names?: ReadonlySet<string>; readonly result?: unknown } = {}
): ((text: string) => string) => {
  const { names = new Set<string>(), result } = more
  try {
    const quoted = unquote(raw, tool.params(raw).value, names)
    if (result === undefined) return (text) => redaction.text(quoted(text))
    const fromResult = unquote(result, tool.result(result).value, names)
    return (text) => redaction.text(fromResult(quoted(text)))
  } catch {
    // Where the arguments' own code throws, nobody knows what a text says of them.
    return () => "[cannot be shown]"
  }
}

/** A cause with every message, stack and field shown by `text`, which is `aboutCall` or a redaction's own. */
export const cause: (cause: Cause.Cause<unknown>, text: (text: string) => string) => Cause.Cause<unknown> =
  redactCause

// --- Options ---------------------------------------------------------------

const compile = ({
  keys = [],
  mask = (rule) => `[redacted ${rule}]`,
  maxLength = 65_536,
  pii = true,
  rules = [],
  without = []
}: Options): View.Config => {
  whole("Redaction: maxLength", maxLength, 1024)
  const all = [...rules, ...keyed(keys), ...kept]
  const names = new Set([...all.map(({ name }) => name), urlCredentials])
  for (const name of without) {
    if (!names.has(name)) throw new RangeError(`without: there is no rule ${JSON.stringify(name)}`)
  }
  for (const [index, rule] of rules.entries()) check(`rules[${index}]`, rule)

  const left = all.filter((rule) => !without.includes(rule.name) && (pii || rule.pii !== true))
  const masks = new Map([...names, declared].map((name) => [name, mask(name)]))
  for (const [name, said] of masks) {
    if (said === "") throw new RangeError(`mask must say something of ${JSON.stringify(name)}`)
  }
  const said = new Set(masks.values())
  const anyMask = new RegExp(
    [...said]
      .sort((a, b) => b.length - a.length)
      .map(escape)
      .join("|"),
    "y"
  )
  const maskAt = (text: string, at: number): number => {
    anyMask.lastIndex = at
    return anyMask.exec(text)?.[0].length ?? 0
  }
  const keyRules = new KeyRules(left)
  return {
    keys: keyRules,
    spans: Text.compile(left, keyRules, maskAt, !without.includes(urlCredentials)),
    mask: (rule) => masks.get(rule)!,
    isMask: (text) => said.has(text),
    maxLength,
    cards: left.some(({ name, value }) => name === "card" && value !== undefined)
  }
}

const keyed = (keys: ReadonlyArray<string>): ReadonlyArray<Rule> =>
  keys.map((key, index) => {
    const text = words(key)
    if (text === "") throw new RangeError(`keys[${index}] must have a letter or a digit`)
    return { name: "field", keys: new RegExp(`(?:^| )${escape(text)}$`, "u") }
  })

const check = (at: string, { keys, name, starts, value }: Rule): void => {
  if (!/^[\w -]{1,64}$/.test(name)) {
    throw new RangeError(`${at}.name must be 1 to 64 letters, digits, spaces, _ or -`)
  }
  if (name === declared) throw new RangeError(`${at}.name: ${declared} is for what schemas declare`)
  if (starts !== undefined && (value === undefined || starts.length === 0 || starts.includes(""))) {
    throw new RangeError(`${at}.starts must be texts that are not empty, with a value that follows them`)
  }
  if (keys === undefined && value === undefined) throw new RangeError(`${at} must have keys or a value`)
  if (value !== undefined && starts === undefined && new RegExp(value.source, value.flags).test("")) {
    throw new RangeError(`${at}.value must not match the empty text`)
  }
}

// --- One tool --------------------------------------------------------------

const paramsOf = (tool: Tool.Any): Place | undefined => {
  const raw = isDynamic(tool) ? tool.jsonSchema : undefined
  return raw === undefined ? Schemas.declaredBy(tool.parametersSchema) : JsonSchema.declaredBy(raw)
}
