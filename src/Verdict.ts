/**
 * What a pure rule says about a call, and how several rules are combined.
 *
 * Precedence, said once: deny, then approve, then confirm, then allow. The
 * stronger verdict wins; equals keep the reasons of both, in order. So
 * `combine` is associative, `allow` is its identity and a denial absorbs
 * whatever it meets.
 */

/** Why a rule spoke: the rule as it is written, and a sentence for a person. */
export interface Reason {
  readonly rule: string
  readonly message: string
}

export type Verdict =
  | { readonly _tag: "Allow" }
  /** The person on whose behalf the call is made must confirm it. */
  | { readonly _tag: "Confirm"; readonly reasons: ReadonlyArray<Reason> }
  /** Another principal must approve it. */
  | { readonly _tag: "Approve"; readonly reasons: ReadonlyArray<Reason> }
  | { readonly _tag: "Deny"; readonly reasons: ReadonlyArray<Reason> }

export const allow: Verdict = { _tag: "Allow" }
export const confirm = (rule: string, message: string): Verdict => ({
  _tag: "Confirm",
  reasons: [{ rule, message }]
})
export const approve = (rule: string, message: string): Verdict => ({
  _tag: "Approve",
  reasons: [{ rule, message }]
})
export const deny = (rule: string, message: string): Verdict => ({
  _tag: "Deny",
  reasons: [{ rule, message }]
})

const severity = { Allow: 0, Confirm: 1, Approve: 2, Deny: 3 } as const

/** Why a verdict is other than to allow. */
export const reasonsOf = (verdict: Verdict): ReadonlyArray<Reason> =>
  verdict._tag === "Allow" ? [] : verdict.reasons

/** The stronger of two verdicts; equals keep the reasons of both. */
export const combine = (self: Verdict, that: Verdict): Verdict => {
  if (that._tag === "Allow") return self
  if (self._tag === "Allow") return that
  if (self._tag === that._tag) return { _tag: self._tag, reasons: [...self.reasons, ...that.reasons] }
  return severity[self._tag] > severity[that._tag] ? self : that
}

/** Combines any number of verdicts; none at all is `allow`. */
export const combineAll = (verdicts: Iterable<Verdict>): Verdict => {
  let result: Verdict = allow
  for (const verdict of verdicts) result = combine(result, verdict)
  return result
}
