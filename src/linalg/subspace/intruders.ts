import type { Engine } from '../engine.ts'
import { widened } from '../matrix/half.ts'
import {
  epsilonOf,
  type Float64Matrix,
  type HalfMatrix,
  leadingColumns,
  type Matrix,
} from '../matrix/matrix.ts'
import { frobeniusNorm } from '../matrix/norms.ts'
import { columnsAt } from '../truncation/columns.ts'
import { type Operator, shortSideOperator } from '../truncation/krylov.ts'
import {
  allVectors,
  type LeadingVectors,
  leadingVectors,
  MOST_BASIS_COLUMNS,
} from '../truncation/leading-vectors.ts'
import { streamKeys } from '../truncation/streams.ts'
import type { Interval } from '../truncation/truncated-svd.ts'
import { largestParts } from './largest-part.ts'

/**
 * Directions that a change brings into a weight: leading left singular vectors u of W + Δ of which |uᵀw| is small for every left singular
 * vector w of W ("intruder dimensions", Shuttleworth, Andreas, Torralba and Sharma 2024, arXiv 2410.21228). How many vectors are
 * looked at, and the cosine below which one is an intruder, are those of PEFT's reduce_intruder_dimension
 * (huggingface/peft: src/peft/tuners/lora/intruders.py, 1a43043), which compares with all singular vectors of W as it is stored.
 */

/** PEFT's top_k: leading vectors of W + Δ that are looked at. */
export const INTRUDER_DIRECTIONS = 10
/** PEFT's threshold_epsilon: a cosine from here on is near. */
export const INTRUDER_COSINE = 0.5

/** Leading vectors of W that are computed where not all are: what is not new in W + Δ is among those first, as a rule. */
const BASE_DIRECTIONS = 20
/** Up to this order all vectors take no longer. */
const ALWAYS_FULL_ORDER = 256
/** A vector of W that may be further off is no help in bounding what is left of u. */
const WELL_KNOWN = 0.2
/** Roundings of float32 at each entry of W + Δ, with a margin: of the product, of the sum. */
const ROUNDINGS = 4

export interface IntruderOptions {
  readonly engine: Engine
  /** All singular vectors of both, so that nothing is left open but what rounding leaves. */
  readonly full: boolean
  /** Whether directions are looked at, which takes most of the time, or the size of W alone. */
  readonly directions: boolean
  readonly seed: bigint | number
  readonly name: string
}

/** About how much of a product of W with as many columns as its order all this takes where not all vectors are computed. */
const SWEPT_COLUMNS = 900

/** The same for the largest singular value alone. */
const SWEPT_FOR_SIZE = 150

/** The multiplications of it all, in the measure by which engines are chosen. */
export function intrusionFlops(rows: number, columns: number, how: Extent): number {
  const order = Math.min(rows, columns)
  if (!how.directions) return rows * columns * Math.min(order, SWEPT_FOR_SIZE)
  return rows * columns * (how.full ? 2 * order : Math.min(2 * order, SWEPT_COLUMNS))
}

type Extent = Pick<IntruderOptions, 'full' | 'directions'>

/** The most memory that it takes at one time, W as it is stored left out. */
export function intrusionBytes(rows: number, columns: number, { full, directions }: Extent): number {
  const order = Math.min(rows, columns)
  const isFull = (full && directions) || order <= ALWAYS_FULL_ORDER
  // W in float32 where the engine works, the product and the sum; then either basis with its products, or the full decompositions
  const entries = rows * columns
  return (
    16 * entries +
    (isFull ? 8 * (4 * entries + 3 * order * order) : 64 * MOST_BASIS_COLUMNS * (rows + columns))
  )
}

/** What W + Δ has to do with W. */
export interface Intrusion {
  /** σ₁ of W. */
  readonly spectral: Interval
  /** Of each leading vector of W + Δ, in order: the largest |cosine| with a singular vector of W. */
  readonly cosines: readonly Interval[]
  /** That a bound is wrong. */
  readonly failureProbability: number
}

