/** The configuration's own tools and those of upstream servers, for commands that seldom need them. */
import * as Layer from "effect/Layer"
import * as Upstreams from "./gateway.ts"
import { registry } from "./tools.ts"

export const allTools = Upstreams.layer.pipe(Layer.provideMerge(registry))
