/**
 * What of a delta tuned − base can't be told from the rounding of what is stored. A weight w stored in a type with p fraction
 * bits is off by up to half a unit ulp(w) = 2^(⌊log₂|w|⌋ − p), evenly, so its variance is ulp(w)²/12. Independent entries of
 * variances v_ij make a matrix of norm about max_i √(Σ_j v_ij) + max_j √(Σ_i v_ij) (Bandeira & van Handel, Annals of
 * Probability 44 (2016) 2479), which for equal variances is the Marchenko–Pastur edge √v·(√m + √n).
 */
import { widenHalf } from '../matrix/half.ts'
import type { HalfMatrix, Matrix } from '../matrix/matrix.ts'

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

/** The floor over the edge: the norm of rounding errors was within a fifth of the edge in all trials. */
const MARGIN = 1.25
/** Where fewer entries than this changed, most changes were too small to be stored: what is left isn't signal + noise. */
const SUB_ULP_CHANGED = 0.6
/** A change with less than this share of the energy that the base's rounding would have is free of it. */
const EXACT_BASE_SHARE = 0.5
/** Variance of an error that is uniform over one unit. */
const UNIFORM_VARIANCE = 1 / 12
const FLOAT32_BIAS = 127
const FLOAT32_FRACTION_BITS = 23
const FLOAT32_EXPONENTS = 256
/** Bits of a half but for its sign. */
const HALF_MAGNITUDE_BITS = 15
const HALF_MAGNITUDES = 2 ** HALF_MAGNITUDE_BITS - 1

/** A weight with the type it is stored in, which may be narrower than the numbers it is held in. */
export interface StoredWeight {
  readonly matrix: Matrix | HalfMatrix
  readonly dtype: RoundedDtype
}

export interface NoiseFloor {
  /** Singular values of the delta up to this can't be told from rounding; 0 where nothing changed. */
  readonly floor: number
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
  const { sides, changed } = roundingOf(base, tuned)
  const edge =
    largestRoot(sides.map(({ byRow }) => byRow)) + largestRoot(sides.map(({ byColumn }) => byColumn))
  const changedShare = rows * columns === 0 ? 0 : changed / (rows * columns)
  return {
    floor: MARGIN * edge,
    edge,
    changedShare,
    isSubUlp: changedShare > 0 && changedShare < SUB_ULP_CHANGED,
  }
}

interface Rounding {
  /** Of each side that counts, the sums of its variances over rows and columns. */
  readonly sides: readonly VarianceSums[]
  /** Entries that differ. */
  readonly changed: number
}

function roundingOf(base: StoredWeight, tuned: StoredWeight): Rounding {
  const [A, B] = [base.matrix, tuned.matrix]
  if ('dtype' in A && 'dtype' in B && A.dtype === B.dtype) return roundingOfHalves(A, B)
  const { sums, changed, energy } = varianceSums(base, tuned)
  const isCoarser = FORMATS[base.dtype].fractionBits < FORMATS[tuned.dtype].fractionBits
  const baseTotal = sums.base.byRow.reduce((sum, variance) => sum + variance, 0)
  return {
    sides: isCoarser && energy < EXACT_BASE_SHARE * baseTotal ? [sums.tuned] : [sums.base, sums.tuned],
    changed,
  }
}

/** Sums of variances, over the rows in which something changed. */
interface VarianceSums {
  readonly byRow: Float64Array
  readonly byColumn: Float64Array
}

const emptySums = (rows: number, columns: number): VarianceSums => ({
  byRow: new Float64Array(rows),
  byColumn: new Float64Array(columns),
})

/** Both sides in the same half type, which nearly all pairs are: straight from the bits, in one loop. */
function roundingOfHalves(A: HalfMatrix, B: HalfMatrix): Rounding {
  const { rows, columns } = A
  const { fractionBits, leastExponent } = FORMATS[A.dtype]
  const exponents = 2 ** (HALF_MAGNITUDE_BITS - fractionBits)
  const variances = variancesByExponent(A.dtype, exponents, 1 - leastExponent)
  const sums = emptySums(rows, columns)
  let changed = 0
  for (let i = 0; i < rows; i++) {
    const a = A.data.subarray(i * columns, (i + 1) * columns)
    const b = B.data.subarray(i * columns, (i + 1) * columns)
    if (isSameRow(a, b)) continue
    changed += addHalves(sums, i, a, b, fractionBits, variances)
  }
  return { sides: [sums], changed }
}

/** 0 and −0 are the same. */
function isSameRow(a: Uint16Array, b: Uint16Array): boolean {
  return a.every((x, j) => x === b[j] || ((x | b[j]) & HALF_MAGNITUDES) === 0)
}

/** Adds the variances of both rows, and returns how many entries differ. */
function addHalves(
  { byRow, byColumn }: VarianceSums,
  row: number,
  a: Uint16Array,
  b: Uint16Array,
  fractionBits: number,
  variances: Float64Array,
): number {
  const mask = variances.length - 1
  let sum = 0
  let changed = 0
  for (let j = 0; j < a.length; j++) {
    const x = a[j]
    const y = b[j]
    const variance = variances[(x >>> fractionBits) & mask] + variances[(y >>> fractionBits) & mask]
    sum += variance
    byColumn[j] += variance
    // Signs of negated bits in place of branches, which would be mispredicted.
    changed += (-(x ^ y) >>> 31) & (-((x | y) & HALF_MAGNITUDES) >>> 31)
  }
  byRow[row] = sum
  return changed
}

/** ulp²/12 of the numbers of a type, by the biased exponent of a format with `count` of them and that bias. */
function variancesByExponent(dtype: RoundedDtype, count: number, bias: number): Float64Array {
  const { fractionBits, leastExponent } = FORMATS[dtype]
  return Float64Array.from({ length: count }, (_, biased) => {
    const exponent = Math.max(biased - bias, leastExponent)
    return 4 ** (exponent - fractionBits) * UNIFORM_VARIANCE
  })
}

/** Any two types, each side's sums by itself; `energy` is ‖tuned − base‖_F². */
function varianceSums(base: StoredWeight, tuned: StoredWeight) {
  const { rows, columns } = tuned.matrix
  const sums = { base: emptySums(rows, columns), tuned: emptySums(rows, columns) }
  const [baseRow, tunedRow] = [rowReader(base.matrix), rowReader(tuned.matrix)]
  const [baseVariances, tunedVariances] = [base, tuned].map(({ dtype }) =>
    variancesByExponent(dtype, FLOAT32_EXPONENTS, FLOAT32_BIAS),
  )
  let changed = 0
  let energy = 0
  for (let i = 0; i < rows; i++) {
    const a = baseRow(i)
    const b = tunedRow(i)
    const before = changed
    for (let j = 0; j < columns; j++) {
      const difference = b.values[j] - a.values[j]
      if (difference !== 0) {
        changed++
        energy += difference * difference
      }
    }
    if (changed === before) continue
    addVariances(sums.base, i, a.bits, baseVariances)
    addVariances(sums.tuned, i, b.bits, tunedVariances)
  }
  return { sums, changed, energy }
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
