import { widenHalf } from '../matrix/half.ts'
import type { HalfMatrix, Matrix } from '../matrix/matrix.ts'
import type { SquareSums } from '../matrix/norms.ts'

/**
 * What of a delta tuned − base can't be told from the rounding of what is stored, by the dtypes alone; what the spectrum says of
 * it lowers the floor further (settled-floor.ts). A weight w stored in a type with p fraction
 * bits is off by up to half a unit ulp(w) = 2^(⌊log₂|w|⌋ − p), evenly, so its variance is ulp(w)²/12. Independent entries of
 * variances v_ij make a matrix of norm about max_i √(Σ_j v_ij) + max_j √(Σ_i v_ij) (Bandeira & van Handel, Annals of
 * Probability 44 (2016) 2479), which for equal variances is the Marchenko–Pastur edge √v·(√m + √n).
 */

/** The float types a weight can be stored in: fraction bits, and the exponent of the least normal number. */
const FORMATS = {
  f64: { fractionBits: 52, leastExponent: -1022 },
  f32: { fractionBits: 23, leastExponent: -126 },
  f16: { fractionBits: 10, leastExponent: -14 },
  bf16: { fractionBits: 7, leastExponent: -126 },
  f8_e4m3: { fractionBits: 3, leastExponent: -6 },
  f8_e5m2: { fractionBits: 2, leastExponent: -14 },
} as const

export type RoundedDtype = keyof typeof FORMATS

export const isRounded = (dtype: string): dtype is RoundedDtype => Object.hasOwn(FORMATS, dtype)

/**
 * GGUF's blocks have one step for a group of numbers, so that an error is uniform over it: variance step²/12. Quantisers do a little better:
 * they search for the scales of least error, and the largest number of a group is hit. Mean squared error over step²/12, by
 * ggml_quantize_chunk (llama.cpp@de3ff815, 2026) of normal, Laplace, Student's t (5) and row-scaled numbers, with weights of an importance
 * matrix and without: Q4_0 0.97–1.01, Q8_0 0.97–0.98, Q4_K 0.77–0.85, Q6_K 0.83–0.91 (1.00 in one case).
 */
const QUANTISED = { q4_0: 0.98, q8_0: 0.97, q4_k: 0.8, q6_k: 0.87 } as const

export type QuantisedDtype = keyof typeof QUANTISED

export const isQuantised = (dtype: string): dtype is QuantisedDtype => Object.hasOwn(QUANTISED, dtype)

/** The variance of the rounding of a number, over the square of its group's step. */
export const quantisedVariance = (dtype: QuantisedDtype): number => QUANTISED[dtype] * UNIFORM_VARIANCE

/** The types of which rounding is known. */
export type NoisyDtype = RoundedDtype | QuantisedDtype

export const isNoisy = (dtype: string): dtype is NoisyDtype => isRounded(dtype) || isQuantised(dtype)

/** Of quantised numbers none: they are coarser than any float. */
const fractionBitsOf = (dtype: NoisyDtype) => (isRounded(dtype) ? FORMATS[dtype].fractionBits : 0)

/** The floor over the edge: the norm of rounding errors was within a fifth of the edge in all trials. */
export const MARGIN = 1.25
/** Where fewer entries than this changed, most changes were too small to be stored: what is left isn't signal + noise. */
const SUB_ULP_CHANGED = 0.6
/** A change with less than this share of the energy that the base's rounding would have is free of it. */
const EXACT_BASE_SHARE = 0.5
/** Variance of an error that is uniform over one unit. */
const UNIFORM_VARIANCE = 1 / 12
const FLOAT32_BIAS = 127
const FLOAT32_FRACTION_BITS = 23
const FLOAT32_EXPONENTS = 256

/** A weight with the type it is stored in, which may be narrower than the numbers it is held in; quantised, with what its blocks say. */
export type StoredWeight = { readonly matrix: Matrix | HalfMatrix } & (
  | { readonly dtype: RoundedDtype }
  | { readonly dtype: QuantisedDtype; readonly rounding: VarianceSums }
)

