/** Reads what a configuration only names: secrets in environment variables and files. */
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import { FileSystem } from "effect/FileSystem"
import * as Redacted from "effect/Redacted"
import type { Secret } from "./Config.ts"
import { complain } from "./ExitCode.ts"

/** Where it is, for messages: never what it is. */
export const place = (secret: Secret): string =>
  "env" in secret ? `the environment variable ${secret.env}` : `the file ${secret.file}`

/** A secret, without the space around it; one that is not there, or empty, is a complaint that names its place. */
export const read = Effect.fnUntraced(function* (secret: Secret, resolve: (path: string) => string) {
  const text =
    "env" in secret
      ? yield* Effect.orElseSucceed(Config.String(secret.env), () => "")
      : yield* Effect.orElseSucceed((yield* FileSystem).readFileString(resolve(secret.file)), () => "")
  const trimmed = text.trim()
  return trimmed === ""
    ? yield* complain("usage", `A secret is missing: ${place(secret)} is not set, or empty.`)
    : Redacted.make(trimmed)
})
