/** LangGraph: its `ToolNode`, given a message that asks for the tool. No governance but a schema. */
import { AIMessage, type ToolMessage } from "@langchain/core/messages"
import { tool } from "@langchain/core/tools"
import { ToolNode } from "@langchain/langgraph/prebuilt"
import { z } from "zod"
import { answersAtOnce, check, invalid, params } from "../convert.ts"
import { Crowd, type FailFast, type Refused, type Subject, verify } from "../support.ts"
import { awaited, versionOf } from "./subjects.ts"

export const version = versionOf("@langchain/langgraph")
const name = "LangGraph, ToolNode"

const currency = z.string().regex(/^[A-Z]{3}$/)
const convert = tool(answersAtOnce, {
  name: "convert",
  description: "Converts an amount of money.",
  schema: z.strictObject({
    amount: z.number(),
    from: currency,
    to: currency,
    tags: z.array(z.string()).optional()
  })
})

const asking = (toolName: string, arguments_: ReadonlyArray<Readonly<Record<string, unknown>>>): AIMessage =>
  new AIMessage({
    content: "",
    tool_calls: arguments_.map((args, index) => ({
      name: toolName,
      args,
      id: `call_${index}`,
      type: "tool_call"
    }))
  })

const answers =
  (count: number) =>
  (messages: ReadonlyArray<ToolMessage>): void => {
    if (messages.length !== count) verify(false, `${name}: ${messages.length} messages`)
    for (const { content } of messages) check(JSON.parse(content))
  }

/** One call in one message, which is made for it. */
export const call = async (): Promise<Subject> => {
  const node = new ToolNode([convert])
  return awaited(name, () => node.invoke([asking("convert", [{ ...params }])]), answers(1))
}

export const refused = async (): Promise<ReadonlyArray<Refused>> => {
  const node = new ToolNode([convert])
  const subject = awaited(
    `${name}, invalid`,
    () => node.invoke([asking("convert", [{ ...invalid }])]),
    ([message]) => {
      if (message?.status !== "error") verify(false, `${name}, invalid: ${message?.status}`)
    }
  )
  return [{ kind: "invalid", subject }]
}

const atOnce = 64

/** Messages of 64 calls, one after the other: a node runs all that a message asks for at once. */
export const batch = async (): Promise<Subject> => {
  const node = new ToolNode([convert])
  return {
    name: `${name}, messages of ${atOnce}`,
    times: async (count) => {
      for (let done = 0; done < count; done += atOnce) {
        const size = Math.min(atOnce, count - done)
        answers(size)(
          await node.invoke([
            asking(
              "convert",
              Array.from({ length: size }, () => ({ ...params }))
            )
          ])
        )
      }
    }
  }
}

/** As it comes, but for errors that are thrown instead of told to the model when all calls have ended. */
export const failFast = async (size: number): Promise<FailFast> => {
  const crowd = new Crowd(size)
  const work = tool(
    async ({ index }: { readonly index: number }, { signal }: { readonly signal?: AbortSignal }) => {
      await crowd.work(index, signal)
      return "done"
    },
    { name: "work", description: "Works.", schema: z.object({ index: z.number() }) }
  )
  const node = new ToolNode([work], { handleToolErrors: false })
  await node
    .invoke([
      asking(
        "work",
        Array.from({ length: size }, (_, index) => ({ index }))
      )
    ])
    .catch(() => {})
  return crowd.told()
}
