/**
 * A value that nobody can print by mistake.
 *
 * To the compiler it is a branded `symbol`, which template literals, `+`,
 * spreads and every parameter of type `string` refuse. What takes
 * anything (`console.log`, `JSON.stringify`, `Effect.log`) cannot be made to
 * refuse it: there it prints as `<raw>`, and so does everything that holds it.
 *
 * A call carries its arguments as such a value from its door to its handler:
 * who looks into them says `read`, and is in the list of `internal/sinks.ts`.
 */
import { symbolRedactable } from "effect/Redactable"

declare const brand: unique symbol

export type Raw = symbol & { readonly [brand]: "Raw" }

const shown = "<raw>"

class Holder {
  readonly #value: unknown

  constructor(value: unknown) {
    this.#value = value
  }

  static read(holder: Holder): unknown {
    return holder.#value
  }

  static has(value: unknown): value is Holder {
    return typeof value === "object" && value !== null && #value in value
  }

  toString(): string {
    return shown
  }

  toJSON(): string {
    return shown
  }

  [Symbol.toPrimitive](): string {
    return shown
  }

  [Symbol.for("nodejs.util.inspect.custom")](): string {
    return shown
  }

  [symbolRedactable](): string {
    return shown
  }
}

export const of = (value: unknown): Raw => new Holder(value) as unknown as Raw

export const nothing: Raw = of(undefined)

/** The value itself: whoever calls this answers for where it goes. */
export const read = (raw: Raw): unknown => Holder.read(raw as unknown as Holder)

export const isRaw = (value: unknown): value is Raw => Holder.has(value)
