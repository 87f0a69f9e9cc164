/**
 * The keys that seal identities and arguments: one per principal and day,
 * random, kept sealed beside the records under a random pseudonym. Who destroys
 * a key has forgotten what it sealed; that they are of a day lets what is older
 * be forgotten while the principal is still active.
 *
 * Names in the store: `key/<alias>` the sealed key; `who/<keyed hash of the
 * principal>/<alias>` which pseudonyms are a principal's; `generation` changes
 * whenever keys are destroyed, so that other processes let go of them too.
 */
import { hmac } from "@noble/hashes/hmac.js"
import { sha256 } from "@noble/hashes/sha2.js"
import { bytesToHex, utf8ToBytes } from "@noble/hashes/utils.js"
import { randomBytesUnsafe } from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import type { Keyring } from "../../Keyring.ts"
import { fromBase64Url, open, openWith, seal, sealWith, toBase64Url } from "../sealing.ts"
import type { PersonalPart, Who } from "./record.ts"
import type { AuditStore, AuditStoreError } from "./store.ts"

export interface PersonalKey {
  readonly alias: string
  readonly key: Uint8Array
}

const day = 86_400_000

/** When the last record that an alias seals may have happened, in milliseconds since the epoch. */
export const endOf = (alias: string): number => (Number.parseInt(alias, 10) + 1) * day

/** Keys remembered, for sealing and for opening each. */
const maxRemembered = 10_000

export const sealPersonal = ({ alias, key }: PersonalKey, personal: PersonalPart): string =>
  sealWith(key, JSON.stringify(personal), `audit/${alias}`)

export const openPersonal = ({ alias, key }: PersonalKey, sealed: string): PersonalPart | undefined => {
  const text = openWith(key, sealed, `audit/${alias}`)
  return text === undefined ? undefined : (JSON.parse(text) as PersonalPart)
}

export class Keys {
  readonly #store: AuditStore
  readonly #keyring: Keyring["Service"]
  readonly #sealing = new Map<string, PersonalKey>()
  readonly #opening = new Map<string, PersonalKey | undefined>()
  #generation: string | undefined
  #registered = false

  constructor(store: AuditStore, keyring: Keyring["Service"]) {
    this.#store = store
    this.#keyring = keyring
  }

  /** The key for a principal's records of a day, made when there is none. */
  sealing(who: Who, time: number): Effect.Effect<PersonalKey, AuditStoreError> {
    const today = Math.floor(time / day)
    const name = `${today} ${identify(who)}`
    const known = this.#sealing.get(name)
    return known !== undefined
      ? Effect.succeed(known)
      : Effect.map(this.#findOrMake(who, today), (key) => remember(this.#sealing, name, key))
  }

  #findOrMake = Effect.fnUntraced({ self: this }, function* (this: Keys, who: Who, today: number) {
    yield* this.#register()
    const prefix = this.#prefix(who, this.#keyring.active)!
    for (const name of yield* this.#store.names(`${prefix}${today}-`)) {
      const key = yield* this.opening(name.slice(prefix.length))
      if (key !== undefined) return key
    }
    const made = {
      alias: `${today}-${bytesToHex(randomBytesUnsafe(16))}`,
      key: randomBytesUnsafe(32)
    }
    const sealed = seal(this.#keyring, "audit-keys", toBase64Url(made.key), made.alias)
    yield* this.#store.put(`key/${made.alias}`, sealed)
    yield* this.#store.put(`${prefix}${made.alias}`, "")
    return made
  })

