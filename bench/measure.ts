/**
 * Measures subjects beside one another, in rounds that take turns, so that whatever else the machine does meets all of
 * them alike. Each subject does as many calls in a round as fit in its time; the order is another in every round.
 */
import { getHeapStatistics } from "node:v8"
import { median, quantile, type Subject } from "./support.ts"

export interface Options {
  /** 9. */
  readonly rounds?: number
  /** How long a subject's round takes, in milliseconds; 60. */
  readonly roundMillis?: number
  /** How long a subject is warmed up; 400. */
  readonly warmUpMillis?: number
  /** Calls in every round, instead of as many as fit. */
  readonly count?: number
  /** So many at once, of those subjects that can; one after the other by default. */
  readonly atOnce?: number
  /** Whether to take the time of each call, in further rounds; `true`. */
  readonly laps?: boolean
}

/** Medians over rounds, per call. */
export interface Measured {
  readonly name: string
  /** Of CPU, all threads of the process: what collects garbage and compiles is part of what a call costs. */
  readonly micros: number
  /** The same in each round, for comparing what was measured at about the same time. */
  readonly rounds: ReadonlyArray<number>
  /** The middle half of the rounds, as a part of the median. */
  readonly spread: number
  readonly perSecond: number
  /** Allocated on the heap. */
  readonly bytes: number
  /** Wall time in microseconds; not a number where it was not measured. */
  readonly p50: number
  readonly p99: number
}

export interface Measurement<Key extends string> {
  readonly results: ReadonlyMap<Key, Measured>
  /** Subjects that did not do what they should; they have no results. */
  readonly wrong: ReadonlyArray<string>
}

interface Lane<Key> {
  readonly key: Key
  readonly subject: Subject
  readonly work: (count: number, each?: (millis: number) => void) => Promise<void>
  readonly micros: Array<number>
  readonly seconds: Array<number>
  readonly bytes: Array<number>
  readonly laps: Array<number>
  /** Calls in a round. */
  count: number
  /** Milliseconds for which it has been warmed up. */
  warm: number
  /** Milliseconds that a call took at least, on average of a round. */
  fastest: number
}

/** Measures what there is; a subject that is `undefined` is left out. */
export const measure = async <Key extends string>(
  subjects: { readonly [K in Key]?: Subject | undefined },
  options: Options = {}
): Promise<Measurement<Key>> => {
  const { rounds = 9, roundMillis = 60, warmUpMillis = 400, laps = true } = options
  const wrong: Array<string> = []
  let lanes: ReadonlyArray<Lane<Key>> = Object.entries<Subject | undefined>(subjects).flatMap(
    ([key, subject]) => (subject === undefined ? [] : laneOf(key as Key, subject, options.atOnce))
  )
  /** Lets every lane do something, the first of the round being another each time; drops those that fail. */
  const round = async (turn: number, doIt: (lane: Lane<Key>) => Promise<void>) => {
    const first = turn % Math.max(1, lanes.length)
    for (const lane of [...lanes.slice(first), ...lanes.slice(0, first)]) {
      try {
        await doIt(lane)
      } catch (error) {
        lanes = lanes.filter((other) => other !== lane)
        wrong.push(`${lane.subject.name}: ${error instanceof Error ? error.message : JSON.stringify(error)}`)
      }
    }
  }
  // In turns too, so that no subject finds the code that all of them share made for it alone.
  for (let turn = 0; lanes.some(({ warm }) => warm < warmUpMillis); turn++) {
    await round(turn, async (lane) => {
      // Who takes long for its calls need not wait for the others with more of them.
      if (lane.warm < 4 * warmUpMillis) await warmUp(lane, options.count, roundMillis)
    })
  }
  for (let turn = 0; turn < rounds; turn++) await round(turn, takeCosts)
  for (let turn = 0; laps && turn < 3; turn++) await round(turn, takeLaps)
  return { results: new Map(lanes.map((lane) => [lane.key, resultOf(lane)])), wrong }
}

const laneOf = <Key>(key: Key, subject: Subject, atOnce: number | undefined): ReadonlyArray<Lane<Key>> => {
  const { concurrently } = subject
  const base = {
    key,
    subject,
    micros: [],
    seconds: [],
    bytes: [],
    laps: [],
    count: 1,
    warm: 0,
    fastest: Number.POSITIVE_INFINITY
  }
  if (atOnce === undefined) return [{ ...base, work: lapped(subject) }]
  if (concurrently === undefined) return []
  return [{ ...base, work: (count, took) => concurrently(count, atOnce, took) }]
}

/** One after the other, timed by what lies between two ends; a subject that does not tell of them is asked for one at a time. */
const lapped =
  (subject: Subject): Lane<unknown>["work"] =>
  async (count, took) => {
    if (took === undefined) return subject.times(count)
    let laps = 0
    let last = performance.now()
    const each = () => {
      const now = performance.now()
      took(now - last)
      last = now
      laps++
    }
    await subject.times(count, each)
    if (laps > 0) return
    last = performance.now()
    for (let n = 0; n < count; n++) {
      await subject.times(1)
      each()
    }
  }

/** Does a round, and finds out how many calls the next one has: up to twice as many, as they fit when nothing disturbs. */
const warmUp = async (lane: Lane<unknown>, fixed: number | undefined, roundMillis: number): Promise<void> => {
  const count = fixed ?? lane.count
  const from = performance.now()
  await lane.work(count)
  const took = performance.now() - from
  lane.warm += took
  lane.fastest = Math.min(lane.fastest, took / count)
  lane.count = fixed ?? Math.max(1, Math.min(count * 2, Math.round(roundMillis / lane.fastest)))
}

const takeCosts = async ({ bytes, count, micros, seconds, work }: Lane<unknown>): Promise<void> => {
  // What V8 has allocated since it started: exact to some 100 KB, which a round's many calls share.
  const allocated = getHeapStatistics().total_allocated_bytes
  const cpu = process.cpuUsage()
  const from = performance.now()
  await work(count)
  const took = performance.now() - from
  const { system, user } = process.cpuUsage(cpu)
  bytes.push((getHeapStatistics().total_allocated_bytes - allocated) / count)
  micros.push((user + system) / count)
  seconds.push(took / 1000 / count)
}

// In rounds of their own, since looking at the clock costs as much as a fast call.
const takeLaps = async ({ count, laps, work }: Lane<unknown>): Promise<void> => {
  await work(Math.min(count, 5000), (millis) => laps.push(millis * 1000))
}

const resultOf = ({ bytes, laps, micros, seconds, subject }: Lane<unknown>): Measured => ({
  name: subject.name,
  micros: median(micros),
  rounds: micros,
  spread: (quantile(micros, 0.75) - quantile(micros, 0.25)) / median(micros),
  perSecond: 1 / median(seconds),
  bytes: median(bytes),
  p50: quantile(laps, 0.5),
  p99: quantile(laps, 0.99)
})