/** How many of them are surely below the threshold, and how many may or may not be. */
export function countIntruders(cosines: readonly Interval[]): { intruders: number; undecided: number } {
  const intruders = cosines.filter(({ atMost }) => atMost < INTRUDER_COSINE).length
  const near = cosines.filter(({ atLeast }) => atLeast >= INTRUDER_COSINE).length
  return { intruders, undecided: cosines.length - intruders - near }
}

/**
 * The largest singular value of W [m, k] and, for the leading vectors of W + scale·B·A, the nearest that W has, as intervals that hold
 * the truth: of vectors that lie too close to others to be told from them, or of which W's computed part doesn't say enough, wide ones.
 * Throws LoraSvdError 'not-finite', RangeError where the shapes don't fit.
 */
export function intrusionOf(
  W: Matrix | HalfMatrix,
  { B, A, scale }: { readonly B: Matrix; readonly A: Matrix; readonly scale: number },
  options: IntruderOptions,
): Intrusion {
  const { engine, seed, name } = options
  if (B.rows !== W.rows || A.columns !== W.columns || B.columns !== A.rows) {
    throw new RangeError(`[${B.rows}, ${B.columns}] · [${A.rows}, ${A.columns}] + [${W.rows}, ${W.columns}]`)
  }
  const order = Math.min(W.rows, W.columns)
  if (!options.directions) return { ...ofNothing(W, options), cosines: [] }
  if (scale === 0)
    return { ...ofNothing(W, options), cosines: Array(Math.min(INTRUDER_DIRECTIONS, order)).fill(SAME) }
  const count = Math.min(INTRUDER_DIRECTIONS, order)
  if (options.full || order <= ALWAYS_FULL_ORDER) {
    const base = allVectors(widened(W), engine)
    const sum = changed(W, { B, A, scale }, engine)
    const leading = allVectors(sum.matrix, engine, sum.perturbation)
    const few = { ...leading, U: leadingColumns(leading.U, count), errors: leading.errors.subarray(0, count) }
    return { spectral: base.spectral, cosines: nearest(engine, few, base).cosines, failureProbability: 0 }
  }
  return withOperator(engine, W, (operator) => {
    if (operator.frobenius === 0) return { ...NOTHING_THERE, cosines: Array(count).fill(ANYTHING) }
    const base = leadingVectors(operator, BASE_DIRECTIONS, { engine, keys: streamKeys(W, seed, name) })
    const leading = leadingOfSum(changed(W, { B, A, scale }, engine), count, options)
    const { cosines, open } = nearest(engine, leading, base)
    return {
      spectral: base.spectral,
      cosines: narrowed(engine, operator, leading, cosines, open),
      failureProbability: base.failureProbability + leading.failureProbability,
    }
  })
}

const ANYTHING: Interval = { atLeast: 0, atMost: 1 }
const SAME: Interval = { atLeast: 1, atMost: 1 }
const NOTHING_THERE = { spectral: { atLeast: 0, atMost: 0 }, failureProbability: 0 }

/** The largest singular value of W alone. */
function ofNothing(W: Matrix | HalfMatrix, { engine, seed, name }: IntruderOptions) {
  const base =
    Math.min(W.rows, W.columns) <= ALWAYS_FULL_ORDER
      ? allVectors(widened(W), engine)
      : withOperator(engine, W, (operator) =>
          operator.frobenius === 0
            ? NOTHING_THERE
            : leadingVectors(operator, 1, { engine, keys: streamKeys(W, seed, name) }),
        )
  return { spectral: base.spectral, failureProbability: base.failureProbability }
}

function withOperator<T>(engine: Engine, A: Matrix | HalfMatrix, use: (operator: Operator) => T): T {
  const operator = shortSideOperator(engine, A)
  try {
    return use(operator)
  } finally {
    operator.release()
  }
}

interface ChangedWeight {
  readonly matrix: Matrix
  /** At least ‖·‖₂ of what rounding did to it. */
  readonly perturbation: number
}

