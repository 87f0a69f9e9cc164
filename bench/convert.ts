/** The one tool that every case calls, without any library: its types, its arguments, its handler, what must come of it. */
import { verify } from "./support.ts"

export interface Params {
  readonly amount: number
  readonly from: string
  readonly to: string
  readonly tags?: ReadonlyArray<string>
}

export interface Success {
  readonly amount: number
  readonly currency: string
}

export const params: Params = { amount: 100, from: "EUR", to: "USD" }
export const invalid: Params = { ...params, to: "dollars" }

export const convert = ({ amount, to }: Params): Success => ({ amount: amount * 1.1, currency: to })
export const answersAtOnce = async (given: Params): Promise<Success> => convert(given)

const expected = convert(params)
/** That a value is what the call should come to. */
export const check = (value: unknown): void => {
  const { amount, currency } = value as Success
  if (amount !== expected.amount || currency !== expected.currency) verify(false, JSON.stringify(value))
}
