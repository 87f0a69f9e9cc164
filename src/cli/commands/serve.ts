/** `interlock mcp`: the configuration's tools over the Model Context Protocol. */
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"

export const flags = {
  http: Flag.Int("http").pipe(
    Flag.withMetavar("port"),
    Flag.withDescription("Serve over HTTP on this port, 0 for any, in the place of stdio"),
    Flag.optional
  ),
  host: Flag.String("host").pipe(
    Flag.withDescription("The address to listen on; 127.0.0.1"),
    Flag.withDefault("127.0.0.1")
  )
}

/** Loaded where it is needed: other commands begin sooner without servers. */
export const serve = ({ host, http }: { readonly host: string; readonly http: Option.Option<number> }) =>
  Effect.flatMap(
    Effect.promise(() => import("../serving.ts")),
    ({ serve }) => serve(host, Option.getOrUndefined(http))
  )

export const mcp = Command.make("mcp", flags, serve).pipe(
  Command.withDescription("Serve the configuration's own tools over MCP, on stdio or HTTP")
)
