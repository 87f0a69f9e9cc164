/**
 * Writes a file of calls, the same one every time:
 *
 *     node examples/demo/generate.ts [lines] > examples/demo/calls.jsonl
 */

// A linear congruential generator, so that the file does not change from run to run.
let state = 42
const next = (below: number): number => {
  state = (state * 1664525 + 1013904223) % 2 ** 32
  return Math.floor((state / 2 ** 32) * below)
}
const oneOf = <A>(items: ReadonlyArray<A>): A => items[next(items.length)]!

const call = (as: string, tool: string, params: unknown, more: object = {}) => ({ as, tool, params, ...more })
const reader = () => oneOf(["ada", "bob", "bob", "eve"])
const writer = () => oneOf(["ada", "bob", "bob"])
const city = () => oneOf(["Oslo", "Lisbon", "Nairobi", "Kyoto", "Quito"])
const currency = () => oneOf(["USD", "EUR", "GBP", "JPY", "NOK"])
const sku = () => `SKU-${100 + next(900)}`
const words = ["login", "refund", "invoice", "slow page", "password"]

/** A kind of line, and how many of a hundred are of it. A text is written as it is. */
const kinds: ReadonlyArray<readonly [share: number, make: () => object | string]> = [
  // Good calls.
  [8, () => call(reader(), "add", { a: next(100), b: next(100) })],
  [13, () => call(writer(), "get_weather", { city: city() })],
  [2, () => call(writer(), "get_weather", { city: "Atlantis" })],
  [9, () => call(writer(), "convert_currency", { amount: 1 + next(500), from: currency(), to: currency() })],
  [
    9,
    () => call(writer(), "fetch_page", { url: `https://www.example.com/${oneOf(["", "prices", "team"])}` })
  ],
  [10, () => call(reader(), "search_tickets", { query: oneOf(words) })],
  // A flaky service, a dead one, a slow one, one whose handler ignores its signal.
  [16, () => call(reader(), "check_stock", { sku: sku() })],
  [5, () => call(reader(), "look_up_order", { order: 4000 + next(1000) })],
  [5, () => call(reader(), "build_report", { pages: oneOf([10, 20, 40, 400]) })],
  [3, () => call(reader(), "export_archive", { year: oneOf([1998, 1999, 2019, 2024]) })],
  // Forbidden: by permission, by policy, by domain; and what a human must decide.
  [2, () => call("eve", "get_weather", { city: city() })],
  [1, () => ({ tool: "check_stock", params: { sku: sku() } })],
  [2, () => call("ada", "run_command", { command: "rm -rf /" })],
  [3, () => call(writer(), "fetch_page", { url: oneOf(foreignPages) })],
  [3, () => call(oneOf(["ada", "ada", "bob"]), "send_payment", { to: "Acme Ltd", amount: 10 + next(90) })],
  [2, () => call(oneOf(["ada", "eve"]), "delete_record", { id: `customer-${next(50)}` })],
  // Wrong arguments, tools that do not exist, lines that are no calls.
  [5, () => oneOf(wrongArguments)],
  [2, () => call(reader(), oneOf(["get_wether", "__proto__", "constructor", "send_money"]), {})],
  [1, () => oneOf(noCalls)]
]

const foreignPages = [
  "https://example.com.attacker.net/",
  "https://www.example.com@attacker.net/",
  "http://[::ffff:7f00:1]/admin",
  "http://2130706433/admin"
]

const wrongArguments: ReadonlyArray<object> = [
  call("bob", "add", { a: 1 }),
  call("bob", "add", { a: "one", b: 2.5, c: true }),
  call("bob", "convert_currency", { amount: -5, from: "dollars", to: "EUR" }),
  call("ada", "build_report", { pages: 1e9 }),
  call("ada", "get_weather", { town: "Oslo" }),
  call("ada", "add", [1, 2])
]

const noCalls: ReadonlyArray<object | string> = [
  `{"as": "bob", "tool": "add", "params": {"a": 1, "b": 2`,
  `add 1 and 2`,
  { as: "bob", params: { a: 1, b: 2 } },
  { as: "bob", tool: "add", params: { a: 1, b: 2 }, retries: -1 }
]

const bag = kinds.flatMap(([share, make]) => Array.from({ length: share }, () => make))

/** From this line on, eight calls of the tool that runs three at a time. */
const burst = 180

const lines = Number(process.argv[2] ?? 360)
for (let number = 1; number <= lines; number++) {
  const line =
    number >= burst && number < burst + 8 ? call("bob", "export_archive", { year: 1998 }) : oneOf(bag)()
  const id = `call-${String(number).padStart(3, "0")}`
  console.log(typeof line === "string" ? line : JSON.stringify({ id, ...line }))
}