  /** The key of an alias; `undefined` where it was destroyed, or sealed with a key that is not in the keyring. */
  opening(alias: string): Effect.Effect<PersonalKey | undefined, AuditStoreError> {
    if (this.#opening.has(alias)) return Effect.succeed(this.#opening.get(alias))
    return Effect.map(this.#store.get(`key/${alias}`), (sealed) => {
      const text = sealed === undefined ? undefined : open(this.#keyring, "audit-keys", sealed, alias)
      const key = text === undefined ? undefined : fromBase64Url(text)
      return remember(this.#opening, alias, key === undefined ? undefined : { alias, key })
    })
  }

  /** The names of a principal's pseudonyms, under whichever key of the ring they were hashed, and the pseudonyms. */
  readonly aliasesOf = Effect.fnUntraced({ self: this }, function* (this: Keys, who: Who) {
    const found: Array<{ readonly name: string; readonly alias: string }> = []
    for (const id of yield* this.#keyIds()) {
      const prefix = this.#prefix(who, id)
      if (prefix === undefined) continue
      const names = yield* this.#store.names(prefix)
      found.push(...names.map((name) => ({ name, alias: name.slice(prefix.length) })))
    }
    return found
  })

  /** Every pseudonym whose key is kept. */
  get aliases(): Effect.Effect<ReadonlyArray<string>, AuditStoreError> {
    return Effect.map(this.#store.names("key/"), (names) => names.map((name) => name.slice("key/".length)))
  }

  /** The names by which the principals of some pseudonyms are found. */
  owners(aliases: ReadonlySet<string>): Effect.Effect<ReadonlyArray<string>, AuditStoreError> {
    return Effect.map(this.#store.names("who/"), (names) =>
      names.filter((name) => aliases.has(name.slice(name.lastIndexOf("/") + 1)))
    )
  }

  /** Removes names and destroys keys, and lets every process know. */
  destroy(aliases: Iterable<string>, names: ReadonlyArray<string>): Effect.Effect<void, AuditStoreError> {
    return Effect.suspend(() => {
      this.#forget()
      return Effect.andThen(
        this.#store.remove([...Array.from(aliases, (alias) => `key/${alias}`), ...names]),
        this.#store.put("generation", bytesToHex(randomBytesUnsafe(16)))
      )
    })
  }

  /** Lets go of what is remembered if any process has destroyed keys since. */
  get refresh(): Effect.Effect<boolean, AuditStoreError> {
    return Effect.map(this.#store.get("generation"), (generation) => {
      if (generation === this.#generation) return false
      this.#generation = generation
      this.#forget()
      return true
    })
  }

  #forget(): void {
    this.#sealing.clear()
    this.#opening.clear()
  }

  #prefix(who: Who, keyId: string): string | undefined {
    const key = this.#keyring.key("audit-keys", keyId)
    return key === undefined
      ? undefined
      : `who/${bytesToHex(hmac(sha256, key, utf8ToBytes(`who ${identify(who)}`)))}/`
  }

  /** Every key of the ring that pseudonyms were ever found by, so that they are found after a rotation. */
  #keyIds(): Effect.Effect<ReadonlyArray<string>, AuditStoreError> {
    return Effect.map(this.#store.get("key-ids"), (text) =>
      text === undefined || text === "" ? [] : text.split(",")
    )
  }

  #register(): Effect.Effect<void, AuditStoreError> {
    if (this.#registered) return Effect.void
    return Effect.flatMap(this.#keyIds(), (ids) => {
      const registered = Effect.sync(() => {
        this.#registered = true
      })
      return ids.includes(this.#keyring.active)
        ? registered
        : Effect.andThen(this.#store.put("key-ids", [...ids, this.#keyring.active].join(",")), registered)
    })
  }
}

/** Ids are unique within a tenant; the length keeps a tenant from running into an id. */
const identify = ({ principal, tenant }: Who): string =>
  `${tenant === undefined ? "" : `${tenant.length}:${tenant}`}|${principal === undefined ? "" : `=${principal}`}`

const remember = <A>(map: Map<string, A>, name: string, value: A): A => {
  // Half at a time, oldest first: what is in use is found again with one read.
  if (map.size >= maxRemembered) {
    for (const oldest of map.keys()) {
      if (map.size <= maxRemembered / 2) break
      map.delete(oldest)
    }
  }
  map.set(name, value)
  return value
}
