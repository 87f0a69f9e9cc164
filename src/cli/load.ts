/** Finds the configuration file, reads it and says where it is wrong. */
import { pathToFileURL } from "node:url"
import * as Effect from "effect/Effect"
import { FileSystem } from "effect/FileSystem"
import { Path } from "effect/Path"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as SchemaIssue from "effect/SchemaIssue"
import * as Jsonc from "jsonc-parser"
import * as ArgumentPath from "../internal/argumentPath.ts"
import { type Code, Config } from "./Config.ts"

// --- Models ----------------------------------------------------------------

/** A configuration, and where it comes from. */
export interface Loaded {
  /** `undefined` where there is none: everything has its default. */
  readonly file: string | undefined
  /** What relative paths in it are relative to. */
  readonly directory: string
  readonly config: Config
  readonly code: Code
}

/** A configuration that cannot be used: every problem with its line, or its field. */
export class ConfigError extends Schema.TaggedError<ConfigError>("interlock/cli/ConfigError")("ConfigError", {
  file: Schema.String,
  problems: Schema.Array(Schema.Struct({ at: Schema.String, field: Schema.String, message: Schema.String }))
}) {
  override get message(): string {
    const lines = this.problems.map(
      ({ at, field, message }) => `  ${at}${field === "" ? "" : ` ${field}`}: ${message}`
    )
    return [`${this.file} cannot be used:`, ...lines].join("\n")
  }
}

/** By which names the file is looked for, in this order. */
export const names = [
  "interlock.config.ts",
  "interlock.config.mts",
  "interlock.config.js",
  "interlock.config.json"
]

// --- Pure ------------------------------------------------------------------

const decode = Schema.decodeUnknownResult(Config, { errors: "all", onExcessProperty: "error" })

const format = SchemaIssue.makeFormatterStandardSchemaV1({
  leafHook: (issue) =>
    issue._tag === "UnexpectedKey" ? "is not known here" : SchemaIssue.defaultLeafHook(issue)
})

type Located = (path: ReadonlyArray<PropertyKey>) => string

/** A value as a configuration; `at` says where in the file a field is. */
export const parse = (value: unknown, file: string, at: Located): Result.Result<Config, ConfigError> =>
  Result.mapError(decode(value), ({ issue }) => {
    const problems = format(issue).issues.map(({ message, path = [] }) => {
      const keys = path.map((segment) => (typeof segment === "object" ? segment.key : segment))
      const field = ArgumentPath.format(keys.map((key) => (typeof key === "number" ? key : String(key))))
      return { at: at(keys), field, message }
    })
    return new ConfigError({ file, problems })
  })

/** JSON with comments and trailing commas. */
export const parseJson = (text: string, file: string): Result.Result<Config, ConfigError> => {
  try {
    return parseText(text, file)
  } catch (error) {
    // Whoever reads it goes as deep as it is nested.
    if (error instanceof RangeError) return Result.fail(problem(file, "it is nested too deeply"))
    throw error
  }
}

const parseText = (text: string, file: string): Result.Result<Config, ConfigError> => {
  const errors: Array<Jsonc.ParseError> = []
  const tree = Jsonc.parseTree(text, errors, { allowTrailingComma: true })
  const position = (offset: number) => {
    const before = text.slice(0, offset).split("\n")
    return `${before.length}:${(before.at(-1)?.length ?? 0) + 1}`
  }
  if (errors.length > 0 || tree === undefined) {
    const found = errors.length === 0 ? [{ error: 0, offset: 0 }] : errors
    return Result.fail(
      new ConfigError({
        file,
        problems: found.map(({ error, offset }) => ({
          at: position(offset),
          field: "",
          message: words(Jsonc.printParseErrorCode(error))
        }))
      })
    )
  }
  return parse(Jsonc.getNodeValue(tree), file, (path) => {
    // What is missing has no place of its own: the nearest thing around it has.
    for (let length = path.length; length >= 0; length--) {
      const node = Jsonc.findNodeAtLocation(tree, path.slice(0, length) as Jsonc.JSONPath)
      if (node !== undefined) return position((node.parent?.type === "property" ? node.parent : node).offset)
    }
    return position(0)
  })
}

/** `PropertyNameExpected` as `property name expected`. */
const words = (code: string): string =>
  code.replace(/(?<=.)([A-Z])/g, (capital) => ` ${capital}`).toLowerCase()

// --- Acting ----------------------------------------------------------------

const problem = (file: string, message: string): ConfigError =>
  new ConfigError({ file, problems: [{ at: "-", field: "", message }] })

/** The file that is named; else the first that is found here or in a folder above. */
export const find = Effect.fnUntraced(function* (named: string | undefined) {
  const fs = yield* FileSystem
  const path = yield* Path
  if (named !== undefined) {
    const file = path.resolve(named)
    const exists = yield* Effect.orElseSucceed(fs.exists(file), () => false)
    return exists ? file : yield* Effect.fail(problem(named, "there is no such file"))
  }
  for (let directory = path.resolve("."); ; directory = path.dirname(directory)) {
    for (const name of names) {
      const file = path.join(directory, name)
      if (yield* Effect.orElseSucceed(fs.exists(file), () => false)) return file
    }
    if (path.dirname(directory) === directory) return undefined
  }
})

/** Loads the configuration: the named file, the nearest one, or none. */
export const load = (named: string | undefined): Effect.Effect<Loaded, ConfigError, FileSystem | Path> =>
  Effect.gen(function* () {
    const path = yield* Path
    const file = yield* find(named)
    if (file === undefined) return { file, directory: path.resolve("."), config: {}, code: {} }
    const read = file.endsWith(".json") ? readJson : readModule
    return { file, directory: path.dirname(file), ...(yield* read(file)) }
  })

type Read = (file: string) => Effect.Effect<Pick<Loaded, "config" | "code">, ConfigError, FileSystem>

const readJson: Read = Effect.fnUntraced(function* (file) {
  const text = yield* (yield* FileSystem)
    .readFileString(file)
    .pipe(Effect.mapError(() => problem(file, "it cannot be read")))
  return { config: yield* Effect.fromResult(parseJson(text, file)), code: {} }
})

const readModule: Read = Effect.fnUntraced(function* (file) {
  const module = yield* Effect.tryPromise({
    try: () => import(pathToFileURL(file).href) as Promise<{ readonly default?: unknown }>,
    // What a module throws is its author's to read.
    catch: (cause) =>
      problem(file, `it throws when it is loaded: ${cause instanceof Error ? cause.message : cause}`)
  })
  const value = module.default
  if (typeof value !== "object" || value === null) {
    return yield* Effect.fail(problem(file, "it has no default export: export default defineConfig({ … })"))
  }
  const { governance, tools, ...data } = value as Code & Readonly<Record<string, unknown>>
  return {
    config: yield* Effect.fromResult(parse(data, file, () => "-")),
    code: { ...(tools === undefined ? {} : { tools }), ...(governance === undefined ? {} : { governance }) }
  }
})