export interface NoiseFloor {
  /** What rounding comes to if every entry has its own; `settledFloor` lowers it. 0 where nothing changed. */
  readonly floor: number
  /**
   * The norm, over √ of their energy, of independent errors that lie over rows and columns as unevenly as the rounding does, or
   * as the delta itself: where most entries did not move the errors are where it is. Infinite where it can't be told.
   */
  readonly spread: number
  /** About the norm of the rounding alone. */
  readonly edge: number
  /** The share of entries that differ. */
  readonly changedShare: number
  /** Most changes are below one unit in the last place: rounding is then not independent of the change. */
  readonly isSubUlp: boolean
}

/**
 * The noise floor of tuned − base [m, n], in one sweep over both. The rounding of either side counts, as neither is known to
 * have started from the other's stored numbers; but not that of a base that is coarser than tuned where its rounding would be
 * more than the whole change: then tuned did start from it. Rows in which nothing changed hold no rounding either.
 * Entries must be finite. Throws RangeError where the shapes differ.
 */
export function noiseFloor(base: StoredWeight, tuned: StoredWeight): NoiseFloor {
  const { rows, columns } = tuned.matrix
  if (base.matrix.rows !== rows || base.matrix.columns !== columns) {
    throw new RangeError(
      `can't compare ${base.matrix.rows}×${base.matrix.columns} with ${rows}×${columns} weights`,
    )
  }
  return floorOfSums(rows, columns, base.dtype, tuned.dtype, varianceSums(base, tuned))
}

/** What a sweep over base and tuned finds of their rounding. */
export interface RoundingSums {
  readonly base: VarianceSums
  readonly tuned: VarianceSums
  /** Entries that differ. */
  readonly changed: number
  /** ‖tuned − base‖_F². */
  readonly energy: number
  readonly delta: SquareSums
}

/** The noise floor from the sums of a sweep, however that is done. */
export function floorOfSums(
  rows: number,
  columns: number,
  ofBase: NoisyDtype,
  ofTuned: NoisyDtype,
  { base, tuned, changed, energy, delta }: RoundingSums,
): NoiseFloor {
  const isCoarser = fractionBitsOf(ofBase) < fractionBitsOf(ofTuned)
  const sides = isCoarser && isFreeOf(sumOf(base.byRow), energy) ? [tuned] : [base, tuned]
  const edge = edgeOf(sides)
  const changedShare = rows * columns === 0 ? 0 : changed / (rows * columns)
  return {
    floor: MARGIN * edge,
    spread: Math.max(spreadOfRounding([base, tuned]), spreadOfDelta(delta)),
    edge,
    changedShare,
    isSubUlp: changedShare > 0 && changedShare < SUB_ULP_CHANGED,
  }
}

/** Whether a change has too little energy to hold the rounding of the base, which that of its dtype would be: tuned began with the rounded. */
export const isFreeOf = (rounding: number, energy: number): boolean => energy < EXACT_BASE_SHARE * rounding

/** Sums of variances, over the rows in which something changed. */
export type VarianceSums = SquareSums

const emptySums = (rows: number, columns: number): VarianceSums => ({
  byRow: new Float64Array(rows),
  byColumn: new Float64Array(columns),
})

/** About the norm of independent errors of these variances. */
const edgeOf = (sides: readonly VarianceSums[]): number =>
  largestRoot(sides.map(({ byRow }) => byRow)) + largestRoot(sides.map(({ byColumn }) => byColumn))

const sumOf = (values: Float64Array) => values.reduce((sum, value) => sum + value, 0)

function spreadOfRounding(sides: readonly VarianceSums[]): number {
  const total = sides.reduce((sum, { byRow }) => sum + sumOf(byRow), 0)
  return total > 0 ? edgeOf(sides) / Math.sqrt(total) : 0
}

/**
 * The same of what the delta itself holds: of variances a_i·b_j the norm comes near the mean row's and column's, weighted by what
 * they hold; the largest would take the signal's own for noise.
 */
function spreadOfDelta({ byRow, byColumn }: SquareSums): number {
  const total = sumOf(byRow)
  if (total === 0) return 0
  const weighted = (sums: Float64Array) => Math.sqrt(sums.reduce((sum, s) => sum + (s / total) ** 2, 0))
  const spread = weighted(byRow) + weighted(byColumn)
  return Number.isFinite(spread) ? spread : Number.POSITIVE_INFINITY
}

