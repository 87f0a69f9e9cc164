/**
 * The keys of a deployment: what signs approvals, chains the audit log, seals
 * what must be kept and hashes what must not.
 *
 * A keyring has one active key, which everything new is made with, and any
 * number of older ones, which still verify and open what was made with them:
 * that is how a key is rotated. Each purpose has a key of its own, derived with
 * HKDF-SHA-256 (RFC 5869) from a key and the deployment's name, so that nothing
 * made for one purpose or one deployment passes for another.
 *
 * The default keyring is random and dies with the process: give one wherever
 * approvals, audit or hashes must be understood after a restart or elsewhere.
 */
import { hkdf } from "@noble/hashes/hkdf.js"
import { sha256 } from "@noble/hashes/sha2.js"
import { utf8ToBytes } from "@noble/hashes/utils.js"
import * as Config from "effect/Config"
import * as Context from "effect/Context"
import { randomBytesUnsafe } from "effect/crypto/SecureRandom"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"

/** What a key is derived for. */
export type Purpose = "arguments" | "approvals" | "audit" | "audit-keys" | "sealing" | "digests"

export interface Options {
  /** The name of the deployment; `default`. The same keys give other ones under another name. */
  readonly deployment?: string
  /** The id of the key that everything new is made with. */
  readonly active: string
  /** By id; each of at least 32 characters. */
  readonly keys: Readonly<Record<string, Redacted.Redacted<string>>>
}

export class Keyring extends Context.Service<
  Keyring,
  {
    readonly deployment: string
    /** The id of the key that everything new is made with. */
    readonly active: string
    /** The 32 bytes for a purpose, of the active key unless another is named; `undefined` for an id that is not known. */
    readonly key: {
      (purpose: Purpose): Uint8Array
      (purpose: Purpose, id: string): Uint8Array | undefined
    }
  }
>()("interlock/Keyring") {}

/** A keyring of given keys; throws a `RangeError` for an id or a key that makes no sense. */
export const make = (options: Options): Keyring["Service"] => {
  const deployment = options.deployment ?? "default"
  const secrets = new Map<string, Uint8Array>()
  for (const [id, secret] of Object.entries(options.keys)) {
    if (!/^[A-Za-z0-9_-]{1,64}$/.test(id)) {
      throw new RangeError(
        "Keyring: the id of a key must be 1 to 64 letters, digits, hyphens and underscores"
      )
    }
    const text = Redacted.value(secret)
    if (text.length < 32) {
      throw new RangeError(`Keyring: the key "${id}" must have at least 32 characters, got ${text.length}`)
    }
    secrets.set(id, utf8ToBytes(text))
  }
  return fromSecrets(deployment, options.active, secrets)
}

const fromSecrets = (
  deployment: string,
  active: string,
  secrets: ReadonlyMap<string, Uint8Array>
): Keyring["Service"] => {
  if (!secrets.has(active)) throw new RangeError(`Keyring: there is no key "${active}" to be the active one`)
  const derived = new Map<string, Uint8Array>()
  const key = (purpose: Purpose, id: string = active): Uint8Array | undefined => {
    const name = `${purpose}/${id}`
    let bytes = derived.get(name)
    if (bytes === undefined) {
      const secret = secrets.get(id)
      if (secret === undefined) return undefined
      bytes = hkdf(sha256, secret, utf8ToBytes(deployment), utf8ToBytes(`interlock/${purpose}`), 32)
      derived.set(name, bytes)
    }
    return bytes
  }
  // The active key is there: that was checked.
  return { deployment, active, key: key as Keyring["Service"]["key"] }
}

/** One random key that dies with the process. */
export const makeRandom = (): Keyring["Service"] =>
  fromSecrets("process", "process", new Map([["process", randomBytesUnsafe(32)]]))

export const layer = (options: Options): Layer.Layer<Keyring> => Layer.sync(Keyring, () => make(options))

/** A random keyring, for programs whose approvals and records need not outlive them. */
export const layerRandom: Layer.Layer<Keyring> = Layer.sync(Keyring, makeRandom)

/**
 * A keyring from `Config`: under the name a list of `id:secret` separated by
 * commas, of which the first is the active one; the deployment's name is under
 * `INTERLOCK_DEPLOYMENT`.
 */
export const config = (name: string): Config.Config<Options> =>
  Config.map(
    Config.all([
      Config.schema(Schema.Redacted(Keys), name),
      Config.withDefault(Config.schema(Schema.NonEmptyString, "INTERLOCK_DEPLOYMENT"), "default")
    ]),
    ([given, deployment]) => {
      const entries = Redacted.value(given).split(",").map(entryOf)
      return {
        deployment,
        active: entries[0]?.id ?? "",
        keys: Object.fromEntries(entries.map(({ id, secret }) => [id, Redacted.make(secret)]))
      }
    }
  )

const entryOf = (entry: string): { readonly id: string; readonly secret: string } => {
  const colon = entry.indexOf(":")
  return { id: entry.slice(0, colon).trim(), secret: entry.slice(colon + 1).trim() }
}

// Checked here, where the setting's name is known, and without showing any of it.
const Keys = Schema.String.check(
  Schema.makeFilter((text: string) => {
    const entries = text.split(",")
    if (!entries.every((entry) => /^\s*[A-Za-z0-9_-]{1,64}\s*:\s*\S.{30,}\S\s*$/.test(entry))) {
      return "must be a list of id:secret, each secret of at least 32 characters"
    }
    return new Set(entries.map((entry) => entryOf(entry).id)).size === entries.length
      ? undefined
      : "must name each key once"
  })
)
