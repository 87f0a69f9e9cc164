/** Answers in a conversation that contradict each other. */
import * as Prompt from "effect/ai/Prompt"

/** Leaves out every approval of a call that is also denied. */
export const denyWins = (prompt: Prompt.Prompt): Prompt.Prompt => {
  const asked = new Map<string, string>()
  const denied = new Set<string | undefined>()
  for (const message of prompt.content) {
    if (message.role !== "assistant") continue
    for (const part of message.content) {
      if (part.type === "tool-approval-request") asked.set(part.approvalId, part.toolCallId)
    }
  }
  for (const message of prompt.content) {
    if (message.role !== "tool") continue
    for (const part of message.content) {
      if (part.type === "tool-approval-response" && !part.approved) denied.add(asked.get(part.approvalId))
    }
  }
  if (denied.size === 0) return prompt
  const contradicted = (part: Prompt.ToolMessagePart): boolean =>
    part.type === "tool-approval-response" && part.approved && denied.has(asked.get(part.approvalId))
  return Prompt.fromMessages(
    prompt.content.map((message) =>
      message.role === "tool" && message.content.some(contradicted)
        ? Prompt.makeMessage("tool", {
            content: message.content.filter((part) => !contradicted(part)),
            options: message.options
          })
        : message
    )
  )
}
