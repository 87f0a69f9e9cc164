/**
 * As much of the peers' packages as is used here, so that the project type-checks where they are not installed. These
 * come before a package's own types where it is.
 */

declare module "cockatiel" {
  interface Context {
    readonly signal: AbortSignal
  }
  export interface Policy {
    readonly execute: <A>(work: (context: Context) => Promise<A>, signal?: AbortSignal) => Promise<A>
  }
  interface Handled {
    readonly handled: never
  }
  interface Breaker {
    readonly breaker: never
  }
  interface Backoff {
    readonly backoff: never
  }
  interface Generator {
    readonly generator: never
  }

  export const TimeoutStrategy: { readonly Aggressive: "aggressive" }
  export const fullJitterGenerator: Generator
  export const ConsecutiveBreaker: new (failures: number) => Breaker
  export const ExponentialBackoff: new (options: {
    readonly initialDelay: number
    readonly maxDelay: number
    readonly generator: Generator
  }) => Backoff
  export const BrokenCircuitError: new () => Error
  export const BulkheadRejectedError: new () => Error
  export const TaskCancelledError: new () => Error

  export const wrap: (...policies: ReadonlyArray<Policy>) => Policy
  export const bulkhead: (limit: number) => Policy
  export const handleWhen: (test: (error: unknown) => boolean) => Handled
  export const retry: (
    handled: Handled,
    options: { readonly maxAttempts: number; readonly backoff: Backoff }
  ) => Policy
  export const circuitBreaker: (
    handled: Handled,
    options: { readonly halfOpenAfter: number; readonly breaker: Breaker }
  ) => Policy
  export const timeout: (
    millis: number,
    options: { readonly strategy: "aggressive"; readonly abortOnReturn: boolean }
  ) => Policy
}

declare module "rate-limiter-flexible" {
  export class RateLimiterMemory {
    constructor(options: { readonly points: number; readonly duration: number })
    /** Rejects with a `RateLimiterRes`, which is no `Error`. */
    consume(key: string): Promise<{ readonly msBeforeNext: number }>
  }
}

declare module "zod" {
  interface Issue {
    readonly path: ReadonlyArray<PropertyKey>
    readonly message: string
  }
  export interface Type<A> {
    readonly safeParse: (
      value: unknown
    ) =>
      | { readonly success: true; readonly data: A }
      | { readonly success: false; readonly error: { readonly issues: ReadonlyArray<Issue> } }
    readonly optional: () => Optional<A>
  }
  interface Optional<A> extends Type<A | undefined> {
    readonly isOptional: true
  }
  interface Text extends Type<string> {
    readonly regex: (pattern: RegExp) => Text
  }
  type Fields = { readonly [name: string]: Type<unknown> }
  type OptionalNames<F extends Fields> = {
    [K in keyof F]: F[K] extends Optional<unknown> ? K : never
  }[keyof F]
  type Structure<F extends Fields> = {
    readonly [K in Exclude<keyof F, OptionalNames<F>>]: F[K] extends Type<infer A> ? A : never
  } & {
    readonly [K in OptionalNames<F>]?: F[K] extends Type<infer A> ? Exclude<A, undefined> : never
  }
  export const z: {
    readonly number: () => Type<number>
    readonly string: () => Text
    readonly array: <A>(item: Type<A>) => Type<ReadonlyArray<A>>
    readonly object: <F extends Fields>(fields: F) => Type<Structure<F>>
    readonly strictObject: <F extends Fields>(fields: F) => Type<Structure<F>>
  }
}

declare module "ai" {
  import type { Type } from "zod"

  interface ToolCall {
    readonly type: "tool-call"
    readonly toolCallId: string
    readonly toolName: string
    /** JSON. */
    readonly input: string
  }
  export interface LanguageModel {
    readonly specificationVersion: "v4"
    readonly provider: string
    readonly modelId: string
    readonly supportedUrls: Readonly<Record<string, ReadonlyArray<RegExp>>>
    readonly doGenerate: () => Promise<{
      readonly content: ReadonlyArray<ToolCall>
      readonly finishReason: { readonly unified: "tool-calls"; readonly raw: string | undefined }
      readonly usage: {
        readonly inputTokens: Readonly<Record<"total" | "noCache" | "cacheRead" | "cacheWrite", number>>
        readonly outputTokens: Readonly<Record<"total" | "text" | "reasoning", number>>
      }
      readonly warnings: ReadonlyArray<never>
    }>
  }
  interface Tool {
    readonly tool: never
  }
  export type ToolSet = Readonly<Record<string, Tool>>
  export const tool: <A, B>(options: {
    readonly description?: string
    readonly inputSchema: Type<A>
    readonly outputSchema?: Type<B>
    readonly execute: (input: A, options: { readonly abortSignal?: AbortSignal }) => Promise<B>
  }) => Tool

  export interface Step {
    readonly content: ReadonlyArray<{ readonly type: "tool-call" | "tool-result" | "tool-error" | "text" }>
    readonly toolResults: ReadonlyArray<{ readonly output: unknown }>
  }
  /** One step, unless it is told to go on. */
  export const generateText: (options: {
    readonly model: LanguageModel
    readonly tools: ToolSet
    readonly prompt: string
    readonly toolCallConcurrency?: number
  }) => Promise<Step>
}

declare module "@langchain/core/messages" {
  export class AIMessage {
    constructor(fields: {
      readonly content: string
      readonly tool_calls: ReadonlyArray<{
        readonly name: string
        readonly args: Readonly<Record<string, unknown>>
        readonly id: string
        readonly type: "tool_call"
      }>
    })
    readonly tool_calls: ReadonlyArray<unknown>
  }
  export interface ToolMessage {
    readonly status: "success" | "error"
    readonly content: string
  }
}

declare module "@langchain/core/tools" {
  import type { Type } from "zod"

  export interface Tool {
    readonly name: string
  }
  export const tool: <A>(
    work: (input: A, config: { readonly signal?: AbortSignal }) => Promise<unknown>,
    options: { readonly name: string; readonly description: string; readonly schema: Type<A> }
  ) => Tool
}

declare module "@langchain/langgraph/prebuilt" {
  import type { AIMessage, ToolMessage } from "@langchain/core/messages"
  import type { Tool } from "@langchain/core/tools"

  export class ToolNode {
    constructor(tools: ReadonlyArray<Tool>, options?: { readonly handleToolErrors: boolean })
    invoke(messages: ReadonlyArray<AIMessage>): Promise<ReadonlyArray<ToolMessage>>
  }
}
