/** Whatever leaves the process, or is shown to anyone, is in one list. */
import { readdirSync, readFileSync } from "node:fs"
import { assert, describe, it } from "@effect/vitest"
import { type Primitive, primitives, readers, sinks } from "../src/internal/sinks.ts"

const root = new URL("../src/", import.meta.url)

const modules = readdirSync(root, { recursive: true, encoding: "utf8" }).filter(
  (path) => path.endsWith(".ts") && path !== "internal/sinks.ts"
)

/** Comments say what others do. */
const withoutComments = (source: string): string =>
  source.replace(/\/\*[\s\S]*?\*\//g, "").replace(/(^|\s)\/\/.*$/gm, "$1")

const used = (source: string): ReadonlyArray<Primitive> => {
  const code = withoutComments(source)
  return (Object.keys(primitives) as Array<Primitive>).filter((name) => primitives[name].test(code))
}

const uses = new Map(modules.map((path) => [path, used(readFileSync(new URL(path, root), "utf8"))]))

describe("what leaves", () => {
  it("is listed, in every module that lets something out", () => {
    const listed = new Map(sinks.map(({ by, module }) => [module, by]))
    const missing = [...uses].flatMap(([module, by]) =>
      by
        .filter((primitive) => !listed.get(module)?.includes(primitive))
        .map((primitive) => `${module}: ${primitive}`)
    )
    assert.deepStrictEqual(missing, [], "add a line to src/internal/sinks.ts, after looking at what is shown")
  })

  it("is there: no line is left of a module that is gone, or does it no more", () => {
    const gone = sinks.flatMap(({ by, module }) => {
      const now = uses.get(module)
      if (now === undefined) return [module]
      return by.filter((primitive) => !now.includes(primitive)).map((primitive) => `${module}: ${primitive}`)
    })
    assert.deepStrictEqual(gone, [])
  })

  it("is listed once, and says what it shows", () => {
    assert.strictEqual(new Set(sinks.map(({ module }) => module)).size, sinks.length)
    for (const { module, safe, shows } of sinks) {
      assert.isNotEmpty(shows, module)
      assert.isNotEmpty(safe, module)
    }
  })

  it("is known by how it is written, not by what comments say", () => {
    const written: Readonly<Record<Primitive, string>> = {
      report: "Effect.catchCause(effect, ErrorReporter.report)",
      log: "yield* Effect.logWarning(text)",
      console: "console.log(line)",
      terminal: "yield* terminal.display(text)",
      span: 'span.attribute("key", value)',
      metric: 'Metric.counter("name")',
      publish: "Sliding.publish(pubsub, value)",
      record: "yield* recorder.add({ onEnd })",
      audit: "yield* audit.append(event)",
      sql: "yield* sql`INSERT INTO interlock_x VALUES (1)`",
      file: "yield* file.writeAll(bytes)",
      network: "yield* HttpClient.post(url)"
    }
    for (const [name, source] of Object.entries(written)) {
      assert.deepStrictEqual(used(source), [name as Primitive])
      assert.deepStrictEqual(used(`/** ${source} */\n// ${source}\nconst url = "https://x"`), [])
    }
  })

  it("is known whichever way it takes to the network", () => {
    for (const source of [
      "await fetch(url)",
      "Http.request({ method })",
      "Https.request({ method })",
      "Net.connect({ host })",
      "Tls.connect({ socket })",
      "dns.lookup(host)",
      "NodeDns.resolve4(host)",
      "client.send(command)",
      "client.callTool(call)",
      "connection.send(envelope, stream)",
      "this.#inner.send(message)",
      "stdin.write(line)",
      "HttpRouter.serve(app)"
    ]) {
      assert.deepStrictEqual(used(source), ["network"], source)
    }
  })
})

describe("what reads raw arguments", () => {
  it("is listed, and nothing else does", () => {
    const reading = modules.filter((path) =>
      /\bRaw\.read\(/.test(withoutComments(readFileSync(new URL(path, root), "utf8")))
    )
    assert.deepStrictEqual(reading.sort(), Object.keys(readers).sort())
  })
})
