/**
 * Sealing and signing with a keyring: what is kept to be read later by those
 * who have the key, and what proves who made it. Synchronous, so that it can be
 * done wherever it is needed.
 */
import { hmac } from "@noble/hashes/hmac.js"
import { sha256 } from "@noble/hashes/sha2.js"
import { concatBytes, utf8ToBytes } from "@noble/hashes/utils.js"
import * as Aead from "effect/crypto/Aead"
import { timingSafeEqual } from "effect/crypto/Mac"
import { randomBytesUnsafe } from "effect/crypto/SecureRandom"
import * as Base64Url from "effect/encoding/Base64Url"
import * as Result from "effect/Result"
import type { Keyring, Purpose } from "../Keyring.ts"

// Random nonces of 24 bytes never meet; the algorithm's code is Effect's own and waits for nothing.
const { implementation, nonceLength } = Aead.xchacha20Poly1305
const cipher = implementation as Aead.Implementation

/** Encrypts text; `context` must be given again to open it. Base64url: the nonce, then the sealed bytes. */
export const sealWith = (key: Uint8Array, text: string, context: string): string => {
  const nonce = randomBytesUnsafe(nonceLength)
  const sealed = cipher.encrypt(key, nonce, utf8ToBytes(text), utf8ToBytes(context))
  return toBase64Url(concatBytes(nonce, sealed))
}

/** `undefined` where the key or the context is another, or anything was changed. */
export const openWith = (key: Uint8Array, sealed: string, context: string): string | undefined => {
  const bytes = fromBase64Url(sealed)
  if (bytes === undefined || bytes.length < nonceLength + 16) return undefined
  const nonce = bytes.subarray(0, nonceLength)
  const opened = cipher.decrypt(key, nonce, bytes.subarray(nonceLength), utf8ToBytes(context))
  return opened === undefined ? undefined : new TextDecoder().decode(opened)
}

/** Seals with the keyring's active key, whose id is the first part. */
export const seal = (keyring: Keyring["Service"], purpose: Purpose, text: string, context: string): string =>
  `${keyring.active}.${sealWith(keyring.key(purpose), text, `${purpose}/${context}`)}`

/** Opens with whichever key of the ring sealed it. */
export const open = (
  keyring: Keyring["Service"],
  purpose: Purpose,
  sealed: string,
  context: string
): string | undefined => {
  const dot = sealed.indexOf(".")
  const key = dot < 0 ? undefined : keyring.key(purpose, sealed.slice(0, dot))
  return key === undefined ? undefined : openWith(key, sealed.slice(dot + 1), `${purpose}/${context}`)
}

/** HMAC-SHA-256 as base64url. */
export const mac = (key: Uint8Array, text: string): string =>
  toBase64Url(hmac(sha256, key, utf8ToBytes(text)))

/** Whether two macs are the same, in time that does not tell where they differ. */
export const sameMac = (a: string, b: string): boolean => timingSafeEqual(utf8ToBytes(a), utf8ToBytes(b))

/** A text that nobody guesses, and that nobody else has. */
export const randomId = (): string => toBase64Url(randomBytesUnsafe(16))

export const toBase64Url: (bytes: Uint8Array) => string = Base64Url.encode

/** `undefined` for what is none, and for another spelling of it, so that what was signed as text cannot be respelled. */
export const fromBase64Url = (text: string): Uint8Array | undefined => {
  const bytes = Result.getOrUndefined(Base64Url.decode(text))
  return bytes !== undefined && toBase64Url(bytes) === text ? bytes : undefined
}
