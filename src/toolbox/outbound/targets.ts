/** Which hosts and ports requests may go to, as far as it is known before a name is resolved. */
import * as Domains from "../../internal/domains.ts"
import type { Policy } from "../../SecurityPolicy.ts"
import { type OutboundError, problem } from "./error.ts"
import type { Target } from "./url.ts"

/** What a security policy says of domains. */
export type Lists = Pick<Policy, "allowedDomains" | "deniedDomains">

export interface Rules extends Lists {
  readonly allowedDomains: ReadonlyArray<string>
  readonly ports: ReadonlySet<number>
}

/** Why a target is refused, by these rules or by the lists that hold beside them. */
export const refusal = (
  { ports, ...own }: Rules,
  lists: Lists,
  target: Target
): OutboundError | undefined => {
  const { host, port } = target
  const rule = violated(own, host) ?? violated(lists, host)
  if (rule !== undefined) {
    return problem(
      "blocked",
      `The host is ${rule === "deniedDomains" ? "denied" : "not among the allowed domains"}.`,
      host
    )
  }
  if (isMetadata(host) && !own.allowedDomains.some((pattern) => pattern.toLowerCase() === host)) {
    return problem("blocked", "The host is where machines get their keys from.", host)
  }
  return ports.has(port)
    ? undefined
    : problem("blocked", `The port ${port} is not among the allowed ones.`, host)
}

/** Which of the lists refuses the host. */
export const violated = (
  { allowedDomains, deniedDomains }: Lists,
  host: string
): "allowedDomains" | "deniedDomains" | undefined =>
  Domains.compile({ allowed: allowedDomains, denied: deniedDomains })(
    host.includes(":") ? `[${host}]` : host,
    // The whole text is a host.
    [[]]
  )?.rule

/** Names under which clouds hand out their machines' keys: a rule of its own, so that `*` and a public answer do not open them. */
const metadata = [
  "instance-data",
  "instance-data.ec2.internal",
  "metadata",
  "metadata.azure.internal",
  "metadata.goog",
  "metadata.google.internal",
  "metadata.packet.net",
  "metadata.platformequinix.com",
  "metadata.tencentyun.com",
  "rancher-metadata"
]

const isMetadata = (host: string): boolean =>
  metadata.some((name) => host === name || host.endsWith(`.${name}`))
