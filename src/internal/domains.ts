/**
 * Which hosts arguments may name: `allowedDomains` and `deniedDomains`.
 *
 * A pattern is a host (`example.com`: exactly that one), a wildcard
 * (`*.example.com`: every name below it, and not `example.com` itself), `*` for
 * every host, an address, or an address range (`10.0.0.0/8`). Case, trailing
 * dots and the spelling of IDN and of addresses do not matter; ports are not
 * looked at. A denial wins over an allowance. Names are compared, never
 * resolved: `localhost` and `127.0.0.1` are two hosts.
 *
 * How hosts are found in arguments is `hosts.ts`'s.
 */
import * as IpNetwork from "effect/net/IpNetwork"
import * as NetAddress from "effect/net/NetAddress"
import * as Result from "effect/Result"
import * as ArgumentPath from "./argumentPath.ts"
import * as Hosts from "./hosts.ts"

export interface Violation {
  readonly rule: "allowedDomains" | "deniedDomains"
  /** Where, as people write it; `""` is the arguments themselves. */
  readonly path: string
  /** As it is compared; cut when long. */
  readonly host: string
}

/** Keys from the root to a field; `*` is any element or property, `**` any number of levels. */
export type HostPath = ReadonlyArray<string>

/** The first host that arguments name against the rules. The patterns must be valid: see `problem`. */
export const compile = (options: {
  readonly allowed?: ReadonlyArray<string> | undefined
  readonly denied?: ReadonlyArray<string> | undefined
}): ((params: unknown, hostPaths: ReadonlyArray<HostPath>) => Violation | undefined) => {
  const allowed = options.allowed === undefined ? undefined : compilePatterns(options.allowed)
  const denied = options.denied === undefined ? undefined : compilePatterns(options.denied)
  const isDenied = (host: string): boolean => denied?.(host) === true
  const isRefused = (host: string): boolean => isDenied(host) || (allowed !== undefined && !allowed(host))

  const inspect = (text: string, kind: "key" | "value" | "host"): string | undefined => {
    const url = mayHoldUrl.test(text) ? Hosts.firstRefused(text, isRefused) : undefined
    if (url !== undefined || kind === "key") return url
    const host = kind === "host" ? Hosts.fieldHost(text) : Hosts.bareHost(text)
    return host !== undefined && (host === Hosts.unreadable || isRefused(host)) ? host : undefined
  }

  return (params, hostPaths) => {
    if (hostPaths.length === 0 && !mayNameHost(params)) return undefined
    return walk(params, (text, path, isKey) => {
      const isHost = hostPaths.length > 0 && !isKey && hostPaths.some((hostPath) => isAt(hostPath, path))
      const host = inspect(text, isKey ? "key" : isHost ? "host" : "value")
      if (host === undefined) return undefined
      return {
        rule: allowed === undefined || isDenied(host) ? "deniedDomains" : "allowedDomains",
        path: ArgumentPath.format(isKey ? path.slice(0, -1) : path),
        host: ArgumentPath.shorten(host, 100)
      }
    })
  }
}

// --- The first look --------------------------------------------------------

/**
 * Whether arguments need the walk: `false` only where nothing in it could be a host. Most arguments have none, and
 * a look without paths, frames and descriptors costs a tenth. What is no plain data is left to the walk.
 */
const mayNameHost = (params: unknown): boolean => {
  try {
    return mayName(params, 16)
  } catch {
    // A getter, or a proxy.
    return true
  }
}

const mayName = (value: unknown, levels: number): boolean => {
  if (typeof value === "string") return mayHoldHost(value)
  if (typeof value !== "object" || value === null) return false
  // Deep enough to be a circle.
  if (levels === 0) return true
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) if (mayName(value[i], levels - 1)) return true
    return false
  }
  if (!isPlain(value)) return true
  for (const key in value) {
    if (mayHoldHost(key) || mayName((value as Record<string, unknown>)[key], levels - 1)) return true
  }
  return false
}

const mayHoldHost = (text: string): boolean => {
  if (text.length > Hosts.longestBare) return mayHoldUrl.test(text)
  // From here on `localhost` fits in.
  if (text.length >= 9) return mayHoldAny.test(text)
  for (let i = 0; i < text.length; i++) {
    switch (text.charCodeAt(i)) {
      case 0x25: // %
      case 0x2e: // .
      case 0x2f: // /
      case 0x3a: // :
      case 0x5c: // \
      case 0x3002: // 。
      case 0xff0e: // ．
      case 0xff61: // ｡
        return true
    }
  }
  return false
}

/** What `mayHoldUrl` or the first look of `Hosts.bareHost` lets through. */
const mayHoldAny = /[:%.。．｡]|[/\\][\t\n\r]*[/\\]|localhost/i

/** Most strings hold no URL, and need no closer look. */
const mayHoldUrl = /[:%]|[/\\][\t\n\r]*[/\\]/

// --- Patterns --------------------------------------------------------------