/** The variance of the rounding of w is `unit`·4^e, for 2^e ≤ |w| < 2^(e+1) and e at least `leastExponent`. */
export function roundingVariance(dtype: RoundedDtype): { unit: number; leastExponent: number } {
  const { fractionBits, leastExponent } = FORMATS[dtype]
  return { unit: 4 ** -fractionBits * UNIFORM_VARIANCE, leastExponent }
}

/** Those variances by the biased exponent of a float32. */
function variancesByExponent(dtype: RoundedDtype): Float64Array {
  const { unit, leastExponent } = roundingVariance(dtype)
  return Float64Array.from(
    { length: FLOAT32_EXPONENTS },
    (_, biased) => unit * 4 ** Math.max(biased - FLOAT32_BIAS, leastExponent),
  )
}

/** The sums over both sides, each by itself. */
function varianceSums(base: StoredWeight, tuned: StoredWeight): RoundingSums {
  const { rows, columns } = tuned.matrix
  const sums = {
    base: 'rounding' in base ? base.rounding : emptySums(rows, columns),
    tuned: 'rounding' in tuned ? tuned.rounding : emptySums(rows, columns),
    delta: emptySums(rows, columns),
  }
  const [baseRow, tunedRow] = [rowReader(base.matrix), rowReader(tuned.matrix)]
  const [baseVariances, tunedVariances] = [base, tuned].map((side) =>
    'rounding' in side ? undefined : variancesByExponent(side.dtype),
  )
  let changed = 0
  for (let i = 0; i < rows; i++) {
    const a = baseRow(i)
    const b = tunedRow(i)
    const differing = addSquares(sums.delta, i, a.values, b.values)
    if (differing === 0) continue
    changed += differing
    if (baseVariances !== undefined) addVariances(sums.base, i, a.bits, baseVariances)
    if (tunedVariances !== undefined) addVariances(sums.tuned, i, b.bits, tunedVariances)
  }
  return { ...sums, changed, energy: sumOf(sums.delta.byRow) }
}

/** Adds the squares of a row's differences; gives how many there are. */
function addSquares({ byRow, byColumn }: SquareSums, row: number, a: Float64Array, b: Float64Array): number {
  let changed = 0
  let sum = 0
  for (let j = 0; j < a.length; j++) {
    const difference = b[j] - a[j]
    if (difference === 0) continue
    changed++
    const square = difference * difference
    sum += square
    byColumn[j] += square
  }
  byRow[row] = sum
  return changed
}

/** `bits` are of the row's numbers as float32. */
function addVariances(
  { byRow, byColumn }: VarianceSums,
  row: number,
  bits: Uint32Array,
  variances: Float64Array,
): void {
  let sum = 0
  for (let j = 0; j < bits.length; j++) {
    const variance = variances[(bits[j] >>> FLOAT32_FRACTION_BITS) & (FLOAT32_EXPONENTS - 1)]
    sum += variance
    byColumn[j] += variance
  }
  byRow[row] = sum
}

interface Row {
  readonly values: Float64Array
  /** The same as float32, as bits. */
  readonly bits: Uint32Array
}

/** Reads one row after the other, each over the one before. */
function rowReader(A: Matrix | HalfMatrix): (i: number) => Row {
  const { columns } = A
  const values = new Float64Array(columns)
  const narrow = new Float32Array(columns)
  const bits = new Uint32Array(narrow.buffer)
  return (i) => {
    const [from, to] = [i * columns, (i + 1) * columns]
    const row = 'dtype' in A ? widenHalf(A.data.subarray(from, to), A.dtype) : A.data.subarray(from, to)
    values.set(row)
    narrow.set(row)
    return { values, bits }
  }
}

/** The largest root of what the sums of all sides add up to. */
function largestRoot(sums: readonly Float64Array[]): number {
  const [first, ...others] = sums
  const largest = first.reduce(
    (most, value, i) =>
      Math.max(
        most,
        others.reduce((sum, other) => sum + other[i], value),
      ),
    0,
  )
  return Math.sqrt(largest)
}
