/** A note as a file: its title as a heading, an empty line, and its content. */
import { createHash } from "node:crypto"
import type { Principal } from "../../Principal.ts"

export interface Note {
  readonly title: string
  readonly content: string
}

export const format = ({ content, title }: Note): string => `# ${title}\n\n${content}`

/** What a file says; one that people have rewritten has its first line as its title. */
export const parse = (text: string): Note => {
  const ours = /^# ([^\n]*)\n\n([\s\S]*)$/.exec(text)
  if (ours !== null) return { title: ours[1]!, content: ours[2]! }
  const [first = "", ...rest] = text.split("\n")
  return { title: first.replace(/^#+ */, "").trim(), content: rest.join("\n") }
}

const digest = (text: string, digits: number): string =>
  createHash("sha256").update(text, "utf8").digest("hex").slice(0, digits)

/** What a note is called: the same for the same title and content, and for no others. */
export const idOf = (note: Note): string => digest(format(note), 32)

export const isId = /^[0-9a-f]{32}$/u
const suffix = ".md"
export const fileOf = (id: string): string => `${id}${suffix}`
export const idOfFile = (name: string): string | undefined => {
  const id = name.slice(0, -suffix.length)
  return name.endsWith(suffix) && isId.test(id) ? id : undefined
}

/** The folder of those who have notes in common; the root for everyone. */
export const folderOf = (by: "principal" | "tenant" | "everyone", { id, tenant }: Principal): string => {
  if (by === "everyone") return ""
  const [name, whose] = by === "tenant" ? [tenant ?? "", [tenant]] : [id, [tenant, id]]
  // What people recognize, and what tells apart those who look alike.
  const readable = name
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "-")
    .replace(/^-+|-+$/g, "")
    .slice(0, 40)
  return `${readable === "" ? by : readable}-${digest(JSON.stringify([by, ...whose]), 24)}`
}

/** The words that are looked for, without regard to case. */
export const wordsOf = (text: string): ReadonlyArray<string> => [
  ...new Set(
    text
      .toLowerCase()
      .split(/\s+/)
      .filter((word) => word !== "")
  )
]

/** Where the first of the words is, if all of them are there. */
export const placeOf = (words: ReadonlyArray<string>, text: string): number | undefined => {
  const folded = text.toLowerCase()
  const places = words.map((word) => folded.indexOf(word))
  return places.includes(-1) ? undefined : (places[0] ?? 0)
}
