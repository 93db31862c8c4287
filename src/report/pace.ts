/** Work done this long ago counts for 1/e, in seconds: long enough for a few large matrices. */
const MEMORY = 20
/** Before so many seconds nothing is said of the time that is left. */
const LEAST_ELAPSED = 1

/** How fast work goes, from when its parts were done. Times in seconds. */
export interface Pace {
  /** So much work of one more item is done at `now`. */
  step(work: number, now: number): void
  /** Work a second, of late; undefined at first. */
  workRate(now: number): number | undefined
  /** Items a second, of late; undefined at first. */
  itemRate(now: number): number | undefined
  /** How long `work` will take; undefined at first. Shrinks between steps, and grows when the next one is late. */
  secondsLeft(work: number, now: number): number | undefined
}

export function createPace(start: number): Pace {
  // sums in which what is long ago counts for less
  let [work, items, seconds] = [0, 0, 0]
  let last = start

  function step(done: number, now: number): void {
    const sinceLast = now - last
    const fading = Math.exp(-sinceLast / MEMORY)
    work = work * fading + done
    items = items * fading + 1
    seconds = seconds * fading + sinceLast
    last = now
  }

  /** The seconds for the work so far, with the time by which the next step is late. */
  function spent(now: number): number {
    return seconds + Math.max(0, now - last - seconds / items)
  }

  const isKnown = (now: number) => work > 0 && spent(now) > 0 && now - start >= LEAST_ELAPSED
  return {
    step,
    workRate: (now) => (isKnown(now) ? work / spent(now) : undefined),
    itemRate: (now) => (isKnown(now) ? items / spent(now) : undefined),
    secondsLeft(left, now) {
      if (!isKnown(now)) return undefined
      const alreadySpent = Math.min(now - last, seconds / items)
      return Math.max(0, (left * spent(now)) / work - alreadySpent)
    },
  }
}
