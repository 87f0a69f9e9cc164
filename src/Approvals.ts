/**
 * What humans were asked.
 *
 * A call that needs a human ends as `pending_confirmation` and is noted here,
 * so that nobody can flood the humans: a principal has at most 20 undecided
 * questions. In Effect's own approval protocol a client owns the conversation,
 * and an approval in it proves nothing; there the note is what a call redeems:
 * the same principal, call id, tool and arguments that were asked about, once,
 * before it expires. A note stands for `confirm` only; that *another* principal
 * approved can't be seen from a conversation.
 */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"

/** One question to a human: about exactly this call. */
export interface Question {
  readonly principal: string
  readonly tenant: string | undefined
  readonly callId: string
  readonly tool: string
  /** Keyed hash of the canonical arguments. */
  readonly digest: string
  /** Put in a conversation, by Effect's approval protocol: a call redeems no other kind. */
  readonly inConversation: boolean
}

export class Approvals extends Context.Service<
  Approvals,
  {
    /** Notes a question. Milliseconds until there is room again when the principal has too many, else 0. */
    readonly ask: (question: Question, now: number) => Effect.Effect<number>
    /** Whether exactly this was asked and not yet used; uses it. */
    readonly redeem: (question: Question, now: number) => Effect.Effect<boolean>
  }
>()("interlock/Approvals") {}

export interface Options {
  /** Undecided questions per principal; 20. */
  readonly maxUndecided?: number | undefined
  /** How long a question stands; 15 minutes. */
  readonly expiresAfter?: Duration.Input | undefined
}

export const makeMemory = (options: Options = {}): Approvals["Service"] => {
  const maxUndecided = options.maxUndecided ?? 20
  if (!(Number.isInteger(maxUndecided) && maxUndecided >= 0)) {
    throw new RangeError(`Approvals: maxUndecided must be an integer of at least 0, got ${maxUndecided}`)
  }
  const expiresAfter = Duration.toMillis(Duration.fromInputUnsafe(options.expiresAfter ?? "15 minutes"))
  // Per principal, question → when it expires; insertion order is expiry order.
  const undecided = new Map<string, Map<string, number>>()
  const expire = (asker: string, now: number): Map<string, number> | undefined => {
    const questions = undecided.get(asker)
    if (questions === undefined) return undefined
    for (const [question, expiresAt] of questions) {
      if (expiresAt > now) break
      questions.delete(question)
    }
    if (questions.size > 0) return questions
    undecided.delete(asker)
    return undefined
  }
  let nextSweep = 0
  const sweep = (now: number) => {
    if (now < nextSweep) return
    nextSweep = now + expiresAfter
    for (const asker of [...undecided.keys()]) expire(asker, now)
  }
  return {
    ask: (question, now) => {
      sweep(now)
      const asker = askerOf(question)
      const questions = expire(asker, now) ?? new Map<string, number>()
      const key = keyOf(question)
      questions.delete(key)
      if (questions.size >= maxUndecided) {
        const [oldest] = questions.values()
        return Exit.succeed(Math.max(1, (oldest ?? now) - now))
      }
      questions.set(key, now + expiresAfter)
      undecided.set(asker, questions)
      return Exit.succeed(0)
    },
    redeem: (question, now) => Exit.succeed(expire(askerOf(question), now)?.delete(keyOf(question)) ?? false)
  }
}

/** In this process. */
export const layerMemory = (options?: Options): Layer.Layer<Approvals> =>
  Layer.sync(Approvals, () => makeMemory(options))

const askerOf = (question: Question): string => JSON.stringify([question.tenant, question.principal])
const keyOf = (question: Question): string =>
  JSON.stringify([question.inConversation, question.callId, question.tool, question.digest])
