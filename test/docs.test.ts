/** What the pages promise is true: their code compiles and runs, their links lead somewhere, and the repository is fit to share. */
import { execFileSync } from "node:child_process"
import { existsSync, readFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { afterAll, assert, describe, it } from "@effect/vitest"
import {
  type Fence,
  fencesOf,
  isKnownKind,
  isRun,
  makeWorkspace,
  nameOf,
  pages,
  root,
  scriptFences
} from "./support/fences.ts"

const read = (file: string) => readFileSync(join(root, file), "utf8")

describe("the fence reader", () => {
  const page = [
    "# Title",
    "```ts",
    "const a = 1",
    "```",
    "text",
    "- item",
    "  ```ts no-run",
    "  a",
    "",
    "    b",
    "  ```"
  ]
  const nested = ["````md", "```ts", "inner", "```", "````"]

  it("finds each fence with its line, mark and code, without the indentation of a list", () => {
    assert.deepStrictEqual(fencesOf("p.md", page.join("\n")), [
      { page: "p.md", line: 3, info: "ts", code: "const a = 1" },
      { page: "p.md", line: 8, info: "ts no-run", code: "a\n\n  b" }
    ])
  })

  it("takes a fence inside a longer fence as text", () => {
    const expected = [{ page: "p.md", line: 2, info: "md", code: "```ts\ninner\n```" }]
    assert.deepStrictEqual(fencesOf("p.md", nested.join("\n")), expected)
  })

  it("refuses a fence that is never closed", () => {
    assert.throws(() => fencesOf("p.md", "```ts\nconst a = 1"), /p\.md:1: the fence is never closed/)
  })

  it("tells a program that runs from one with a type error, one that throws and one that hangs", async () => {
    const fence = (line: number, code: string): Fence => ({ page: "p.md", line, info: "ts", code })
    const good = fence(3, 'import * as Verdict from "effect-interlock/Verdict"\nconsole.log(typeof Verdict)')
    const wrong = fence(20, "export const n: number = 'one'")
    const throwing = fence(30, "throw new Error('no')")
    const hanging = fence(40, "setInterval(() => {}, 1000)")
    const workspace = makeWorkspace([good, wrong, throwing, hanging])
    try {
      const types = await workspace.typeCheck()
      assert.match(types.output.trim(), /^[^\n]*p\.md-20\.ts\(20,14\): error TS2322[^\n]*$/)
      assert.deepStrictEqual(await workspace.run(good), { code: 0, output: "object\n" })
      assert.strictEqual((await workspace.run(throwing)).code, 1)
      assert.strictEqual((await workspace.run(hanging, 500)).code, null)
    } finally {
      workspace.remove()
    }
  })
})

describe("the code on the pages", () => {
  const workspace = makeWorkspace(scriptFences)
  afterAll(workspace.remove)

  it("is marked `ts` or `ts no-run`, nothing else", () => {
    assert.deepStrictEqual(scriptFences.filter((fence) => !isKnownKind(fence)).map(nameOf), [])
  })

  it("type-checks", async () => {
    if (scriptFences.length === 0) return
    assert.deepStrictEqual(await workspace.typeCheck(), { code: 0, output: "" })
  })

  for (const fence of scriptFences.filter(isRun)) {
    it(`runs: ${nameOf(fence)}`, async () => {
      const { code, output } = await workspace.run(fence)
      assert.strictEqual(code, 0, output)
    })
  }
})

/** A page without what stands in fences and inline code. */
const proseOf = (page: string) =>
  read(page)
    .replaceAll(/^\s*(`{3,})[^`\n]*\n[\s\S]*?^\s*\1\s*$/gm, "")
    .replaceAll(/`[^`\n]*`/g, "code")

/** The anchors that GitHub gives the headings of a page. */
const anchorsOf = (page: string) =>
  Array.from(read(page).matchAll(/^#+ +(.+)$/gm), ([, heading = ""]) =>
    heading
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}\s_-]/gu, "")
      .trim()
      .replaceAll(" ", "-")
  )

const leadsSomewhere = (page: string, link: string) => {
  const [path = "", anchor] = decodeURI(link).split("#")
  const target = path === "" ? page : join(dirname(page), path)
  if (!existsSync(join(root, target))) return false
  return anchor === undefined || !target.endsWith(".md") || anchorsOf(target).includes(anchor)
}

describe("the pages", () => {
  it("have only relative links that lead to a file or a heading", () => {
    const broken = pages.flatMap((page) =>
      Array.from(proseOf(page).matchAll(/\]\(([^)\s]+)\)/g), ([, link = ""]) => link)
        .filter((link) => !/^[a-z]+:/i.test(link) && !leadsSomewhere(page, link))
        .map((link) => `${page}: ${link}`)
    )
    assert.deepStrictEqual(broken, [])
  })

  it("begin with a README of 150 to 220 lines, once there is more than a title", () => {
    const lines = read("README.md").trimEnd().split("\n").length
    if (lines > 20) assert.isTrue(lines >= 150 && lines <= 220, `the README has ${lines} lines`)
  })
})

describe("the repository", () => {
  const files = execFileSync("git", ["ls-files", "-z"], { cwd: root, encoding: "utf8" })
    .split("\0")
    .filter((file) => file !== "" && existsSync(join(root, file)))

  // Each pattern has a class of one letter, so that this file does not match itself.
  const ofOneMachine = /\/wor[k]\/|\/roo[t]\/|registr[y]\.npm|de[b]\.debian/

  it("names no path of a machine and no host of a registry", () => {
    assert.include(files, "package.json")
    const found = files.flatMap((file) =>
      read(file)
        .split("\n")
        .flatMap((line, index) => (ofOneMachine.test(line) ? [`${file}:${index + 1}`] : []))
    )
    assert.deepStrictEqual(found, [])
  })

  it("locks versions by integrity alone, so that any registry or mirror can serve them", () => {
    for (const lock of files.filter((file) => file.endsWith("package-lock.json"))) {
      assert.notInclude(read(lock), '"resolved"', lock)
    }
  })

  // npm leaves out an optional package whose `engines` exclude the Node it runs under, though here a newer Node will load it:
  // after an update of vite, delete `engines` from these entries of the lock.
  it("lets npm under Node 18 install the native part of vite's bundler", () => {
    const locked: Record<string, { readonly engines?: object }> = JSON.parse(
      read("package-lock.json")
    ).packages
    const bindings = Object.keys(locked).filter((path) => path.includes("@rolldown/binding-"))
    assert.isNotEmpty(bindings)
    assert.deepStrictEqual(
      bindings.filter((path) => locked[path]?.engines !== undefined),
      []
    )
  })
})
