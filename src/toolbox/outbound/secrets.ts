/** How a credential is sent, and how it is kept out of what comes back. */
import * as Redacted from "effect/Redacted"
import type { Credential } from "../Credentials.ts"
import { violated } from "./targets.ts"

/** Whether the credential may be sent to this host. */
export const isFor = (credential: Credential, host: string): boolean =>
  violated({ allowedDomains: credential.hosts }, host) === undefined

type InQuery = Extract<Credential, { readonly type: "query" }>

/** The header that carries the credential; its name is in lower case. */
export const headerOf = (
  credential: Exclude<Credential, InQuery>
): { readonly name: string; readonly value: string } => {
  switch (credential.type) {
    case "bearer":
      return { name: "authorization", value: `Bearer ${Redacted.value(credential.token)}` }
    case "basic":
      return { name: "authorization", value: `Basic ${pairOf(credential)}` }
    case "header":
      return { name: credential.name.toLowerCase(), value: Redacted.value(credential.value) }
  }
}

/** The parameter that carries the credential, as it stands in a query. */
export const parameterOf = ({ name, value }: InQuery): string =>
  `${encodeURIComponent(name)}=${encodeURIComponent(Redacted.value(value))}`

const pairOf = ({ password, username }: Extract<Credential, { readonly type: "basic" }>): string =>
  Buffer.from(`${username}:${Redacted.value(password)}`, "utf8").toString("base64")

// --- Echoes ------------------------------------------------------------------

/** Shorter than this, a secret is also a word, and hiding it would tear texts apart. */
const shortest = 6

/** The ways in which a server may write the secret back. */
export const formsOf = (credential: Credential): ReadonlyArray<string> => {
  const secret = Redacted.value(
    credential.type === "bearer"
      ? credential.token
      : credential.type === "basic"
        ? credential.password
        : credential.value
  )
  const forms = [
    secret,
    encodeURIComponent(secret),
    new URLSearchParams([["", secret]]).toString().slice(1),
    JSON.stringify(secret).slice(1, -1),
    // Node reads the bytes of a header as Latin 1.
    Buffer.from(secret, "utf8").toString("latin1"),
    ...(credential.type === "basic" ? [pairOf(credential)] : [])
  ]
  // The longest first: a shorter one may be part of it.
  return [...new Set(forms)].filter((form) => form.length >= shortest).sort((a, b) => b.length - a.length)
}

const mask = "<redacted>"

/** A text without the secret. */
export const hidden = (forms: ReadonlyArray<string>, text: string): string =>
  forms.reduce((shown, form) => shown.replaceAll(form, mask), text)

/** Bytes without the secret. */
export const hiddenBytes = (forms: ReadonlyArray<string>, bytes: Uint8Array): Uint8Array => {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (!forms.some((form) => buffer.includes(form))) return bytes
  // Latin 1 keeps every byte as it is; the forms are read as the bytes that they are.
  const forBytes = forms.map((form) => Buffer.from(form, "utf8").toString("latin1"))
  return new Uint8Array(Buffer.from(hidden(forBytes, buffer.toString("latin1")), "latin1"))
}
