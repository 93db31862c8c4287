import type { NoiseFloor } from './noise-floor.ts'

/**
 * How far the spectrum of a delta lowers its noise floor. What the dtypes say counts half a unit for every entry; where the base
 * was exact, or most entries did not move, far less of the delta is rounding. Errors can't hold more than what is left of
 * ‖Δ‖_F² once the directions that stand above the floor are taken away, so the floor is found again for that, until no more
 * directions stand above it: the threshold λ(β)·√n·σ of Gavish & Donoho (IEEE Transactions on Information Theory 60 (2014)
 * 5040, eq. 11), with σ from what is left, and for errors spread as unevenly as `spread` says in place of white ones.
 */

/** What is known of the singular values σ of a delta. */
export interface KnownDelta {
  readonly rows: number
  readonly columns: number
  /** ‖Δ‖_F². */
  readonly energy: number
  /** How many σ exceed the floor. */
  above(floor: number): number
  /** Σ_{i>r} σ_i². */
  tail(r: number): number
}

/** A delta is held in float32: its own rounding, relative to ‖Δ‖_F², is never less than about this. */
const LEAST_LEFT = 2 ** -48

/**
 * Singular values up to this can't be told from rounding: `noise.floor`, or lower where the spectrum shows that there is less of
 * it. With lower bounds of σ it is an upper bound of what all σ would give, and the other way round.
 */
export function settledFloor(
  { floor, spread }: Pick<NoiseFloor, 'floor' | 'spread'>,
  { rows, columns, energy, above, tail }: KnownDelta,
): number {
  if (!Number.isFinite(spread) || !(energy > 0)) return floor
  const factor = thresholdOverEdge(rows, columns) * spread
  let left = energy
  for (let taken = 0; ; ) {
    const settled = Math.min(floor, factor * Math.sqrt(left))
    const count = above(settled)
    if (count <= taken || count >= Math.min(rows, columns)) return settled
    taken = count
    // errors fill all directions alike: those taken away held their share of them
    const ofAll = tail(taken) / ((1 - taken / rows) * (1 - taken / columns))
    left = Math.min(left, Math.max(ofAll, LEAST_LEFT * energy))
  }
}

/** λ(β) / (1 + √β), β the ratio of the sides. */
export function thresholdOverEdge(rows: number, columns: number): number {
  const beta = Math.min(rows, columns) / Math.max(rows, columns)
  const root = Math.sqrt(beta * beta + 14 * beta + 1)
  return Math.sqrt(2 * (beta + 1) + (8 * beta) / (beta + 1 + root)) / (1 + Math.sqrt(beta))
}

/** Of the leading singular values, where no others are known to be above any floor. */
export function leadingValues(
  rows: number,
  columns: number,
  energy: number,
  S: ArrayLike<number>,
): KnownDelta {
  const values = Array.from(S)
  return {
    rows,
    columns,
    energy,
    above: (floor) => values.filter((s) => s > floor).length,
    tail: (r) =>
      Math.max(
        0,
        values.slice(0, r).reduce((left, s) => left - s * s, energy),
      ),
  }
}
