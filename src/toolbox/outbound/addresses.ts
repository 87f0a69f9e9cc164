/**
 * Which addresses may be dialled: public ones, and those that the options name.
 *
 * An IPv6 address is public inside 2000::/3, where all of the Internet is, and
 * outside the blocks that IANA keeps there for special purposes (RFC 6890 and
 * its registries); an IPv4 address outside all such blocks. What is anything
 * else needs `allowedAddresses`. An address that holds an IPv4 address (mapped,
 * compatible, translated, NAT64, 6to4, Teredo, ISATAP) leads there, so that one
 * must be permitted too. Where clouds hand out their machines' keys only a
 * range of exactly that address permits it: `169.254.0.0/16` does not. A public
 * address of this machine's own counts as none.
 */
import * as IpNetwork from "effect/net/IpNetwork"
import * as NetAddress from "effect/net/NetAddress"
import * as Result from "effect/Result"

const networks = (...ranges: ReadonlyArray<string>): ReadonlyArray<IpNetwork.IpNetwork> =>
  ranges.map(IpNetwork.fromStringUnsafe)

const specialIpv4 = networks(
  "0.0.0.0/8", // this network (RFC 791)
  "10.0.0.0/8", // private (RFC 1918)
  "100.64.0.0/10", // carrier-grade NAT (RFC 6598)
  "127.0.0.0/8", // loopback (RFC 1122)
  "169.254.0.0/16", // link-local (RFC 3927)
  "172.16.0.0/12", // private (RFC 1918)
  "192.0.0.0/24", // protocol assignments (RFC 6890)
  "192.0.2.0/24", // documentation (RFC 5737)
  "192.88.99.0/24", // 6to4 relays, deprecated (RFC 7526)
  "192.168.0.0/16", // private (RFC 1918)
  "198.18.0.0/15", // benchmarks (RFC 2544)
  "198.51.100.0/24", // documentation (RFC 5737)
  "203.0.113.0/24", // documentation (RFC 5737)
  "224.0.0.0/4", // multicast (RFC 1112)
  "240.0.0.0/4" // reserved, and broadcast (RFC 1112, RFC 919)
)

const globalIpv6 = IpNetwork.fromStringUnsafe("2000::/3")

const specialIpv6 = networks(
  "2001::/23", // protocol assignments, with Teredo, ORCHID and benchmarks (RFC 2928)
  "2001:db8::/32", // documentation (RFC 3849)
  "2002::/16", // 6to4 (RFC 3056)
  "3ffe::/16", // the 6bone, given back (RFC 3701)
  "3fff::/20" // documentation (RFC 9637)
)

/** Where clouds tell a machine its secrets; most, but not all of it, is link-local or private anyway. */
const metadata = networks(
  "169.254.169.254/32", // AWS, Azure, GCP, OpenStack and others
  "169.254.170.2/32", // AWS ECS
  "169.254.170.23/32", // AWS EKS
  "169.254.169.253/32", // AWS DNS
  "169.254.0.23/32", // Tencent
  "169.254.42.42/32", // Scaleway
  "168.63.129.16/32", // Azure: a public address that never leaves the host
  "100.100.100.200/32", // Alibaba
  "192.0.0.192/32", // Oracle
  "fd00:ec2::254/128", // AWS
  "fd00:ec2::23/128", // AWS EKS
  "fd00:ec2::253/128", // AWS DNS
  "fd00:42::42/128", // Scaleway
  "fd20:ce::254/128" // GCP
)

const within = (ranges: ReadonlyArray<IpNetwork.IpNetwork>, address: NetAddress.IpAddress): boolean =>
  ranges.some((range) => IpNetwork.contains(range, address))

/** Whether the address is one of the Internet's, and leads nowhere else. */
const isPublic = (address: NetAddress.IpAddress): boolean =>
  !within(metadata, address) &&
  (NetAddress.isIpv4Address(address)
    ? !within(specialIpv4, address)
    : IpNetwork.contains(globalIpv6, address) && !within(specialIpv6, address))

