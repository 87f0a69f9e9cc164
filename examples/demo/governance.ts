/** What this deployment allows: who is who, which rules hold, and when to leave a service alone. */
import { CircuitBreaker, Interlock, Principal } from "effect-interlock"

/** Whom a line may name in `"as"`. */
const people: ReadonlyArray<Principal.Principal> = [
  Principal.make({ id: "ada", roles: ["admin"] }),
  Principal.make({ id: "bob", roles: ["write"] }),
  Principal.make({ id: "eve", roles: ["read"] })
]

/** Somebody by name. Without one it is nobody in particular; a stranger has no role. */
export const principalOf = (name: string | undefined): Principal.Principal =>
  name === undefined
    ? Principal.anonymous
    : (people.find((person) => person.id === name) ?? Principal.make({ id: name }))

/** A new layer each time: its limits are unused and its circuits closed. */
export const governance = () =>
  Interlock.layer({
    policy: {
      deny: ["run_*"],
      requireConfirmation: ["send_*", "delete_*"],
      allowedDomains: ["example.com", "*.example.com"]
    },
    rateLimits: [
      {
        name: "40 calls a minute for readers",
        limit: 40,
        window: "1 minute",
        by: "principal",
        roles: ["read"]
      },
      { name: "20 pages a minute", limit: 20, window: "1 minute", tools: ["fetch_*"] }
    ],
    breaker: { trip: CircuitBreaker.consecutive(5), openFor: "1 second", growth: 2 },
    history: { keep: 10_000 }
  })
