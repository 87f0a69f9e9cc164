/**
 * What humans are asked about calls that have no name.
 *
 * A grant lets one call run, and elsewhere a call is known by its id, which its
 * caller repeats. A client of MCP cannot: every request has another id, and the
 * next may come after a restart. So here a question is known by what is asked
 * (on whose behalf, which tool, which arguments), and a grant waits for the next
 * call that is the same. A rejection stands for as long as its question would
 * have: whoever asks again is refused and no human is bothered.
 *
 * Only the question is known so. Each call has an id of its own in records and
 * budgets.
 */
import type { Approvals, Subject } from "../../Approvals.ts"
import type { Keyring } from "../../Keyring.ts"

/** Approvals whose questions are known by what they ask. A token says by itself which call it is for. */
export const byContent = (
  approvals: Approvals["Service"],
  keyring: Keyring["Service"]
): Approvals["Service"] => {
  const known = <S extends Subject>(subject: S): S => {
    const hash = subject.argumentsHash(keyring.active)
    return hash === undefined ? subject : { ...subject, callId: `mcp_${hash.slice(0, 32)}` }
  }
  const unlessToken = (subject: Subject, token: string | undefined) =>
    token === undefined ? known(subject) : subject
  return {
    ...approvals,
    ask: (question, now) => approvals.ask(known(question), now),
    peek: (subject, token, now) => approvals.peek(unlessToken(subject, token), token, now),
    redeem: (subject, token, now) => approvals.redeem(unlessToken(subject, token), token, now)
  }
}
