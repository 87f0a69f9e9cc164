/** Certificates for tests: an authority of its own, and what it says of this machine's loopback. */
import { execFileSync } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"

export interface Certificates {
  readonly ca: string
  readonly key: string
  readonly cert: string
}

/** Made anew: nothing that lies in the repository could expire, or be trusted elsewhere. */
export const certificates = (names = "DNS:localhost,IP:127.0.0.1"): Certificates => {
  const folder = mkdtempSync(join(tmpdir(), "interlock-certificates-"))
  const file = (name: string) => join(folder, name)
  const openssl = (...args: ReadonlyArray<string>) => execFileSync("openssl", args, { stdio: "pipe" })
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
  try {
    openssl(
      "req",
      "-x509",
      ...key,
      "-keyout",
      file("ca.key"),
      "-out",
      file("ca.pem"),
      "-days",
      "2",
      "-subj",
      "/CN=test authority"
    )
    openssl("req", ...key, "-keyout", file("key.pem"), "-out", file("request.pem"), "-subj", "/CN=loopback")
    writeFileSync(file("names"), `subjectAltName=${names}\n`)
    openssl(
      "x509",
      "-req",
      "-in",
      file("request.pem"),
      "-CA",
      file("ca.pem"),
      "-CAkey",
      file("ca.key"),
      "-out",
      file("cert.pem"),
      "-days",
      "2",
      "-extfile",
      file("names")
    )
    const read = (name: string) => readFileSync(file(name), "utf8")
    return { ca: read("ca.pem"), key: read("key.pem"), cert: read("cert.pem") }
  } finally {
    rmSync(folder, { recursive: true })
  }
}
