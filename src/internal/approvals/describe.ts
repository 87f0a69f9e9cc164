/** A request as a person must see it who decides about it. What is shown came from outside: it cannot draw, move or hide anything. */
import type { Request } from "../../Approvals.ts"
import { plain } from "../plainText.ts"

/** What the person must know, the call first and the question last, so that nothing long pushes either away. */
export const describe = (request: Request): string => {
  const { actor, copied, findings, risk, tool, view, why } = request
  const lines = [
    `${plain(tool)} needs your confirmation (risk: ${risk})`,
    `  for     ${plain(request.principal)}${request.tenant === undefined ? "" : ` of ${plain(request.tenant)}`}`,
    ...(actor === undefined ? [] : [`  asked by ${actor.kind} ${plain(actor.id)}`]),
    ...why.map(({ message, rule }) => `  why     ${plain(message)} [${plain(rule)}]`),
    ...findings.map(({ message }) => `  warning ${plain(message)}`),
    ...copied.map(
      ({ path, possibly, tool }) =>
        `  warning ${plain(path)} ${possibly ? "may have been" : "was"} copied from what ${plain(tool)} returned, which is not trusted`
    ),
    "  arguments",
    ...(JSON.stringify(view.value, null, 2) ?? "none").split("\n").map((line) => `    ${plain(line)}`),
    ...view.masked.map(({ path, rule }) => `  hidden  ${plain(path)} [${plain(rule)}]`)
  ]
  return lines.join("\n")
}
