/**
 * How much tools may add to their roots: the sum of what they write and delete,
 * in blocks of 4 KiB as disks count, so that empty files and folders are not free.
 */
const block = 4_096

/** What something of so many bytes takes on the disk. */
export const blocksOf = (bytes: number): number => Math.max(1, Math.ceil(bytes / block)) * block

export class Quota {
  readonly limit: number
  /** By how many bytes the roots have grown; negative where more was deleted than written. */
  #grown = 0

  constructor(limit: number) {
    this.limit = limit
  }

  /** Takes so many bytes if they are there, before anything is written. Giving back is taking less than none. */
  take(bytes: number): boolean {
    if (bytes > 0 && this.#grown + bytes > this.limit) return false
    this.#grown += bytes
    return true
  }
}
