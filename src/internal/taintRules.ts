/** What makes a tool a sink, what its use in a tainted run needs, and how that is said. */
import type { Options, Sink, TaintedCall } from "../Taint.ts"
import type { ToolFacts } from "../ToolAnnotations.ts"
import * as Verdict from "../Verdict.ts"
import { shorten } from "./argumentPath.ts"
import type { Memory } from "./taintMemory.ts"

interface Declared {
  readonly trust: boolean | undefined
  readonly destructive: boolean | undefined
  readonly spends: boolean | undefined
  readonly sendsData: boolean | undefined
}

export const declared = (tool: ToolFacts): Declared => ({
  trust: tool.trust === undefined ? undefined : tool.trust === "trusted",
  destructive: tool.destructive ?? (tool.readonly === true ? false : undefined),
  spends: tool.spends,
  // A tool that meets no outside world has nobody to send anything to.
  sendsData: tool.sendsData ?? (tool.openWorld === false ? false : undefined)
})

export const isUntrusted = (tool: ToolFacts, strict: boolean): boolean =>
  (declared(tool).trust ?? !strict) === false

/** What makes a tool a sink; nothing where it is none. */
export const sinksOf = (tool: ToolFacts, strict = false): ReadonlyArray<Sink> => {
  const facts = declared(tool)
  return (["destructive", "spends", "sendsData"] as const).filter((sink) => facts[sink] ?? strict)
}

const does: { readonly [S in Sink]: string } = {
  destructive: "deletes or overwrites",
  spends: "spends money",
  sendsData: "sends data out"
}

const mayDo: { readonly [S in Sink]: string } = {
  destructive: "does not say whether it deletes or overwrites",
  spends: "does not say whether it spends money",
  sendsData: "does not say whether it sends data out"
}

/** For sinks: what the tainted run needs to use them, and why. */
export const verdictOf = (
  action: NonNullable<Options["action"]>,
  { copied, sinks, tool }: TaintedCall,
  read: string
): Verdict.Verdict => {
  if (sinks.length === 0) return Verdict.allow
  const facts = declared(tool)
  const reasons = sinks.map((sink) => ({
    rule: `taint "${sink}"`,
    message: `The run has read what cannot be trusted (${read}), and this tool ${facts[sink] === undefined ? mayDo[sink] : does[sink]}.`
  }))
  for (const possibly of [undefined, true] as const) {
    const paths = copied.filter((copy) => copy.possibly === possibly).map(({ path }) => quoted(path))
    if (paths.length > 0) {
      const message = possibly
        ? `More was read than is remembered, so ${listed(paths)} may be copied from it.`
        : `Copied from it: ${listed(paths)}.`
      reasons.push({ rule: `taint "copied"`, message })
    }
  }
  return { _tag: tags[action], reasons }
}

const tags = { confirm: "Confirm", approve: "Approve", deny: "Deny" } as const

/** Which outputs a run has read, the newest first, by their tools and calls. */
export const readBy = (memory: Memory): string => {
  const names = memory.sources
    .toReversed()
    .map(({ callId, tool }) => `${printable(tool)} in call ${printable(callId)}`)
  return listed([...new Set(names)], memory.forgotten)
}

const shown = 3

const listed = (names: ReadonlyArray<string>, others = 0): string => {
  const more = Math.max(0, names.length - shown) + others
  return [...names.slice(0, shown), ...(more > 0 ? [`${more} more`] : [])].join(", ")
}

const quoted = (path: string): string => (path === "" ? "the arguments" : `"${printable(path)}"`)

/** Ids come from outside, and stand in what a human reads. */
export const printable = (text: string): string =>
  shorten(text, 64).replace(/[\p{C}\p{Zl}\p{Zp}]/gu, "\ufffd")

const verdictTags: ReadonlySet<unknown> = new Set(["Allow", "Confirm", "Approve", "Deny"])

/** What a rule says; whatever goes wrong in it denies. */
export const ask = (
  rule: NonNullable<Options["mayStill"]>,
  call: TaintedCall
): Verdict.Verdict | undefined => {
  try {
    const verdict = rule(call)
    if (verdict === undefined || verdictTags.has(verdict._tag)) return verdict
  } catch {
    // Its message may hold an argument's value.
  }
  return Verdict.deny(
    `taint "mayStill"`,
    "The rule about tainted runs could not decide, so the call is refused."
  )
}
