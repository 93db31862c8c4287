import { isFreeOf, MARGIN } from './noise-floor.ts'

/**
 * What of a delta tuned − quantised base is the rounding of that base, and what factors of a rank carry of it. The rounding of each entry is
 * about independent of all others, so that it fills all directions alike: no rank below the full one carries much of it.
 */

/** Shares, from 0 to 1. */
export interface QuantisationShare {
  /** Of ‖Δ‖_F²: what is rounding of the base. 0 where the change has too little energy to hold it: it began with the rounded numbers. */
  readonly share: number
  /** Of the energy of that rounding: what the factors carry. 0 where there is none. */
  readonly carried: number
}

/** What is known of a delta and the rounding of its base. */
export interface QuantisedDelta {
  readonly rows: number
  readonly columns: number
  /** ‖Δ‖_F². */
  readonly energy: number
  /** That of the rounding, by the steps of the base. */
  readonly rounding: number
  /** The leading singular values that the factors carry. */
  readonly carried: ArrayLike<number>
}

export function quantisationShare({
  rows,
  columns,
  energy,
  rounding,
  carried,
}: QuantisedDelta): QuantisationShare {
  const share = roundingShare(energy, rounding)
  if (share === 0) return { share, carried: 0 }
  const of = share * energy
  let sum = 0
  for (let i = 0; i < carried.length; i++) sum += noiseOfDirection(carried[i] ** 2, of, rows, columns)
  return { share, carried: Math.min(1, sum / of) }
}

/** The share of ‖Δ‖_F² that is rounding of the base. */
export const roundingShare = (energy: number, rounding: number): number =>
  energy === 0 || isFreeOf(rounding, energy) ? 0 : Math.min(1, rounding / energy)

/**
 * What of σ² is noise, for noise of this energy on independent entries, variance v each. A direction θ of the signal is seen as
 * σ² = (θ² + v·m)(θ² + v·n)/θ² (Benaych-Georges & Nadakuditi, Journal of Multivariate Analysis 111 (2012) 120); up to
 * √v·(√m + √n), with the margin of the noise floor, none can be told from noise.
 */
function noiseOfDirection(squared: number, noise: number, rows: number, columns: number): number {
  const variance = noise / (rows * columns)
  const edge = variance * (Math.sqrt(rows) + Math.sqrt(columns)) ** 2
  if (squared <= MARGIN ** 2 * edge) return squared
  const excess = squared - variance * (rows + columns)
  return squared - (excess + Math.sqrt(excess ** 2 - 4 * variance ** 2 * rows * columns)) / 2
}

/** The most of such noise that factors of a rank carry: its largest singular values come near √v·(√m + √n) (Marchenko & Pastur). */
export const mostCarried = (rank: number, rows: number, columns: number): number =>
  Math.min(1, (rank * (Math.sqrt(rows) + Math.sqrt(columns)) ** 2) / (rows * columns))
