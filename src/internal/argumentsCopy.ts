/**
 * A copy of arguments that nobody outside of the call can change or see through.
 *
 * What is hashed, shown to a human, decoded and run is read from this one copy.
 * Else an object of a caller in this process could say one thing as JSON and
 * another to the decoder (`toJSON`, hidden properties, a proxy), or be changed
 * after a human has seen it.
 */

/** Of what was found to be JSON: own visible values only. What JSON cannot say is left out; it has one zero. */
export const copyOf = (value: unknown): unknown => {
  switch (typeof value) {
    case "string":
    case "boolean":
      return value
    case "number":
      return value === 0 ? 0 : value
    case "object": {
      if (value === null) return null
      if (Array.isArray(value)) {
        const items: Array<unknown> = []
        for (let i = 0; i < value.length; i++) items.push(copyOf(value[i]) ?? null)
        return items
      }
      const copy: Record<string, unknown> = {}
      for (const key of Object.keys(value)) {
        const part = copyOf((value as Record<string, unknown>)[key])
        // Assigned, this name would be the prototype.
        if (part !== undefined && key !== "__proto__") copy[key] = part
      }
      return copy
    }
    default:
      return undefined
  }
}
