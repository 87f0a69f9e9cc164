/** What `--help` says: the format of a file of calls, the people and the tools. */
import { ToolAnnotations } from "effect-interlock"
import { table } from "./text.ts"
import { tools } from "./tools.ts"

const toolRows = Object.values(tools.tools).map((tool) => {
  const { capabilities = [], description = "", name } = ToolAnnotations.read(tool)
  const parameters = Object.keys(tool.parametersSchema.fields).join(", ")
  return [name, parameters, capabilities.join(", ") || "–", description]
})

export const help = `npm run demo                     runs the calls of examples/demo/calls.jsonl
npm run demo -- my-calls.jsonl   runs the calls of a file of your own

The file has one call per line, as JSON. Beside "tool" and "params" a call may have "id", "timeout"
in milliseconds, "retries", "requireConfirmation", "idempotencyKey", "metadata", and "as", the
person on whose behalf it is made:

  {"id": "call-1", "as": "bob", "tool": "get_weather", "params": {"city": "Oslo"}}

  ada   may use everything, though a human must confirm payments and deletions
  bob   reads, writes and uses the network
  eve   only reads, and no more than 40 times a minute
        Without "as", or for somebody else, nothing that needs a capability is allowed.

${table("Tools", "llll", [["tool", "params", "needs", ""], ...toolRows])}
`
