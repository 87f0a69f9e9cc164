/**
 * Calls of one server's tools: sending them, checking what comes back, and what
 * the server does meanwhile that concerns whoever calls.
 *
 * A server of before 2026-07-28 asks and logs over its connection, without
 * saying for which call. That reaches a client only while exactly one call is
 * under way there; otherwise what is asked is declined and nothing is handed on.
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type { CallResult } from "../Content.ts"
import type { Level } from "../server/client.ts"
import { type Caller, labelled, labelledAll } from "./caller.ts"
import type { Definition } from "./definitions.ts"
import { UpstreamError } from "./errors.ts"
import type { Read, reader } from "./results.ts"
import type { Question, Session } from "./session.ts"

/** A server that has been asked so often during one call will not come to an end. */
const maxRounds = 8

/** Who calls one server at the moment. */
export class Calls {
  readonly #server: string
  readonly #underWay = new Set<Caller | undefined>()
  #count = 0

  constructor(server: string) {
    this.#server = server
  }

  /** The only one who calls at the moment; `undefined` where there is another, or none. */
  get #only(): Caller | undefined {
    return this.#count === 1 ? [...this.#underWay][0] : undefined
  }

  /** Answers what the server asks, or says no. */
  async onQuestion(question: Question, signal: AbortSignal): Promise<unknown> {
    const asking = this.#only?.ask(labelled(this.#server, question))
    const answer = asking === undefined ? undefined : await Effect.runPromise(asking, { signal })
    if (answer !== undefined) return answer
    if (question.method === "elicitation/create") return { action: "decline" }
    throw Object.assign(new Error("Nobody can be asked"), { code: -1 })
  }

  onLog({ data, level, logger }: Readonly<Record<string, unknown>>): void {
    this.#only?.log(
      level as Level,
      data,
      typeof logger === "string" ? `${this.#server}/${logger}` : this.#server
    )
  }

  /** Calls a tool; a failure that the tool tells itself is in the result. */
  call(
    session: Session,
    definition: Definition,
    read: ReturnType<typeof reader>,
    params: unknown,
    caller: Caller | undefined
  ): Effect.Effect<Read, UpstreamError> {
    const once = (answers: Answers): Effect.Effect<Read, UpstreamError> =>
      Effect.flatMap(
        session.call(
          {
            name: definition.name,
            arguments: params,
            ...answers,
            clientCapabilities: caller?.capabilities ?? {}
          },
          definition,
          caller?.progress
        ),
        (raw) =>
          Result.match(read(raw), {
            onSuccess: Effect.succeed,
            onFailure: (detail) => Effect.fail(this.#error("result", detail))
          })
      )
    const rounds = (answers: Answers, left: number): Effect.Effect<Read, UpstreamError> =>
      Effect.flatMap(once(answers), (read) => {
        const { inputRequests, requestState } = read.result
        if (inputRequests === undefined && requestState === undefined) return Effect.succeed(read)
        if (caller?.asksByResult === true) return Effect.succeed(this.#handedOn(read))
        if (left === 0) return Effect.fail(this.#error("asks", "it asks again and again"))
        return Effect.flatMap(this.#answers(inputRequests ?? {}, caller), (inputResponses) =>
          rounds({ inputResponses, ...(requestState === undefined ? {} : { requestState }) }, left - 1)
        )
      })
    const { inputResponses, requestState } = caller ?? {}
    const first = {
      ...(inputResponses === undefined ? {} : { inputResponses }),
      ...(requestState === undefined ? {} : { requestState })
    }
    return Effect.suspend(() => {
      this.#count++
      this.#underWay.add(caller)
      const answered = rounds(first, maxRounds)
      return Effect.ensuring(
        caller === undefined ? answered : Effect.tap(answered, () => caller.told),
        Effect.sync(() => {
          this.#count--
          this.#underWay.delete(caller)
        })
      )
    })
  }

  #handedOn({ isError, result }: Read): Read {
    const { inputRequests } = result
    if (inputRequests === undefined) return { isError, result }
    return {
      isError,
      result: { ...result, inputRequests: labelledAll(this.#server, inputRequests) } as unknown as CallResult
    }
  }

  /** What the client answers over its session to what a newer server asks by its result. */
  #answers(
    requests: Readonly<Record<string, unknown>>,
    caller: Caller | undefined
  ): Effect.Effect<Readonly<Record<string, unknown>>, UpstreamError> {
    return Effect.map(
      Effect.forEach(Object.entries(requests), ([name, request]) => {
        const question = labelled(this.#server, request as Question)
        const asking = caller?.ask(question)
        const declined =
          question.method === "elicitation/create"
            ? Effect.succeed({ action: "decline" })
            : Effect.fail(this.#error("asks", `the caller cannot be asked for ${String(question.method)}`))
        return asking === undefined
          ? Effect.map(declined, (answer) => [name, answer] as const)
          : Effect.flatMap(asking, (answer) =>
              Effect.map(
                answer === undefined ? declined : Effect.succeed(answer),
                (said) => [name, said] as const
              )
            )
      }),
      (answers) => Object.fromEntries(answers)
    )
  }

  #error(reason: "result" | "asks", detail: string): UpstreamError {
    return new UpstreamError({ reason, server: this.#server, detail })
  }
}

interface Answers {
  readonly inputResponses?: Readonly<Record<string, unknown>>
  readonly requestState?: string
}
