/**
 * What may be offered of a server's tools, by what was accepted of them and what
 * the server says now. Pure.
 *
 * - What is pinned and is still the same is offered, as it was accepted.
 * - What is pinned and is another now is refused until somebody accepts it: a
 *   server that turns on its users ("rug pull") reaches none of them.
 * - What came after the first use is new, and not offered until it is accepted.
 * - On first use everything is accepted but what has text that speaks to a
 *   model, unless nothing may be accepted without somebody saying so.
 */
import { isDeepStrictEqual } from "node:util"
import type { Pin } from "../Pins.ts"
import type { Definition, Listing, Tool } from "./definitions.ts"

/** A tool whose definition is another than the accepted one, and in which fields. */
export interface Changed {
  readonly tool: string
  readonly fields: ReadonlyArray<string>
  readonly accepted: Definition
  /** What the server says now; `undefined` where that cannot be used at all. */
  readonly offered: Definition | undefined
}

/** A tool that nobody has accepted, and what of its text speaks to a model. */
export interface Unaccepted {
  readonly tool: string
  readonly findings: ReadonlyArray<string>
  readonly offered: Definition
}

/** Accepted tools by name. */
type Pins = ReadonlyMap<string, Pin>

export interface Standing {
  readonly usable: ReadonlyMap<string, Pin>
  readonly changed: ReadonlyArray<Changed>
  readonly unaccepted: ReadonlyArray<Unaccepted>
  /** Accepted, and not there any more. */
  readonly missing: ReadonlyArray<string>
}

/** What is accepted without asking: on first use only. */
export const firstUse = ({ tools }: Listing): Pins =>
  pinsOf([...tools.values()].filter(({ findings }) => findings.length === 0))

/** The pins with what the server says now in the place of what it said before: of these tools, or of all. */
export const accept = (
  pins: Pins | undefined,
  { tools }: Listing,
  names: ReadonlyArray<string> | undefined
): Pins =>
  names === undefined
    ? pinsOf([...tools.values()])
    : new Map([
        ...[...(pins ?? [])].filter(([name]) => !names.includes(name)),
        ...pinsOf(names.flatMap((name) => tools.get(name) ?? []))
      ])

const pinsOf = (tools: ReadonlyArray<Tool>): Pins =>
  new Map(tools.map(({ definition, digest }) => [definition.name, { definition, digest }]))

/** Compares what was accepted with what the server says now. */
export const compare = (pins: Pins, { skipped, tools }: Listing): Standing => {
  const unusable = new Set(skipped.map(({ tool }) => tool))
  const usable = new Map<string, Pin>()
  const changed: Array<Changed> = []
  const missing: Array<string> = []
  for (const [name, pin] of pins) {
    const now = tools.get(name)
    if (now?.digest === pin.digest) usable.set(name, pin)
    else if (now === undefined && !unusable.has(name)) missing.push(name)
    else {
      const offered = now?.definition
      const fields = offered === undefined ? ["definition"] : fieldsThatDiffer(pin.definition, offered)
      changed.push({ tool: name, fields, accepted: pin.definition, offered })
    }
  }
  const unaccepted = [...tools.values()]
    .filter(({ definition }) => !pins.has(definition.name))
    .map(({ definition, findings }) => ({ tool: definition.name, findings, offered: definition }))
  return { usable, changed, unaccepted, missing }
}

const fieldsThatDiffer = (before: Definition, after: Definition): ReadonlyArray<string> =>
  [...new Set([...Object.keys(before), ...Object.keys(after)])]
    .filter(
      (field) => !isDeepStrictEqual(before[field as keyof Definition], after[field as keyof Definition])
    )
    .sort()
