/**
 * A batch in which calls depend on one another and take values from each
 * other's results.
 *
 * ```
 * Graph.run(executor, (g) => {
 *   const page = g.call("extract", { url })
 *   const hits = g.call("search", { query: page.at("title") })
 *   return g.call("format", { items: hits.at("items") })
 * })
 * ```
 *
 * A reference stands for the encoded value of another call's result; the
 * compiler checks that it fits where it is put. A call whose dependency did not
 * succeed is `skipped`. `fromNodes` takes the same graph as data and refuses
 * cycles, unknown and repeated ids.
 */
import type * as Tool from "effect/ai/Tool"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Batch from "./Batch.ts"
import { batchRequestOf } from "./internal/request.ts"
import type { Node } from "./internal/schedule.ts"
import type { ToolExecutor, Tools } from "./ToolExecutor.ts"
import type { ToolResult } from "./ToolResult.ts"

// --- References ------------------------------------------------------------

type Path = ReadonlyArray<string | number>

/** A value that another call's result will hold. */
export class Ref<out A> {
  /** The node whose result is meant. */
  readonly node: string
  readonly path: Path
  // Only a type: what the reference will be.
  declare readonly _A: A

  constructor(node: string, path: Path = []) {
    this.node = node
    this.path = path
  }

  /** A part of it. */
  at<K extends Keys<A>>(key: K): Ref<A[K]> {
    return new Ref(this.node, [...this.path, key])
  }
}

/** The parts a value has as JSON: elements of an array, properties of an object. */
export type Keys<A> =
  A extends ReadonlyArray<unknown> ? keyof A & number : A extends object ? keyof A & (string | number) : never

/** A reference into the result of the node called `node`, where types are not known. */
export const ref = (node: string, ...path: Path): Ref<unknown> => new Ref(node, path)

/** Arguments in which any part may be a reference to a value of its type. */
export type WithRefs<A> =
  | Ref<A>
  | (A extends string | number | boolean | bigint | null | undefined
      ? A
      : A extends ReadonlyArray<infer E>
        ? ReadonlyArray<WithRefs<E>>
        : { readonly [K in keyof A]: WithRefs<A[K]> })

// --- Graphs as data --------------------------------------------------------

/** A node as data: references are made by `ref`. */
export interface GraphNode extends Batch.Call {
  readonly id: string
  /** Calls that must have succeeded first, beside those it refers to. */
  readonly dependsOn?: ReadonlyArray<string>
}

/** What is wrong with a graph; nothing of it has run. */
export class GraphError extends Schema.TaggedError<GraphError>("interlock/GraphError")("GraphError", {
  problem: Schema.Literals(["cycle", "unknown id", "repeated id", "unreadable node"]),
  /** The ids concerned; for a cycle in its order. */
  ids: Schema.Array(Schema.String)
}) {
  override get message(): string {
    return `The graph cannot run: ${[this.problem, this.ids.join(" → ")].filter((part) => part !== "").join(": ")}`
  }
}

/** Runs a graph given as data. */
export const fromNodes = <T extends Tools>(
  executor: ToolExecutor<T>,
  nodes: ReadonlyArray<GraphNode>,
  options: Batch.Options = {}
): Effect.Effect<Batch.BatchResult, GraphError, Tool.HandlerServices<T[keyof T]>> =>
  Effect.suspend(() => {
    const compiled = read(nodes)
    return compiled instanceof GraphError ? Effect.fail(compiled) : Batch.run(executor, compiled, options)
  })

// --- Graphs as programs ----------------------------------------------------

/** Adds calls to a graph. */
export interface Builder<T extends Tools> {
  readonly call: <Name extends keyof T & string>(
    tool: Name,
    params: WithRefs<Tool.ParametersEncoded<T[Name]>>,
    options?: Omit<GraphNode, "id" | "tool" | "params" | "dependsOn"> & {
      readonly id?: string
      /** Calls that must have succeeded first, beside those it refers to. */
      readonly after?: ReadonlyArray<Ref<unknown>>
    }
  ) => Ref<Tool.SuccessEncoded<T[Name]>>
}

export interface GraphResult<A> extends Batch.BatchResult {
  /** The value of the reference that the builder returned, when its call succeeded. */
  readonly output: A | undefined
  /** The result of the call that a reference points into. */
  readonly resultOf: (ref: Ref<unknown>) => ToolResult | undefined
}

/** Runs the graph that `build` describes. A repeated id is a defect: ids given by hand must differ. */
export const run = <T extends Tools, A>(
  executor: ToolExecutor<T>,
  build: (builder: Builder<T>) => Ref<A>,
  options: Batch.Options = {}
): Effect.Effect<GraphResult<A>, never, Tool.HandlerServices<T[keyof T]>> =>
  Effect.suspend(() => {
    const nodes: Array<GraphNode> = []
    const output = build({
      call: (tool, params, { after, id, ...rest } = {}) => {
        const node = id ?? `${tool}#${nodes.length + 1}`
        nodes.push({ ...rest, id: node, tool, params, dependsOn: (after ?? []).map((other) => other.node) })
        return new Ref(node)
      }
    })
    return Effect.map(Effect.orDie(fromNodes(executor, nodes, options)), (batch) => {
      const positions = new Map(nodes.map((node, index) => [node.id, index]))
      const resultOf = ({ node }: Ref<unknown>) => batch.results[positions.get(node) ?? -1]
      const value = follow(resultOf(output)?.value, output.path)
      // The reference's type was checked against the tool's schema where it was made.
      return { ...batch, resultOf, output: ("found" in value ? value.found : undefined) as A | undefined }
    })
  })

