/**
 * Finds tools by what a person or a model would call what it is looking for.
 *
 * The index reads a tool's name (split at `_`, `-`, dots and capitals), its
 * description, tags, and the names and descriptions of its parameters. A word
 * matches as a whole, by its beginning and with small spelling mistakes; names
 * count most. It is built once and never changes. What may be seen is decided
 * per search, by `visible`.
 */
import * as Tool from "effect/ai/Tool"
import MiniSearch from "minisearch"
import { pattern } from "./internal/lazily.ts"
import type { ToolFacts } from "./ToolAnnotations.ts"

/** A tool that matched; larger scores are better, and comparable within one search only. */
export interface Found {
  readonly tool: ToolFacts
  readonly score: number
}

export interface SearchOptions {
  /** At most so many; all that match by default. */
  readonly limit?: number
  /** Leaves out what it refuses. */
  readonly visible?: (tool: ToolFacts) => boolean
}

export interface ToolIndex {
  /**
   * The tools that match any word of the query, best first, equals in the index's order. A blank
   * query finds every tool, in order, with score 0. Only the first 256 characters and 16 words count.
   */
  readonly search: (query: string, options?: SearchOptions) => ReadonlyArray<Found>
}

/** An index of these tools. */
export const make = (tools: ReadonlyArray<ToolFacts>): ToolIndex => {
  const index = new MiniSearch<Document>({
    fields: ["name", "tags", "description", "parameters"],
    tokenize: (text, field) => (field === "name" ? nameWordsOf(text) : wordsOf(text)),
    processTerm: (word) => word,
    searchOptions: {
      boost: { name: 4, tags: 2, description: 1, parameters: 0.5 },
      // The beginning of a word says little when it is one letter, a misspelling when it is four.
      prefix: (term) => term.length > 1,
      fuzzy: (term) => (term.length > 4 ? 0.2 : false),
      maxFuzzy: 2,
      weights: { prefix: 0.4, fuzzy: 0.2 }
    }
  })
  index.addAll(tools.map(documentOf))

  return {
    search: (query, options = {}) => {
      const limit = Math.max(0, options.limit ?? Number.POSITIVE_INFINITY)
      const visible = options.visible ?? (() => true)
      const asked = query.slice(0, longestQuery).toWellFormed()
      const found =
        asked.trim() === ""
          ? tools.map((tool) => ({ tool, score: 0 }))
          : index
              .search(
                Array.from(new Set(wordsOf(asked)))
                  .slice(0, mostWords)
                  .join(" ")
              )
              .sort((one, other) => other.score - one.score || one["id"] - other["id"])
              .map(({ id, score }) => ({ tool: tools[id]!, score }))
      return found.filter(({ tool }) => visible(tool)).slice(0, limit)
    }
  }
}

const longestQuery = 256
const mostWords = 16
/** Longer words are cut: a misspelling is searched for in time that grows with the length. */
const longestWord = 40

interface Document {
  readonly id: number
  readonly name: string
  readonly tags: string
  readonly description: string
  readonly parameters: string
}

const documentOf = (facts: ToolFacts, id: number): Document => ({
  id,
  name: facts.names.join(" "),
  tags: facts.tags.join(" "),
  description: facts.description ?? "",
  parameters: parametersOf(facts.tool).join(" ")
})

/** The words of a text in lower case: letters and digits, apart at capitals (`getUserID` → get, user, id). */
const wordsOf = (text: string): Array<string> =>
  (
    text
      .normalize("NFKC")
      .replace(/(\p{Ll}|\p{N})(\p{Lu})/gu, "$1 $2")
      .replace(/(\p{Lu})(\p{Lu}\p{Ll})/gu, "$1 $2")
      .toLowerCase()
      .match(word()) ?? []
  ).map((word) => word.slice(0, longestWord))

const word = pattern(String.raw`[\p{L}\p{M}\p{N}]+`, "gu")

/** A name is also found written as one word: `getuser` and `get_user` mean the same. */
const nameWordsOf = (text: string): Array<string> => {
  const words = wordsOf(text)
  const joined = text.split(" ").map((name) => wordsOf(name).join("").slice(0, longestWord))
  return [...words, ...joined.filter((word) => !words.includes(word))]
}

/** Names and descriptions of a tool's parameters, nested ones included; none where it has no JSON Schema. */
const parametersOf = (tool: Tool.Any): Array<string> => {
  const texts: Array<string> = []
  let schemas = 0
  // A schema from outside may refer to itself, and need not be a schema.
  const walk = (schema: unknown, depth: number): void => {
    if (schema === null || typeof schema !== "object" || depth > 8 || ++schemas > 1000) return
    if (Array.isArray(schema)) {
      for (const item of schema) walk(item, depth + 1)
      return
    }
    for (const [keyword, value] of Object.entries(schema)) {
      if (keyword === "description" || keyword === "title") {
        if (typeof value === "string") texts.push(value)
      } else if (keyword === "properties" || keyword === "$defs" || keyword === "definitions") {
        if (value === null || typeof value !== "object") continue
        for (const [name, property] of Object.entries(value)) {
          if (keyword === "properties") texts.push(name)
          walk(property, depth + 1)
        }
      } else walk(value, depth + 1)
    }
  }
  try {
    walk(Tool.getJsonSchema(tool), 0)
  } catch {
    // A schema without a JSON form: the tool is found by the rest of what it says.
  }
  return texts
}
