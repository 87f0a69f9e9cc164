/** What the two peers that govern have in common: the tools they know, and the calls that are made to them. */
import { answersAtOnce, check, invalid, params } from "../convert.ts"
import { type Refused, type Subject, verify } from "../support.ts"
import { caller, type Policy, type Principal, usual } from "./limits.ts"
import type { Result, ToolOptions } from "./models.ts"
import { awaited, refusing } from "./subjects.ts"

interface Governor {
  readonly call: (name: string, raw: unknown, principal: Principal) => Promise<Result>
}

export const governed = (
  name: string,
  Governor: new (policy: Policy, tools: ReadonlyArray<ToolOptions>) => Governor
) => {
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
  const call = async (): Promise<Subject> => {
    const governor = make()
    return awaited(name, () => governor.call("convert", params, caller), checked)
  }
  const refused = async (): Promise<ReadonlyArray<Refused>> => {
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
  const batch = async (): Promise<Subject> => {
    const subject = await call()
    return { name: `${name}, pool of 64`, times: (count) => subject.concurrently!(count, 64) }
  }
  return { call, refused, batch }
}
