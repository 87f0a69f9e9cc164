/** The SDK's client: connected once, and one invocation of a function. */
import type { InvokeCommandInput, LambdaClientConfig } from "@aws-sdk/client-lambda"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import * as OptionalPackage from "../../internal/optionalPackage.ts"
import type { Connection } from "../Lambda.ts"
import type { Invoked } from "./answer.ts"
import * as LambdaError from "./LambdaError.ts"

/** What invokes functions. */
export interface Invoker {
  readonly invoke: (input: InvokeCommandInput) => Effect.Effect<Invoked, LambdaError.LambdaError>
}

/** A client, until the scope ends. Fails where the SDK is not installed or knows no region. */
export const connect = Effect.fnUntraced(function* (
  connection: Connection,
  connectTimeout: number
): Effect.fn.Return<Invoker, OptionalPackage.PackageMissing | LambdaError.LambdaError, Scope.Scope> {
  const sdk = yield* OptionalPackage.load(
    "@aws-sdk/client-lambda",
    "Lambda",
    () => import("@aws-sdk/client-lambda")
  )
  const client = yield* Effect.acquireRelease(
    Effect.sync(() => new sdk.LambdaClient(configOf(connection, connectTimeout))),
    (client) => Effect.sync(() => client.destroy())
  )
  yield* Effect.tryPromise({
    try: () => client.config.region(),
    catch: () => LambdaError.make("misconfigured", { says: "no region is known" })
  })
  return {
    invoke: (input) =>
      Effect.tryPromise({
        try: (abortSignal) =>
          client.send(new sdk.InvokeCommand({ ...input, InvocationType: "RequestResponse" }), {
            abortSignal
          }),
        catch: LambdaError.fromSdk
      }).pipe(
        Effect.map(({ $metadata, FunctionError, Payload }) => ({
          payload: Payload?.transformToString() ?? "",
          functionError: FunctionError,
          requestId: $metadata.requestId
        }))
      )
  }
})

const configOf = (connection: Connection, connectTimeout: number): LambdaClientConfig => {
  const { credentials, endpoint, region } = connection
  return {
    // Retries are the pipeline's.
    maxAttempts: 1,
    // Warnings of the SDK's would go to the console, and with them through whatever is served there.
    requestHandler: { connectionTimeout: connectTimeout, logger: silent },
    logger: silent,
    ...(region === undefined ? {} : { region }),
    ...(endpoint === undefined ? {} : { endpoint }),
    ...(credentials === undefined
      ? {}
      : {
          credentials: {
            accessKeyId: credentials.accessKeyId,
            secretAccessKey: Redacted.value(credentials.secretAccessKey),
            ...(credentials.sessionToken === undefined
              ? {}
              : { sessionToken: Redacted.value(credentials.sessionToken) })
          }
        })
  }
}

const silent = { trace() {}, debug() {}, info() {}, warn() {}, error() {} }
