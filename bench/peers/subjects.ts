/** How the peers' calls become subjects. */
import { readFileSync } from "node:fs"
import { pool, type Refusal, type Refused, type Subject, verify } from "../support.ts"

/** A call that gives a promise, over and over. */
export const awaited = <A>(name: string, call: () => Promise<A>, checked: (value: A) => void): Subject => ({
  name,
  times: async (count, each) => {
    for (let n = 0; n < count; n++) {
      checked(await call())
      each?.()
    }
  },
  concurrently: pool(async () => checked(await call()))
})

/** A call that is refused, over and over. */
export const refusing = (
  name: string,
  kind: Refusal,
  status: string,
  call: () => Promise<{ readonly status: string }>
): Refused => ({
  kind,
  subject: awaited(`${name}, ${kind}`, call, (result) => {
    if (result.status !== status) verify(false, `${name}, ${kind}: ${result.status}`)
  })
})

/** The installed version of a package. */
export const versionOf = (name: string): string => {
  const manifest = new URL(`../node_modules/${name}/package.json`, import.meta.url)
  const { version }: { readonly version: string } = JSON.parse(readFileSync(manifest, "utf8"))
  return version
}