// --- Addresses in addresses --------------------------------------------------

/** Prefixes behind which an IPv4 address stands, and at which byte. */
const carriers = (
  [
    ["::ffff:0:0/96", 12], // mapped (RFC 4291)
    ["::/96", 12], // compatible (RFC 4291)
    ["::ffff:0:0:0/96", 12], // translated (RFC 2765)
    ["64:ff9b::/96", 12], // NAT64 (RFC 6052)
    ["64:ff9b:1::/48", 12], // local NAT64 (RFC 8215), as its usual /96
    ["2002::/16", 2], // 6to4 (RFC 3056)
    ["2001::/32", 4] // Teredo's server (RFC 4380)
  ] as const
).map(([range, at]) => ({ range: IpNetwork.fromStringUnsafe(range), at }))

const teredo = IpNetwork.fromStringUnsafe("2001::/32")
const ownIpv6 = networks("::/128", "::1/128")

/** The IPv4 addresses to which a packet for this address may be carried on. */
const carried = (address: NetAddress.IpAddress): ReadonlyArray<NetAddress.Ipv4Address> => {
  if (NetAddress.isIpv4Address(address) || within(ownIpv6, address)) return []
  const bytes = Uint8Array.from(NetAddress.ipv6ToOctets(address))
  const at = (start: number) => NetAddress.ipv4FromBytesUnsafe(bytes.slice(start, start + 4))
  const found = carriers.filter(({ range }) => IpNetwork.contains(range, address)).map((each) => at(each.at))
  if (IpNetwork.contains(teredo, address)) {
    // The client's address is written with all of its bits turned over.
    found.push(NetAddress.ipv4FromBytesUnsafe(bytes.slice(12).map((byte) => byte ^ 0xff)))
  }
  // ISATAP (RFC 5214) is in the last half, under any prefix.
  const isatap =
    (bytes[8] === 0 || bytes[8] === 2) && bytes[9] === 0 && bytes[10] === 0x5e && bytes[11] === 0xfe
  return isatap ? [...found, at(12)] : found
}

// --- The rule ----------------------------------------------------------------

/** Which addresses may be dialled beside the public ones, and which may not although they are public. */
export interface Rules {
  readonly allowed: ReadonlyArray<IpNetwork.IpNetwork>
  readonly denied: ReadonlyArray<IpNetwork.IpNetwork>
  /** Addresses of this machine: public or not, what listens there is local. */
  readonly own: ReadonlySet<string>
}

/** Whether this address may be dialled. */
export const isPermitted = (rules: Rules, address: NetAddress.IpAddress): boolean =>
  [address, ...carried(address)].every(
    (each) =>
      !within(rules.denied, each) &&
      ((isPublic(each) && !rules.own.has(NetAddress.formatIp(each))) || isAllowed(rules, each))
  )

const isAllowed = ({ allowed }: Rules, address: NetAddress.IpAddress): boolean => {
  const exactly = within(metadata, address)
  return allowed.some(
    (range) =>
      IpNetwork.contains(range, address) &&
      (!exactly || range.prefixLength === NetAddress.width(range.address))
  )
}

/** Whether a packet for this address stays on this machine. */
export const isLoopback = (address: NetAddress.IpAddress): boolean => NetAddress.isLoopback(address)

// --- Ranges as people write them -----------------------------------------------

/** Reads `10.0.0.0/8`, `fd00::/8`, or one address. */
export const rangeFromString = (text: string): Result.Result<IpNetwork.IpNetwork, string> =>
  Result.mapError(
    text.includes("/")
      ? IpNetwork.fromString(text)
      : Result.flatMap(NetAddress.ipFromString(text), (address) =>
          IpNetwork.make(address, NetAddress.width(address))
        ),
    () => "must be an address, or a range such as 10.0.0.0/8 with no bits set beyond its prefix"
  )
