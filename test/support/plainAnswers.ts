/** What humans have said of calls, in the plainest way: a list of questions. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Ref from "effect/Ref"
import { type Approvals, Principal } from "effect-interlock"
import { type Asker, millis, type Reason, type Refused, refuse } from "./plainNouns.ts"

/** Exactly one call, and who must be asked about it. */
export interface Subject {
  readonly asker: Asker
  readonly params: unknown
  readonly by: "confirm" | "approve"
}

export interface Answers {
  /** Lets through what is granted; asks about the rest, which stays pending. */
  readonly ask: (subject: Subject) => Effect.Effect<void, Refused>
  /** Uses the grant up, once. */
  readonly use: (subject: Subject) => Effect.Effect<void, Refused>
  /** What a human says of what was asked about a call; whether it counts. */
  readonly decide: (callId: string, says: "granted" | "rejected") => Effect.Effect<boolean>
}

interface Question {
  readonly subject: Subject
  readonly about: string
  readonly expiresAt: number
  readonly state: "pending" | "granted" | "rejected" | "used"
}

export const make = Effect.fnUntraced(function* ({
  expiresAfter = "15 minutes"
}: Approvals.Options): Effect.fn.Return<Answers> {
  const questions = yield* Ref.make<ReadonlyArray<Question>>([])
  const live = Effect.gen(function* () {
    const now = yield* Clock.currentTimeMillis
    return (yield* Ref.get(questions)).filter(({ expiresAt, state }) => expiresAt > now && state !== "used")
  })
  const become = (question: Question, state: Question["state"]) =>
    Ref.update(questions, (all) => all.map((one) => (one === question ? { ...one, state } : one)))

  /** A rejection counts, then a grant, then a question. An approval also confirms, and not the other way round. */
  const standing = Effect.fnUntraced(function* (subject: Subject) {
    const found = (yield* live).filter(({ about }) => about === aboutOf(subject))
    if (found.some(({ state }) => state === "rejected")) return yield* refuse("confirmation", rejected)
    const enough = ({ by }: Subject) => by === "approve" || subject.by === "confirm"
    return {
      grant: found.find((one) => one.state === "granted" && enough(one.subject)),
      asked: found.find((one) => one.state === "pending" && one.subject.by === subject.by)
    }
  })

  return {
    ask: Effect.fnUntraced(function* (subject) {
      const { asked, grant } = yield* standing(subject)
      if (grant !== undefined) return
      const expiresAt = asked?.expiresAt ?? (yield* Clock.currentTimeMillis) + millis(expiresAfter)
      if (asked === undefined) {
        const question: Question = { subject, about: aboutOf(subject), expiresAt, state: "pending" }
        yield* Ref.update(questions, (all) => [...all, question])
      }
      return yield* refuse("confirmation", pending(subject, expiresAt))
    }),
    use: Effect.fnUntraced(function* (subject) {
      const { grant } = yield* standing(subject)
      if (grant === undefined) return yield* refuse("confirmation", { _tag: "ApprovalInvalid", why: "used" })
      yield* become(grant, "used")
    }),
    decide: Effect.fnUntraced(function* (callId, says) {
      const question = (yield* live).find(
        ({ state, subject }) => state === "pending" && subject.asker.callId === callId
      )
      if (question === undefined) return false
      const { asker, by } = question.subject
      // Nobody can confirm in the name of nobody.
      if (by === "confirm" && asker.principal.id === Principal.anonymous.id) return false
      yield* become(question, says)
      return true
    })
  }
})

const rejected: Reason = { _tag: "ApprovalRejected", request: "", message: "" }

const aboutOf = ({ asker: { callId, principal, tool }, params }: Subject): string =>
  JSON.stringify([callId, tool, principal.tenant, principal.id, params])

const pending = ({ asker: { callId, tool }, by }: Subject, expiresAt: number): Reason => ({
  _tag: "PendingConfirmation",
  callId,
  request: "",
  expiresAt,
  by,
  tool,
  why: []
})
