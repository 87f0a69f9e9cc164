/** Packages that only some need: loaded where a layer that uses one is built, and named where one is missing. */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

/** A package that this use needs is not installed. */
export class PackageMissing extends Schema.TaggedError<PackageMissing>("interlock/PackageMissing")(
  "PackageMissing",
  { package: Schema.String, neededBy: Schema.String }
) {
  override get message(): string {
    return `${this.neededBy} needs the package "${this.package}", which is not installed: npm install ${this.package}`
  }
}

/** What a package exports. One that is there and cannot be loaded is a defect. */
export const load = <A>(
  name: string,
  neededBy: string,
  loading: () => Promise<A>
): Effect.Effect<A, PackageMissing> =>
  Effect.catch(Effect.tryPromise({ try: loading, catch: (error) => error }), (error) =>
    isMissing(error, name) ? Effect.fail(new PackageMissing({ package: name, neededBy })) : Effect.die(error)
  )

// A dependency of the package that is missing is something else, and has another name.
const isMissing = (error: unknown, name: string): boolean =>
  error instanceof Error &&
  "code" in error &&
  error.code === "ERR_MODULE_NOT_FOUND" &&
  error.message.includes(`'${name}'`)
