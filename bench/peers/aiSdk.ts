/** The Vercel AI SDK: a model that asks for the tool, and `generateText`, which calls it. No governance but a schema. */
import { generateText, type LanguageModel, type Step, type ToolSet, tool } from "ai"
import { z } from "zod"
import { answersAtOnce, check, invalid, params } from "../convert.ts"
import { Crowd, type FailFast, type Refused, type Subject, verify } from "../support.ts"
import { awaited, versionOf } from "./subjects.ts"

export const version = versionOf("ai")
const name = "Vercel AI SDK, generateText"

const currency = z.string().regex(/^[A-Z]{3}$/)
const tools = {
  convert: tool({
    description: "Converts an amount of money.",
    inputSchema: z.strictObject({
      amount: z.number(),
      from: currency,
      to: currency,
      tags: z.array(z.string()).optional()
    }),
    outputSchema: z.object({ amount: z.number(), currency: z.string() }),
    execute: answersAtOnce
  })
}

const usage = {
  inputTokens: { total: 1, noCache: 1, cacheRead: 0, cacheWrite: 0 },
  outputTokens: { total: 1, text: 1, reasoning: 0 }
}

/** Written by hand, because the one of the package for tests keeps every prompt that it was given. */
const asking = (toolName: string, inputs: ReadonlyArray<string>): LanguageModel => {
  const content = inputs.map((input, index) => ({
    type: "tool-call" as const,
    toolCallId: `call_${index}`,
    toolName,
    input
  }))
  return {
    specificationVersion: "v4",
    provider: "benchmark",
    modelId: "asks-for-tools",
    supportedUrls: {},
    doGenerate: async () => ({
      content,
      finishReason: { unified: "tool-calls", raw: undefined },
      usage,
      warnings: []
    })
  }
}

const step = (model: LanguageModel, kit: ToolSet = tools): Promise<Step> =>
  generateText({ model, tools: kit, prompt: "convert", toolCallConcurrency: 64 })

const checked =
  (count: number) =>
  ({ toolResults }: Step): void => {
    if (toolResults.length !== count) verify(false, `${name}: ${toolResults.length} results`)
    for (const { output } of toolResults) check(output)
  }

/** One call in one step. */
export const call = async (): Promise<Subject> => {
  const model = asking("convert", [JSON.stringify(params)])
  return awaited(name, () => step(model), checked(1))
}

export const refused = async (): Promise<ReadonlyArray<Refused>> => {
  const model = asking("convert", [JSON.stringify(invalid)])
  const subject = awaited(
    `${name}, invalid`,
    () => step(model),
    ({ content }) => {
      const kinds = content.map(({ type }) => type).join(" ")
      if (kinds !== "tool-call tool-error") verify(false, `${name}, invalid: ${kinds}`)
    }
  )
  return [{ kind: "invalid", subject }]
}

/** One step that asks for all of them: steps of 64 cost less for each, but ask a model for each 64. */
export const batch = async (): Promise<Subject> => ({
  name: `${name}, one step`,
  times: async (count) => {
    const inputs = Array.from({ length: count }, () => JSON.stringify(params))
    checked(count)(await step(asking("convert", inputs)))
  }
})

/** As it comes: what a tool fails with is told to the model when all of the step's calls have ended. */
export const failFast = async (size: number): Promise<FailFast> => {
  const crowd = new Crowd(size)
  const work = tool({
    inputSchema: z.object({ index: z.number() }),
    execute: (
      { index }: { readonly index: number },
      { abortSignal }: { readonly abortSignal?: AbortSignal }
    ) => crowd.work(index, abortSignal)
  })
  const inputs = Array.from({ length: size }, (_, index) => JSON.stringify({ index }))
  await generateText({ model: asking("work", inputs), tools: { work }, prompt: "work" })
  return crowd.told()
}
