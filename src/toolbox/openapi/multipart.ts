/** `multipart/form-data`, as RFC 7578 and browsers write it. */

export interface Part {
  readonly name: string
  readonly filename?: string
  readonly type?: string
  readonly bytes: string | Uint8Array
}

/**
 * The body and its media type, which says what separates the parts: a number from the seed on that none of
 * them holds.
 */
export const write = (
  parts: ReadonlyArray<Part>,
  seed: number
): { readonly type: string; readonly bytes: Uint8Array } => {
  const chunks = parts.map((part) =>
    Buffer.concat([Buffer.from(`${headOf(part)}\r\n`), Buffer.from(part.bytes)])
  )
  const boundary = boundaryFor(chunks, seed)
  const bytes = Buffer.concat([
    ...chunks.flatMap((chunk) => [Buffer.from(`--${boundary}\r\n`), chunk, Buffer.from("\r\n")]),
    Buffer.from(`--${boundary}--\r\n`)
  ])
  return { type: `multipart/form-data; boundary=${boundary}`, bytes: new Uint8Array(bytes) }
}

const headOf = ({ filename, name, type }: Part): string =>
  `Content-Disposition: form-data; name="${quoted(name)}"${filename === undefined ? "" : `; filename="${quoted(filename)}"`}\r\n${
    type === undefined ? "" : `Content-Type: ${type}\r\n`
  }`

/** What would end the name or its line is escaped as WHATWG's forms do. */
const quoted = (text: string): string =>
  text.replace(/[\r\n"\0]/g, (character) => encodeURIComponent(character))

/** Whoever wrote the parts does not know the seed, so cannot have written many boundaries into them. */
const boundaryFor = (chunks: ReadonlyArray<Buffer>, seed: number): string => {
  let n = Math.abs(Math.trunc(seed))
  while (chunks.some((chunk) => chunk.includes(`interlock-${n}`))) n++
  return `interlock-${n}`
}
