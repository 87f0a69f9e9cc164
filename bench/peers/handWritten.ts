/** Hand-written JavaScript that makes the same checks. */
import { answersAtOnce, check, invalid, params } from "../convert.ts"
import { Crowd, type FailFast, type Refused, type Subject, verify } from "../support.ts"
import { Governor } from "./governor.ts"
import { caller, type Policy, usual } from "./limits.ts"
import type { Result } from "./models.ts"
import { awaited, refusing } from "./subjects.ts"

/** It has no package: the version is that of what runs it. */
export const version = process.versions.node
const name = "hand-written JavaScript"

const make = (policy: Partial<Policy> = {}): Governor =>
  new Governor({ ...usual, ...policy }, [
    { name: "convert", handler: answersAtOnce },
    { name: "delete_rates", handler: answersAtOnce },
    { name: "broken", retries: 0, handler: () => Promise.reject(new Error("broken")) }
  ])

const checked = (result: Result): void => {
  if (result.status === "success") check(result.value)
  else verify(false, `${name}: ${result.status}`)
}

export const call = async (): Promise<Subject> => {
  const governor = make()
  return awaited(name, () => governor.call("convert", params, caller), checked)
}

export const refused = async (): Promise<ReadonlyArray<Refused>> => {
  const usually = make()
  const limited = make({ perHour: 1 })
  checked(await limited.call("convert", params, caller))
  const open = make()
  for (let n = 0; n < 5; n++) await open.call("broken", params, caller)
  return [
    refusing(name, "invalid", "invalid_params", () => usually.call("convert", invalid, caller)),
    refusing(name, "denied", "policy_denied", () => usually.call("delete_rates", params, caller)),
    refusing(name, "limited", "rate_limited", () => limited.call("convert", params, caller)),
    refusing(name, "open", "circuit_open", () => open.call("broken", params, caller))
  ]
}

export const batch = async (): Promise<Subject> => {
  const subject = await call()
  return { name: `${name}, pool of 64`, times: (count) => subject.concurrently!(count, 64) }
}

/** Abort controllers wired by hand around the bare handlers. */
export const failFast = async (size: number): Promise<FailFast> => {
  const crowd = new Crowd(size)
  const controller = new AbortController()
  const works = Array.from({ length: size }, (_, index) => crowd.work(index, controller.signal))
  await Promise.all(works).catch((error) => controller.abort(error))
  return crowd.told()
}