/** W + scale·B·A, in float32 where all of it is. */
function changed(
  W: Matrix | HalfMatrix,
  { B, A, scale }: { readonly B: Matrix; readonly A: Matrix; readonly scale: number },
  engine: Engine,
): ChangedWeight {
  const wide = widened(W)
  const product = engine.multiply(B, A)
  const isWide = wide.data instanceof Float64Array || product.data instanceof Float64Array
  const data = isWide ? new Float64Array(wide.data.length) : new Float32Array(wide.data.length)
  for (let i = 0; i < data.length; i++) data[i] = wide.data[i] + scale * product.data[i]
  const unit = epsilonOf[isWide ? 'f64' : 'f32'] / 2
  // of the product, sums of as many terms as the rank has, each of the size of the factors' norms
  const size = Math.abs(scale) * Math.sqrt(B.columns) * frobeniusNorm(B.data) * frobeniusNorm(A.data)
  return {
    matrix: { rows: W.rows, columns: W.columns, data },
    perturbation: ROUNDINGS * unit * (frobeniusNorm(data) + size),
  }
}

function leadingOfSum(sum: ChangedWeight, count: number, { engine, seed, name }: IntruderOptions) {
  return withOperator(engine, sum.matrix, (operator) => {
    if (operator.frobenius === 0) return unknown(sum.matrix.rows, count)
    const keys = streamKeys(sum.matrix, seed, `${name} changed`)
    return leadingVectors(operator, count, { engine, keys, perturbation: sum.perturbation })
  })
}

/** Of a matrix of zeros any vectors are singular vectors. */
function unknown(rows: number, count: number): LeadingVectors {
  const U = { rows, columns: count, data: new Float64Array(rows * count) }
  for (let i = 0; i < count; i++) U.data[i * count + i] = 1
  return {
    U,
    S: new Float64Array(count),
    spectral: { atLeast: 0, atMost: 0 },
    errors: new Float64Array(count).fill(Math.SQRT2),
    isAll: false,
    failureProbability: 0,
  }
}

/** Of each leading vector the nearest among W's, and which of them the computed part of W leaves open. */
function nearest(
  engine: Pick<Engine, 'multiply'>,
  leading: LeadingVectors,
  base: LeadingVectors,
): { readonly cosines: Interval[]; readonly open: number[] } {
  const products = engine.multiply(leading.U, base.U, { transposeA: true })
  const cosines = Array.from(leading.errors, (error, j) => {
    const row = products.data.subarray(j * products.columns, (j + 1) * products.columns)
    return nearestOf(row, error, base)
  })
  const isOpen = ({ atLeast, atMost }: Interval) => atLeast < INTRUDER_COSINE && atMost >= INTRUDER_COSINE
  return { cosines, open: cosines.flatMap((cosine, j) => (isOpen(cosine) ? [j] : [])) }
}

/** Between the cosines that are known, and those with what is not computed: these hold no more of u than the others leave of it. */
function nearestOf(products: Matrix['data'], error: number, { errors, isAll }: LeadingVectors): Interval {
  let [atLeast, atMost, rest] = [0, 0, 1]
  for (const [i, product] of products.entries()) {
    const off = error + errors[i]
    const low = Math.max(0, Math.abs(product) - off)
    atLeast = Math.max(atLeast, low)
    if (!isAll && errors[i] > WELL_KNOWN) continue
    atMost = Math.max(atMost, Math.abs(product) + off)
    rest -= low * low
  }
  return { atLeast, atMost: Math.min(1, isAll ? atMost : Math.max(atMost, Math.sqrt(Math.max(0, rest)))) }
}

/** The same where it is open, with what the Lanczos process tells of the vectors that were not computed. */
function narrowed(
  engine: Engine,
  W: Operator,
  { U, errors }: LeadingVectors,
  cosines: readonly Interval[],
  open: readonly number[],
): Interval[] {
  const well = open.filter((j) => errors[j] < INTRUDER_COSINE)
  if (well.length === 0) return [...cosines]
  const enough = Math.min(...well.map((j) => (INTRUDER_COSINE - errors[j]) ** 2))
  const parts = largestParts(engine, W, columnsAt(U, well) as Float64Matrix, enough)
  return cosines.map((cosine, j) => {
    const at = well.indexOf(j)
    if (at < 0) return cosine
    return { ...cosine, atMost: Math.min(cosine.atMost, Math.sqrt(parts[at]) + errors[j]) }
  })
}
