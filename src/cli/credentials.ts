/** The configuration's named secrets, read from where it says they are. */
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import type { FileSystem } from "effect/FileSystem"
import * as Layer from "effect/Layer"
import type * as Redacted from "effect/Redacted"
import * as Credentials from "../toolbox/Credentials.ts"
import type { Config, Secret } from "./Config.ts"
import * as Output from "./Output.ts"
import { Project } from "./Project.ts"
import * as Secrets from "./Secrets.ts"

type Entry = NonNullable<Config["credentials"]>[string]

/** Where an entry's secret is. */
export const secretOf = (entry: Entry): Secret => {
  switch (entry.type) {
    case "bearer":
      return entry.token
    case "basic":
      return entry.password
    default:
      return entry.value
  }
}

const withSecret = (entry: Entry, secret: Redacted.Redacted): Credentials.Credential => {
  switch (entry.type) {
    case "bearer":
      return { ...entry, token: secret }
    case "basic":
      return { ...entry, password: secret }
    default:
      return { ...entry, value: secret }
  }
}

/** Without those whose secret is not there, which are said on stderr: what does not need them works all the same. */
export const layer: Layer.Layer<Credentials.Credentials, never, Project | FileSystem> = Layer.unwrap(
  Effect.gen(function* () {
    const { loaded, resolve } = yield* Project
    const found = yield* Effect.forEach(Object.entries(loaded.config.credentials ?? {}), ([name, entry]) =>
      Effect.matchEffect(Secrets.read(secretOf(entry), resolve), {
        onSuccess: (secret) => Effect.succeed([[name, withSecret(entry, secret)] as const]),
        onFailure: ({ message }) =>
          Effect.as(Console.error(Output.lines(`interlock: credential ${name}: ${message}`)), [])
      })
    )
    return Credentials.layer(Object.fromEntries(found.flat()))
  })
)
