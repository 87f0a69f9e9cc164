/** Asking the person at the terminal. What is shown came from outside: it cannot draw, move or hide anything. */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Semaphore from "effect/Semaphore"
import { Terminal } from "effect/Terminal"
import type { Approvals, Asked, Request } from "../../Approvals.ts"
import * as Principal from "../../Principal.ts"
import { CurrentRun } from "../../Run.ts"
import { after } from "../exits.ts"
import { plain } from "../plainText.ts"
import { describe } from "./describe.ts"

type Service = Approvals["Service"]

/** Approvals whose confirmations the terminal answers, and which are otherwise those given. */
export const make = (approvals: Service): Effect.Effect<Service, never, Terminal> =>
  Effect.map(Terminal, (terminal) => atTerminal(approvals, terminal))

const atTerminal = (approvals: Service, terminal: Terminal): Service => {
  const turn = Semaphore.makeUnsafe(1)

  /** On behalf of the person that is there; whether that decided it. */
  const answer = (request: Request, yes: boolean) => {
    const { principal: id, tenant } = request
    const person = Principal.make({
      id,
      ...(tenant === undefined ? {} : { tenant }),
      actor: { kind: "person", id: "terminal" }
    })
    const decided: Effect.Effect<unknown, unknown> = yes
      ? approvals.grant(request.id)
      : approvals.reject(request.id, "The person at the terminal said no.")
    // Somebody may have decided, or time may have: what there is now counts.
    // The call that asks may be of a run, and its run's actor is not the one who answers.
    const outside = Effect.provideService(decided, CurrentRun, undefined)
    return Effect.match(Principal.provide(outside, person), { onFailure: () => false, onSuccess: () => true })
  }

  const settle = Effect.fnUntraced(function* (request: Request) {
    const asked = Effect.gen(function* () {
      yield* terminal.display(`\n${describe(request)}\nLet ${plain(request.tool)} run? [y/N] `)
      return yield* terminal.readLine
    })
    // Whoever closes the terminal has not decided.
    const line = yield* Effect.raceFirst(asked, approvals.decided(request.id)).pipe(
      Effect.catch((error) => Effect.as(Effect.logDebug("The terminal did not answer", error), undefined))
    )
    return typeof line === "string" && (yield* answer(request, /^\s*y(es)?\s*$/i.test(line)))
  })

  const ask = Effect.fnUntraced(function* (asked: Request) {
    const isPending = Effect.map(approvals.get(asked.id), (request) => request?.state === "pending")
    const answered = yield* turn.withPermit(
      Effect.flatMap(isPending, (pending) => (pending ? settle(asked) : Effect.succeed(false)))
    )
    const request = yield* approvals.get(asked.id)
    const how = answered ? { answered } : {}
    if (request?.state === "granted") return { _tag: "Granted", request, ...how } as Asked
    if (request?.state === "rejected") return { _tag: "Rejected", request, ...how } as Asked
    return { _tag: "Pending", request: request ?? asked } as Asked
  })

  return {
    ...approvals,
    ask: (question, now) =>
      after(approvals.ask(question, now), (asked) =>
        asked._tag === "Pending" &&
        asked.request.by === "confirm" &&
        question.principal !== Principal.anonymous.id
          ? ask(asked.request)
          : Exit.succeed(asked)
      )
  }
}
