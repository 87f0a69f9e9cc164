/** Certificates for servers of a test, made when they are needed and in memory: also such that a client must refuse. */
import { generateKeyPairSync, type KeyObject, randomBytes, sign } from "node:crypto"
import { isIP } from "node:net"

export interface Authority {
  readonly name: string
  readonly key: KeyObject
  /** PEM. */
  readonly cert: string
}

/** A certificate and its key, both as PEM: what a TLS server is given. */
export interface Identity {
  readonly cert: string
  readonly key: string
}

/** An authority. */
export const authority = (name: string): Authority => {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" })
  return {
    name,
    key: privateKey,
    cert: certificate({ name, publicKey, issuer: name, key: privateKey, extensions: [isAuthority] })
  }
}

/** A server's certificate for these hosts. */
export const identity = (
  issuer: Authority,
  hosts: ReadonlyArray<string>,
  { expired = false }: { readonly expired?: boolean } = {}
): Identity => {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" })
  const cert = certificate({
    name: "server",
    publicKey,
    issuer: issuer.name,
    key: issuer.key,
    expired,
    extensions: [alternativeNames(hosts)]
  })
  return { cert, key: privateKey.export({ type: "pkcs8", format: "pem" }).toString() }
}

// --- X.509 (RFC 5280), as little of it as a server needs -----------------------

const certificate = (options: {
  readonly name: string
  readonly publicKey: KeyObject
  readonly issuer: string
  readonly key: KeyObject
  readonly expired?: boolean
  readonly extensions: ReadonlyArray<Buffer>
}): string => {
  const day = 24 * 60 * 60 * 1000
  const now = Date.now()
  const body = sequence(
    tagged(0xa0, integer(Buffer.from([2]))),
    integer(Buffer.concat([Buffer.from([0x40]), randomBytes(15)])),
    ecdsaWithSha256,
    distinguishedName(options.issuer),
    sequence(time(now - 10 * day), time(options.expired === true ? now - day : now + 10 * day)),
    distinguishedName(options.name),
    options.publicKey.export({ type: "spki", format: "der" }),
    tagged(0xa3, sequence(...options.extensions))
  )
  const signature = sign("sha256", body, options.key)
  const der = sequence(body, ecdsaWithSha256, tagged(0x03, Buffer.concat([Buffer.from([0]), signature])))
  const lines = der
    .toString("base64")
    .match(/.{1,64}/g)!
    .join("\n")
  return `-----BEGIN CERTIFICATE-----\n${lines}\n-----END CERTIFICATE-----\n`
}

const tagged = (tag: number, ...parts: ReadonlyArray<Buffer>): Buffer => {
  const content = Buffer.concat(parts)
  const { length } = content
  const size = length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff]
  return Buffer.concat([Buffer.from([tag, ...size]), content])
}
const sequence = (...parts: ReadonlyArray<Buffer>): Buffer => tagged(0x30, ...parts)
const integer = (bytes: Buffer): Buffer => tagged(0x02, bytes)
const oid = (hex: string): Buffer => tagged(0x06, Buffer.from(hex, "hex"))
const time = (millis: number): Buffer =>
  tagged(0x18, Buffer.from(`${new Date(millis).toISOString().replace(/\D/g, "").slice(0, 14)}Z`))
const distinguishedName = (name: string): Buffer =>
  sequence(tagged(0x31, sequence(oid("550403"), tagged(0x0c, Buffer.from(name)))))
const ecdsaWithSha256 = sequence(oid("2a8648ce3d040302"))
const extension = (id: string, value: Buffer): Buffer => sequence(oid(id), tagged(0x04, value))
const isAuthority = extension("551d13", sequence(tagged(0x01, Buffer.from([0xff]))))
const alternativeNames = (hosts: ReadonlyArray<string>): Buffer =>
  extension(
    "551d11",
    sequence(
      ...hosts.map((host) =>
        isIP(host) === 4
          ? tagged(0x87, Buffer.from(host.split(".").map(Number)))
          : tagged(0x82, Buffer.from(host))
      )
    )
  )
