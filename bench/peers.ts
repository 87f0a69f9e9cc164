/**
 * What Interlock is compared with. The peers have a folder of their own, `bench/peers`, and packages of their own, which
 * are installed beside it when they are first needed.
 */
import { spawnSync } from "node:child_process"
import { copyFileSync, existsSync, readFileSync } from "node:fs"
import { join } from "node:path"
import type { Peer, Subject } from "./support.ts"

const here = import.meta.dirname
/** Written after an installation: the lock that was installed. */
const installed = join(here, "node_modules/.installed")
const lock = join(here, "package-lock.json")

const isInstalled = (): boolean =>
  existsSync(installed) && readFileSync(installed, "utf8") === readFileSync(lock, "utf8")

/** Installs the peers' packages as they are locked, unless they are; why not, when that fails. */
export const install = (): string | undefined => {
  if (isInstalled()) return undefined
  const npm = ["ci", "--prefix", here, "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
  const { error, status } = spawnSync("npm", npm, { stdio: ["ignore", 2, 2], timeout: 180_000 })
  if (status !== 0) return `npm ${npm.join(" ")} ended with ${error?.message ?? status}`
  copyFileSync(lock, installed)
  return undefined
}

/** The packages that were compared with, each with its version. */
export const versions = (): ReadonlyArray<string> => {
  const { dependencies }: { readonly dependencies: Readonly<Record<string, string>> } = JSON.parse(
    readFileSync(join(here, "package.json"), "utf8")
  )
  return Object.keys(dependencies).flatMap((name) => {
    const manifest = join(here, "node_modules", name, "package.json")
    return existsSync(manifest) ? [`${name} ${JSON.parse(readFileSync(manifest, "utf8")).version}`] : []
  })
}

export const peerNames = {
  handWritten: "hand-written JavaScript",
  cockatiel: "cockatiel + zod",
  langGraph: "LangGraph",
  aiSdk: "AI SDK"
}
export type PeerName = keyof typeof peerNames

/** A peer, or one that can do nothing where its packages are not installed. */
export const load = async (name: PeerName): Promise<Peer> => {
  if (name !== "handWritten" && !isInstalled()) return {}
  return import(new URL(`peers/${name}.ts`, import.meta.url).href)
}

/** Something of each peer that has it, by the peers' names. */
export const peerSubjects = async (
  pick: (peer: Peer, name: PeerName) => Promise<Subject | undefined> | undefined
): Promise<{ readonly [Name in PeerName]?: Subject }> => {
  const found: { [Name in PeerName]?: Subject } = {}
  for (const name of Object.keys(peerNames) as Array<PeerName>) {
    const subject = await pick(await load(name), name)
    if (subject !== undefined) found[name] = subject
  }
  return found
}
