/** What is dear to make and seldom needed, so that importing the package does not pay for it. */

/** A value that is made when it is first asked for. */
export const lazily = <A extends object>(make: () => A): (() => A) => {
  let made: A | undefined
  return () => {
    made ??= make()
    return made
  }
}

/**
 * A pattern that is compiled when it is first asked for, for those with large classes of Unicode. It is given as text,
 * because V8 compiles every literal while it reads the module, also inside of functions, and once more when it makes
 * it: each time 0.1 to 1 ms for a pattern with a few `\p{…}`.
 */
export const pattern = (source: string, flags: string): (() => RegExp) =>
  lazily(() => new RegExp(source, flags))
