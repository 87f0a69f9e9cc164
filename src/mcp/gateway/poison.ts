/**
 * What in a tool's definition speaks to a model against whoever it works for.
 *
 * A definition is read by the model before anything is called, and by people
 * hardly ever: so published attacks put their orders there ("tool poisoning"),
 * also about the tools of other servers ("shadowing"). What is found here is
 * what screening finds in results, and what those attacks have in common. It
 * errs towards yes, because all that follows is that somebody has to accept the
 * tool; and it protects nobody from an attack that is worded otherwise.
 *
 * A definition may well say when to use its server's own tools: a name of one
 * of those is no sign of anything.
 */
import * as Instructions from "../../internal/screening/instructions.ts"

const signs: ReadonlyArray<{ readonly sign: string; readonly pattern: RegExp }> = [
  {
    sign: "holds marks that make an order of what is between them",
    pattern:
      /<\/?(?:important|critical|system|secret|hidden|instructions?|override|admin|rules?)\b[^<>]{0,60}>/i
  },
  {
    sign: "names where keys and configurations are kept",
    pattern:
      /(?:~|\$home|%userprofile%)?[\\/]\.(?:ssh|aws|gnupg|kube|cursor|claude|codeium)\b|\bid_(?:rsa|ed25519|ecdsa)\b|\bmcp\.json\b/i
  },
  {
    sign: "asks to keep something quiet",
    pattern:
      /\b(?:do not|don['’]t|never|without) (?:tell|telling|mention|mentioning|inform|informing|notify|notifying|reveal|revealing|alert|alerting)\b/i
  }
]

/** What could be the name of a tool, with its quotes. */
const quotable = /[`"']?([A-Za-z0-9_.\-/]{2,128})[`"']?/g

/** The signs in a text; `own` are the names of its server's tools. Linear. */
export const find = (text: string, own: ReadonlySet<string>): ReadonlyArray<string> => {
  const unnamed = text.replace(quotable, (all, name: string) => (own.has(name) ? "it" : all))
  const speaks = Instructions.find(unnamed)
  return [
    ...(speaks === undefined ? [] : [speaks]),
    ...signs.filter(({ pattern }) => pattern.test(unnamed)).map(({ sign }) => sign)
  ]
}