// --- Compilation -----------------------------------------------------------

// What is no node, or throws while it is looked at, is an error of the graph like any other.
const read = (nodes: ReadonlyArray<GraphNode>): ReadonlyArray<Node> | GraphError => {
  try {
    return compile(nodes)
  } catch {
    return new GraphError({ problem: "unreadable node", ids: [] })
  }
}

const compile = (nodes: ReadonlyArray<GraphNode>): ReadonlyArray<Node> | GraphError => {
  const positions = new Map<string, number>()
  for (const [index, { id }] of nodes.entries()) {
    if (positions.has(id)) return new GraphError({ problem: "repeated id", ids: [id] })
    positions.set(id, index)
  }
  const compiled: Array<Node> = []
  for (const { dependsOn = [], ...call } of nodes) {
    const refs = refsIn(call.params)
    const needs = new Set([...dependsOn, ...refs.map((needed) => needed.node)])
    const unknown = [...needs].find((id) => !positions.has(id))
    if (unknown !== undefined) return new GraphError({ problem: "unknown id", ids: [call.id, unknown] })
    compiled.push({
      ...batchRequestOf(call),
      dependsOn: [...needs].map((id) => positions.get(id) as number),
      resolve: refs.length === 0 ? undefined : (results) => resolve(call.params, refs, positions, results)
    })
  }
  const cycle = findCycle(compiled)
  return cycle === undefined
    ? compiled
    : new GraphError({ problem: "cycle", ids: cycle.map((index) => nodes[index]?.id ?? "") })
}

/** One cycle, if there is any: what is left when everything that can run has been taken away. */
const findCycle = (nodes: ReadonlyArray<Node>): ReadonlyArray<number> | undefined => {
  const waitsFor = nodes.map((node) => node.dependsOn.length)
  const dependents: Array<Array<number>> = nodes.map(() => [])
  for (const [index, node] of nodes.entries()) for (const on of node.dependsOn) dependents[on]?.push(index)
  const free = [...waitsFor.keys()].filter((index) => waitsFor[index] === 0)
  for (let next = 0; next < free.length; next++) {
    for (const dependent of dependents[free[next] as number] as Array<number>) {
      waitsFor[dependent] = (waitsFor[dependent] as number) - 1
      if (waitsFor[dependent] === 0) free.push(dependent)
    }
  }
  if (free.length === nodes.length) return undefined
  // Every node that is left depends on another that is left: following them comes back.
  const seen = new Map<number, number>()
  const path: Array<number> = []
  let at = waitsFor.findIndex((count) => count > 0)
  while (!seen.has(at)) {
    seen.set(at, path.length)
    path.push(at)
    at = (nodes[at] as Node).dependsOn.find((on) => (waitsFor[on] as number) > 0) as number
  }
  return [...path.slice(seen.get(at)), at]
}

const refsIn = (params: unknown): ReadonlyArray<Ref<unknown>> => {
  const refs: Array<Ref<unknown>> = []
  const seen = new Set<unknown>()
  const left: Array<unknown> = [params]
  while (left.length > 0) {
    const value = left.pop()
    if (value instanceof Ref) refs.push(value)
    else if (value !== null && typeof value === "object" && !seen.has(value)) {
      seen.add(value)
      for (const part of Object.values(value)) left.push(part)
    }
  }
  return refs
}

const resolve = (
  params: unknown,
  refs: ReadonlyArray<Ref<unknown>>,
  positions: ReadonlyMap<string, number>,
  results: ReadonlyArray<ToolResult | undefined>
): { readonly params: unknown } | { readonly missing: string } => {
  const values = new Map<Ref<unknown>, unknown>()
  for (const needed of refs) {
    const value = follow(results[positions.get(needed.node) as number]?.value, needed.path)
    if (!("found" in value)) {
      return {
        missing: `the result of ${JSON.stringify(needed.node)} has no ${JSON.stringify(value.missing)}`
      }
    }
    values.set(needed, value.found)
  }
  return { params: substitute(params, values) }
}

// Without recursion and each part once: arguments may be deep, shared or cyclic until the pipeline has looked at them.
const substitute = (params: unknown, values: ReadonlyMap<Ref<unknown>, unknown>): unknown => {
  const copies = new Map<object, object>()
  const copyOf = (value: unknown): unknown => {
    if (value instanceof Ref) return values.get(value)
    if (value === null || typeof value !== "object") return value
    const copy = copies.get(value) ?? (Array.isArray(value) ? [] : {})
    copies.set(value, copy)
    return copy
  }
  const root = copyOf(params)
  // The map grows while it is walked.
  for (const [original, copy] of copies) {
    for (const [key, part] of Object.entries(original)) {
      // Defined and not assigned, so that `__proto__` is a key like any other.
      Object.defineProperty(copy, key, {
        value: copyOf(part),
        enumerable: true,
        writable: true,
        configurable: true
      })
    }
  }
  return root
}

const follow = (value: unknown, path: Path): { readonly found: unknown } | { readonly missing: string } => {
  let at = value
  for (const key of path) {
    if (at === null || typeof at !== "object" || !Object.hasOwn(at, key)) return { missing: path.join(".") }
    at = (at as Record<string | number, unknown>)[key]
  }
  return { found: at }
}
