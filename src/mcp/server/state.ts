/**
 * What a client brings back with its human's answer where the protocol has no
 * session (2026-07-28): which request was asked about, for which call, and what
 * the tool itself was waiting for meanwhile. Sealed for the tool and the
 * principal, so that a client can neither read it nor bring it to another call.
 */
import type { McpInputResponse } from "effect/ai/McpSchema"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { open, seal } from "../../internal/sealing.ts"
import type { Keyring } from "../../Keyring.ts"
import type { Principal } from "../../Principal.ts"

const State = Schema.fromJsonString(
  Schema.Struct({
    /** The request for an approval. */
    request: Schema.String,
    /** Keyed hash of the arguments. */
    arguments: Schema.String,
    /** What the tool asked for when the call came with its own state. */
    requestState: Schema.optionalKey(Schema.String),
    inputResponses: Schema.optionalKey(
      Schema.Record(Schema.String, Schema.Record(Schema.String, Schema.Unknown))
    )
  })
)
export interface State {
  readonly request: string
  readonly arguments: string
  readonly requestState?: string | undefined
  readonly inputResponses?: Readonly<Record<string, McpInputResponse>> | undefined
}

/** Whose call of which tool a state is for. */
export interface About {
  readonly tool: string
  readonly principal: Principal
}

const prefix = "interlock."

/** Whether a state is one of these, and none of a tool's own. */
export const isOurs = (state: string | undefined): state is string => state?.startsWith(prefix) === true

export const write = (keyring: Keyring["Service"], state: State, about: About): string =>
  prefix + seal(keyring, "sealing", JSON.stringify(state), sealedFor(about))

const decode = Schema.decodeUnknownOption(State)

/** `undefined` where it is another call's, or was changed. */
export const read = (keyring: Keyring["Service"], state: string, about: About): State | undefined => {
  const text = open(keyring, "sealing", state.slice(prefix.length), sealedFor(about))
  return text === undefined ? undefined : Option.getOrUndefined(decode(text))
}

// JSON keeps hostile names apart.
const sealedFor = ({ principal, tool }: About): string =>
  `mcp/${JSON.stringify([principal.tenant ?? null, principal.id, tool])}`
