/**
 * A process that exchanges, as fast as it can and until it is killed, a folder and
 * a file of a root for links that lead out, and back.
 */
import * as Fs from "node:fs"
import * as Path from "node:path"

const [root = "", outside = ""] = process.argv.slice(2)
const at = (name: string) => Path.join(root, name)

const quietly = (act: () => void): void => {
  try {
    act()
  } catch {
    // The other side removes and creates names, too.
  }
}

/** A link takes the place of the folder, for a moment. */
const folder = (name: string) => {
  quietly(() => Fs.renameSync(at(name), at(`${name}-aside`)))
  quietly(() => Fs.symlinkSync(outside, at(name)))
  quietly(() => Fs.unlinkSync(at(name)))
  quietly(() => Fs.renameSync(at(`${name}-aside`), at(name)))
}

/** A link, a second name of the file outside, and a file take each other's place in one step. */
const file = (name: string) => {
  quietly(() => Fs.symlinkSync(Path.join(outside, "plan.md"), at(`${name}-next`)))
  quietly(() => Fs.renameSync(at(`${name}-next`), at(name)))
  quietly(() => Fs.linkSync(Path.join(outside, "plan.md"), at(`${name}-next`)))
  quietly(() => Fs.renameSync(at(`${name}-next`), at(name)))
  quietly(() => Fs.writeFileSync(at(`${name}-next`), "inside"))
  quietly(() => Fs.renameSync(at(`${name}-next`), at(name)))
}

if (root !== "") {
  console.log("swapping")
  while (true) {
    folder("docs")
    file("file.txt")
  }
}
