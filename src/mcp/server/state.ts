/**
 * What a client brings back where the protocol has no session (2026-07-28): what
 * a tool wants to know again, and which request for an approval its human was
 * asked about. Sealed for the tool, the principal and the arguments, so that a
 * client can neither read it, nor change it, nor bring it to another call.
 */
import type { McpInputResponse } from "effect/ai/McpSchema"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { open, seal } from "../../internal/sealing.ts"
import type { Keyring } from "../../Keyring.ts"
import type { Principal } from "../../Principal.ts"

const State = Schema.fromJsonString(
  Schema.Struct({
    arguments: Schema.String,
    request: Schema.optionalKey(Schema.String),
    requestState: Schema.optionalKey(Schema.String),
    inputResponses: Schema.optionalKey(
      Schema.Record(Schema.String, Schema.Record(Schema.String, Schema.Unknown))
    )
  })
)

export interface State {
  /** Keyed hash of the arguments. */
  readonly arguments: string
  /** The request for an approval; absent where it was the tool that asked. */
  readonly request?: string | undefined
  /** What the tool gave to be brought back. */
  readonly requestState?: string | undefined
  /** What the client had answered the tool when its human was asked in between. */
  readonly inputResponses?: Readonly<Record<string, McpInputResponse>> | undefined
}

/** Whose call of which tool a state is for. */
export interface About {
  readonly tool: string
  readonly principal: Principal
}

export const write = (keyring: Keyring["Service"], state: State, about: About): string =>
  seal(keyring, "sealing", JSON.stringify(state), sealedFor(about))

const decode = Schema.decodeUnknownOption(State)

/** `undefined` where it is another call's, or was changed. */
export const read = (keyring: Keyring["Service"], state: string, about: About): State | undefined => {
  const text = open(keyring, "sealing", state, sealedFor(about))
  return text === undefined ? undefined : Option.getOrUndefined(decode(text))
}

// JSON keeps hostile names apart.
const sealedFor = ({ principal, tool }: About): string =>
  `mcp/${JSON.stringify([principal.tenant ?? null, principal.id, tool])}`
