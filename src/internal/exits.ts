/** Effects that may be there already: what waits for nothing answers with an `Exit`. */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"

/** What the library's guard says, whose way there costs more than a stage of a call, and which forgets the types. */
export const isExit = <A, E>(effect: Effect.Effect<A, E>): effect is Exit.Exit<A, E> =>
  "~effect/Exit" in effect

/** Whether it has been done, and nothing need be waited for. */
export const isDone = <E>(effect: Effect.Effect<void, E>): boolean => isExit(effect) && Exit.isSuccess(effect)

/** Goes on with an answer, at once where it is there. */
export const after = <A, B, E, E2>(
  answer: Effect.Effect<A, E>,
  next: (value: A) => Effect.Effect<B, E2>
): Effect.Effect<B, E | E2> => {
  if (!isExit(answer)) return Effect.flatMap(answer, next)
  return Exit.isSuccess(answer) ? next(answer.value) : Exit.failCause(answer.cause)
}
