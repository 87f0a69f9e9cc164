/** Tools worth having: each one an `effect/ai` tool with its annotations, and its handler as a layer. */
export * as Calculator from "./Calculator.ts"
export * as Credentials from "./Credentials.ts"
export * as HttpRequest from "./HttpRequest.ts"
export * as Lambda from "./Lambda.ts"
export * as OpenApi from "./OpenApi.ts"
export * as OutboundHttp from "./OutboundHttp.ts"
export { from } from "./from.ts"
