/** An operation's tool: what follows from its method, and what whoever configures knows better. */
import * as Tool from "effect/ai/Tool"
import * as Schema from "effect/Schema"
import type { Capability } from "../../Capability.ts"
import * as ToolAnnotations from "../../ToolAnnotations.ts"
import { type Annotations, toContext } from "../annotations.ts"
import * as OutboundHttp from "../OutboundHttp.ts"
import { OpenApiError } from "./error.ts"
import type { Operation } from "./operation.ts"
import type { Override } from "./options.ts"
import { Response } from "./response.ts"

const reads: Annotations = { readonly: true, destructive: false, idempotent: true }

const byMethod: { readonly [M in OutboundHttp.Method]: readonly [Annotations, Capability] } = {
  GET: [reads, "read_data"],
  HEAD: [reads, "read_data"],
  OPTIONS: [reads, "read_data"],
  POST: [{}, "write_data"],
  PATCH: [{ readonly: false }, "write_data"],
  PUT: [{ readonly: false, idempotent: true }, "write_data"],
  DELETE: [{ readonly: false, destructive: true, idempotent: true }, "delete_data"]
}

const annotationsOf = ({ method, tags }: Operation): Annotations => {
  const [says, capability] = byMethod[method]
  return {
    openWorld: true,
    trust: "untrusted",
    sendsData: true,
    capabilities: [capability, "network_access", "external_api"],
    ...(tags.length === 0 ? {} : { tags: tags.filter((tag) => tag !== "") }),
    ...says
  }
}

const Failure = Schema.Union([OutboundHttp.OutboundError, OutboundHttp.StatusFailure, OpenApiError])

/** The tool of this name; `all` is said of every tool, `own` of this one. */
export const make = (name: string, operation: Operation, all: Annotations, own: Override): Tool.Any => {
  const { description, name: _, ...said } = own
  const tool = Tool.dynamic(name, {
    description: description ?? operation.description,
    parameters: operation.schema,
    success: Response,
    failure: Failure
  })
  const titled = operation.title === undefined ? tool : tool.annotate(Tool.Title, operation.title)
  return titled
    .annotateMerge(toContext({ ...annotationsOf(operation), ...all, ...said }))
    .annotate(ToolAnnotations.Classify, OutboundHttp.classify)
    .annotate(ToolAnnotations.UpstreamName, operation.operationId ?? `${operation.method} ${operation.path}`)
}
