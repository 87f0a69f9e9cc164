/** A process in which optional packages are not installed: prints, as JSON, what each toolset says that needs one. */
import { registerHooks } from "node:module"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"

const missing = ["nodemailer", "@slack/web-api", "@aws-sdk/client-lambda"]

const absent = "-is-absent"

registerHooks({
  resolve: (specifier, context, next) => {
    const name = missing.find((each) => specifier === each || specifier.startsWith(`${each}/`))
    if (name === undefined) return next(specifier, context)
    try {
      return next(specifier.replace(name, `${name}${absent}`), context)
    } catch (error) {
      // Node's own error about a package that is surely not there, under the name of this one.
      throw Object.assign(error as Error, { message: (error as Error).message.replace(absent, "") })
    }
  }
})

const { Credentials, Email, Lambda, Slack } = await import("../../src/toolbox/index.ts")

const layers: Readonly<Record<string, Layer.Layer<never, unknown>>> = {
  Email: Email.layer({ host: "localhost", from: "a@company.com", allowedDomains: ["*"] }).pipe(
    Layer.provide(Credentials.layerNone)
  ),
  Slack: Slack.layer({ token: Redacted.make("x"), allowedChannels: ["*"] }).pipe(
    Layer.provide(Credentials.layerNone)
  ),
  Lambda: Lambda.make([
    { name: "a", functionName: "a", description: "a", parameters: Schema.Struct({}), success: Schema.Null }
  ]).layer
}

const said: Record<string, string> = {}
for (const [name, layer] of Object.entries(layers)) {
  const error = await Effect.runPromise(Effect.flip(Effect.scoped(Layer.build(layer))))
  said[name] = error instanceof Error ? error.message : String(error)
}
console.log(JSON.stringify(said))