/** Why a text is no pattern; `undefined` when it is one. */
export const problem = (pattern: string): string | undefined => {
  if (pattern === "*") return undefined
  if (pattern.includes("/") && !pattern.includes("//")) {
    return Result.isSuccess(IpNetwork.fromString(pattern))
      ? undefined
      : "must be a host, or an address range such as 10.0.0.0/8 with no bits set beyond its prefix"
  }
  const name = pattern.replace(/^\*\./, "")
  if (name.includes("*")) return `may have a wildcard only as "*" or at its beginning, as "*.example.com"`
  const isAddress = Result.isSuccess(NetAddress.ipFromString(name))
  if (!isAddress && /[\s:/\\@?#]/.test(name)) {
    return "must be a host without scheme, user, port and path"
  }
  if (Hosts.normalize(bracketed(name)) === undefined) return "must be a host, such as example.com"
  return isAddress && name !== pattern ? "must not have a wildcard before an address" : undefined
}

const compilePatterns = (patterns: ReadonlyArray<string>): ((host: string) => boolean) => {
  const exact = new Set<string>()
  const below = new Set<string>()
  const networks: Array<IpNetwork.IpNetwork> = []
  let every = false
  for (const pattern of patterns) {
    if (pattern === "*") every = true
    else if (pattern.includes("/")) networks.push(IpNetwork.fromStringUnsafe(pattern))
    else if (pattern.startsWith("*.")) below.add(Hosts.normalize(pattern.slice(2))!)
    else exact.add(plainAddress(Hosts.normalize(bracketed(pattern))!))
  }
  return (host) => {
    if (host === Hosts.unreadable) return false
    if (every || exact.has(plainAddress(host))) return true
    if (below.size > 0) {
      for (let dot = host.indexOf("."); dot !== -1; dot = host.indexOf(".", dot + 1)) {
        if (below.has(host.slice(dot + 1))) return true
      }
    }
    if (networks.length === 0) return false
    const address = parseAddress(host)
    return address !== undefined && networks.some((network) => containsEither(network, address))
  }
}

const bracketed = (host: string): string => (host.includes(":") ? `[${host}]` : host)

const parseAddress = (host: string): NetAddress.IpAddress | undefined =>
  /^[\d.]+$|:/.test(host) ? Result.getOrUndefined(NetAddress.ipFromString(host)) : undefined

/** `::ffff:127.0.0.1` reaches `127.0.0.1`, so it is compared as that. */
const plainAddress = (host: string): string => {
  const address = host.includes(":") ? parseAddress(host) : undefined
  return address === undefined ? host : NetAddress.formatIp(NetAddress.toCanonical(address))
}

const containsEither = (network: IpNetwork.IpNetwork, address: NetAddress.IpAddress): boolean =>
  IpNetwork.contains(network, address) || IpNetwork.contains(network, NetAddress.toCanonical(address))

// --- The walk --------------------------------------------------------------

/**
 * Shows every string of a value to `visit`, keys included, until it answers; a
 * key's path ends with the key. Decoded arguments may hold more than JSON: a `URL` is its text, an instance of
 * a class shows its own properties, anything without such properties is a leaf.
 */
const walk = <A>(
  root: unknown,
  visit: (text: string, path: ReadonlyArray<string | number>, isKey: boolean) => A | undefined
): A | undefined => {
  const path: Array<string | number> = []
  const stack: Array<Frame> = []
  const open = new Set<object>()
  let value = root
  for (;;) {
    if (typeof value === "string" || value instanceof URL) {
      const found = visit(typeof value === "string" ? value : value.href, path, false)
      if (found !== undefined) return found
    } else if (
      typeof value === "object" &&
      value !== null &&
      !ArrayBuffer.isView(value) &&
      !open.has(value)
    ) {
      open.add(value)
      stack.push({ node: value, keys: Array.isArray(value) ? undefined : Object.keys(value), index: -1 })
      path.push("")
    }
    for (;;) {
      const frame = stack.at(-1)
      if (frame === undefined) return undefined
      const { keys, node } = frame
      if (++frame.index >= (keys ?? (node as ReadonlyArray<unknown>)).length) {
        stack.pop()
        path.pop()
        // Data may be shared and is looked at wherever it stands; a graph of instances only once.
        if (keys === undefined || isPlain(node)) open.delete(node)
        continue
      }
      const key = keys === undefined ? frame.index : keys[frame.index]!
      path[path.length - 1] = key
      if (typeof key === "string") {
        const found = visit(key, path, true)
        if (found !== undefined) return found
      }
      value = Object.getOwnPropertyDescriptor(node, key)?.value
      break
    }
  }
}

interface Frame {
  readonly node: object
  /** `undefined` for an array. */
  readonly keys: ReadonlyArray<string> | undefined
  index: number
}

const isPlain = (value: object): boolean => {
  const prototype = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === null
}

const isAt = (hostPath: HostPath, path: ReadonlyArray<string | number>, from = 0, at = 0): boolean => {
  for (; from < hostPath.length; from++, at++) {
    const key = hostPath[from]
    if (key === "**") {
      for (let rest = at; rest <= path.length; rest++) if (isAt(hostPath, path, from + 1, rest)) return true
      return false
    }
    if (at >= path.length || (key !== "*" && key !== String(path[at]))) return false
  }
  return at === path.length
}
