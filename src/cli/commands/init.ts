/** `interlock init`: a commented configuration to begin with. */

import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import { FileSystem } from "effect/FileSystem"
import { Path } from "effect/Path"
import { complain } from "../ExitCode.ts"
import * as load from "../load.ts"
import * as Output from "../Output.ts"

/** The data of a new configuration, as both kinds of file are written with it. */
const body = `// Whom calls are made for. Roles: read, write (and send), admin (everything); or "capabilities".
  "principals": {
    "me": { "roles": ["write"], "capabilities": ["delete_data"] },
    "boss": { "roles": ["admin"] }
  },
  "principal": "me",

  // What may run. Globs match a tool's name, also without the prefix of its server.
  "policy": {
    // "deny": ["*drop*"],
    "requireConfirmation": ["*delete*"]
    // "allowedDomains": ["*.example.com"]
  },

  // How often, and for how much (usd, in dollars).
  "rateLimits": [{ "limit": 60, "window": "1 minute", "by": "principal" }],
  "budgets": [{ "max": 5, "per": "principal", "window": "day" }],

  // Tools in the box. A folder is all that files and notes can reach.
  "toolbox": {
    "calculator": {},
    "notes": { "directory": "notes" }
    // "http_request": {}, with "network": { "allowedDomains": ["api.example.com"] }
  },

  // Secrets are named here and kept elsewhere; a model never sees them.
  // "credentials": { "api": { "type": "bearer", "hosts": ["api.example.com"], "token": { "env": "API_TOKEN" } } },

  // Other people's servers, behind the same policy: interlock gateway
  "mcpServers": {
    // "files": { "command": "npx", "args": ["-y", "@modelcontextprotocol/server-filesystem", "."] }
  }`

/** The file of each kind. */
export const templates: Readonly<Record<"json" | "ts", { readonly name: string; readonly text: string }>> = {
  json: { name: "interlock.config.json", text: `{\n  ${body}\n}\n` },
  ts: {
    name: "interlock.config.ts",
    text: `import { defineConfig } from "effect-interlock/cli"\n\nexport default defineConfig({\n  ${body.replace(/^(\s*(?:\/\/ )?(?:[{[] )?)"(\w+)":/gm, "$1$2:")}\n})\n`
  }
}

/** What is the folder's owner's alone does not belong into a repository. */
const ignored = ".interlock/"

const inRepository = Effect.gen(function* () {
  const fs = yield* FileSystem
  const path = yield* Path
  for (let folder = path.resolve("."); ; folder = path.dirname(folder)) {
    if (yield* exists(fs, path.join(folder, ".git"))) return true
    if (path.dirname(folder) === folder) return false
  }
})

/** Adds to what is there, whatever it is. */
const ignoreState = Effect.gen(function* () {
  const fs = yield* FileSystem
  const before = yield* Effect.orElseSucceed(fs.readFileString(".gitignore"), () => "")
  if (before.split(/\r?\n/).includes(ignored)) return
  const line = before === "" || before.endsWith("\n") ? `${ignored}\n` : `\n${ignored}\n`
  yield* written(fs, ".gitignore", line, "a")
})

const exists = (fs: FileSystem, file: string): Effect.Effect<boolean> =>
  Effect.orElseSucceed(fs.exists(file), () => false)

const written = (fs: FileSystem, file: string, text: string, flag: "w" | "wx" | "a") =>
  Effect.catch(fs.writeFileString(file, text, { flag }), ({ reason }) =>
    complain("usage", `${file} cannot be written: ${reason._tag}`)
  )

export const init = Command.make(
  "init",
  {
    ts: Flag.Boolean("ts").pipe(
      Flag.withDescription("A TypeScript module, which can also give tools and rules of your own"),
      Flag.withDefault(false)
    ),
    force: Flag.Boolean("force").pipe(
      Flag.withDescription("Write it although there is one already"),
      Flag.withDefault(false)
    )
  },
  Effect.fnUntraced(function* ({ force, ts }) {
    const fs = yield* FileSystem
    const path = yield* Path
    const { name, text } = templates[ts ? "ts" : "json"]
    if (!force) {
      for (const known of load.names) {
        if (yield* exists(fs, known))
          return yield* complain("usage", `There is ${known} already: --force writes another.`)
      }
    }
    // A link that leads nowhere is there all the same.
    yield* written(fs, name, text, force ? "w" : "wx")
    if (yield* inRepository) yield* ignoreState
    yield* Output.print({ file: path.resolve(name) }, ({ file }) =>
      [
        `Wrote ${file}.`,
        "Next:",
        "  interlock tools                 what you may use",
        `  interlock call calculator_evaluate '{"expression":"2*21"}'`,
        "  interlock doctor                what is unsafe or missing"
      ].join("\n")
    )
  })
).pipe(Command.withDescription("Write a commented configuration"))
