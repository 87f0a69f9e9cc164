/** Variables of the environment in a configuration, and what of the environment a child process gets. Pure. */
import * as Result from "effect/Result"

export type Environment = Readonly<Record<string, string | undefined>>

const reference = /\$\{([^}]*)\}/g

/**
 * Puts variables in the place of `${NAME}`, `${env:NAME}` and `${NAME:-otherwise}`. A variable that is not set, and
 * anything else between the braces, is a problem that names it.
 */
export const expand = (text: string, environment: Environment): Result.Result<string, string> => {
  let problem: string | undefined
  const expanded = text.replace(reference, (_, inside: string) => {
    const [, name, otherwise] = /^(?:env:)?([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?$/s.exec(inside) ?? []
    if (name === undefined) {
      problem ??= `has \${${inside.slice(0, 40)}}, which is not the name of a variable`
      return ""
    }
    const value = Object.hasOwn(environment, name) ? environment[name] : undefined
    if (value !== undefined && (value !== "" || otherwise === undefined)) return value
    if (otherwise !== undefined) return otherwise
    problem ??= `needs the environment variable ${name}, which is not set`
    return ""
  })
  return problem === undefined ? Result.succeed(expanded) : Result.fail(problem)
}

/** What programs need to run at all, and what tells no secret. */
const always =
  process.platform === "win32"
    ? [
        ...["APPDATA", "COMSPEC", "HOMEDRIVE", "HOMEPATH", "LOCALAPPDATA", "PATH", "PATHEXT"],
        ...["PROCESSOR_ARCHITECTURE", "PROGRAMDATA", "PROGRAMFILES", "PROGRAMFILES(X86)", "PROGRAMW6432"],
        ...["SYSTEMDRIVE", "SYSTEMROOT", "TEMP", "TMP", "USERNAME", "USERPROFILE", "WINDIR"]
      ]
    : ["HOME", "LANG", "LC_ALL", "LC_CTYPE", "LOGNAME", "PATH", "SHELL", "TERM", "TMPDIR", "TZ", "USER"]

/** What every child process gets of an environment. */
export const inherited = (environment: Environment): Readonly<Record<string, string>> =>
  Object.fromEntries(
    Object.entries(environment).filter(
      (entry): entry is [string, string] =>
        // Windows does not mind the case of names; a value that begins so is a function of a shell.
        always.includes(process.platform === "win32" ? entry[0].toUpperCase() : entry[0]) &&
        entry[1] !== undefined &&
        !entry[1].startsWith("()")
    )
  )
