/**
 * Something else happens just before the n-th call of the file system: whatever
 * lies between two calls of an operation is a moment at which somebody may
 * exchange what it works on, and there are no other moments.
 */
import Fs from "node:fs/promises"
import { syncBuiltinESMExports } from "node:module"

const functions = [
  "open",
  "lstat",
  "stat",
  "realpath",
  "readlink",
  "opendir",
  "mkdir",
  "link",
  "rename",
  "unlink",
  "rmdir"
] as const
const ofHandles = ["stat", "read", "writeFile", "chmod", "sync"] as const

type Any = (...args: Array<unknown>) => unknown

const replace = (object: object, name: string, before: () => void): (() => void) => {
  const methods = object as Record<string, Any>
  const original = methods[name]!
  methods[name] = function (this: unknown, ...args) {
    before()
    return original.apply(this, args)
  }
  return () => {
    methods[name] = original
  }
}

/** Runs something, and `before` in front of each of its calls with its number, from 1; how many there were. */
export const interposed = async (
  run: () => Promise<unknown>,
  before: (call: number) => void
): Promise<number> => {
  const handle = await Fs.open("/", "r")
  const handles = Object.getPrototypeOf(handle) as object
  await handle.close()
  let calls = 0
  let failed: unknown
  const count = () => {
    try {
      before(++calls)
    } catch (error) {
      // It is no answer to what is called.
      failed ??= error
    }
  }
  const restore = [
    ...functions.map((name) => replace(Fs, name, count)),
    ...ofHandles.map((name) => replace(handles, name, count))
  ]
  syncBuiltinESMExports()
  try {
    await run()
  } finally {
    for (const undo of restore) undo()
    syncBuiltinESMExports()
  }
  if (failed !== undefined) throw failed
  return calls
}
