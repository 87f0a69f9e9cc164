/** Names as the operating system resolves them, hosts file included. */
import * as NodeDns from "node:dns/promises"
import * as Effect from "effect/Effect"
import * as Dns from "effect/net/Dns"
import * as NetAddress from "effect/net/NetAddress"
import * as Result from "effect/Result"

export const systemDns: Dns.Dns["Service"] = Dns.make({
  lookup: (host) =>
    Effect.map(
      Effect.tryPromise({
        try: () => NodeDns.lookup(host, { all: true, order: "verbatim" }),
        catch: (cause) =>
          new Dns.DnsError({
            reason: notFound.has((cause as NodeJS.ErrnoException).code ?? "") ? "NotFound" : "Temporary",
            method: "lookup",
            hostname: host,
            cause
          })
      }),
      (found) =>
        found.flatMap(({ address }) => {
          // What has a zone is link-local, and what cannot be read cannot be looked at.
          const parsed = NetAddress.ipFromString(address)
          return Result.isSuccess(parsed) ? [parsed.success] : []
        })
    )
})

const notFound = new Set(["ENOTFOUND", "ENODATA"])
