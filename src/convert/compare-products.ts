import { stackedTerms, type Term } from '../compress/terms.ts'
import { widened } from '../linalg/matrix/half.ts'

/** What a worker is asked: whether two sums of terms of one weight are one product. Plain data. */
export interface ProductsJob {
  readonly name: string
  readonly expert?: number
  readonly meant: readonly Term[]
  readonly stored: readonly Term[]
  readonly rows: number
  readonly columns: number
}

const rankOf = ({ meant, stored }: ProductsJob) =>
  [...meant, ...stored].reduce((sum, { module }) => sum + module.rank, 0)

/** The inner products of what differs, at most. */
export const flopsOf = (job: ProductsJob): number => 2 * (job.rows + job.columns) * rankOf(job) ** 2

/** As read, as directions, and as what differs. */
const COPIES = 4
export const bytesOf = (job: ProductsJob): number => 8 * (job.rows + job.columns) * rankOf(job) * COPIES

/** How far the stored product is from the one that it was made of. */
export interface Distance {
  /** The two products are the same number for number: their directions are. */
  readonly isExact: boolean
  /** ‖stored − meant‖_F, 0 where it is exact. */
  readonly distance: number
  /** ‖meant‖_F. */
  readonly norm: number
  /** Σ‖b_j‖·‖a_j‖ over the directions: rounding of the factors is relative to it. */
  readonly size: number
}

/** A product as the sum of its directions b·aᵀ, none of them zero and no two of one a. */
interface Directions {
  readonly B: readonly Float64Array[]
  readonly A: readonly Float64Array[]
  /** Every w·s·b, and every sum of those of one a, is a float64 number without rounding. */
  readonly isExact: boolean
}

/** Bits of a float64's fraction, and of the factors' that are not of float64 themselves. */
const [FRACTION, NARROW_FRACTION] = [53, 24]

/**
 * Compares what two sets of terms of one weight add up to, in float64, by their directions alone: each b·aᵀ of the one has its equal in the
 * other, or the distance is that of the products, from inner products of what differs.
 */
export async function compareProducts(job: ProductsJob): Promise<Distance> {
  const { meant, stored } = job
  const [one, other] = [await directionsOf(meant, job), await directionsOf(stored, job)]
  const size = one.B.reduce((sum, b, j) => sum + norm(b) * norm(one.A[j]), 0)
  const found = paired(one, other)
  const isExact = one.isExact && other.isExact && found !== undefined && found.B.length === 0
  const norms = { norm: productNorm(one.B, one.A), size }
  if (isExact) return { isExact, distance: 0, ...norms }
  const left = found ?? { B: [...other.B, ...one.B.map(negated)], A: [...other.A, ...one.A] }
  return { isExact, distance: productNorm(left.B, left.A), ...norms }
}

async function directionsOf(
  terms: readonly Term[],
  what: { readonly name: string; readonly expert?: number },
): Promise<Directions> {
  const none = { B: [], A: [], isExact: true }
  if (terms.length === 0) return none
  const stacked = await stackedTerms(terms, what)
  const { weights } = stacked
  const [B, A] = [widened(stacked.B), widened(stacked.A)]
  const bits = B.data instanceof Float32Array ? FRACTION - NARROW_FRACTION : 1
  let isExact = weights.every((weight) => hasBits(weight, bits))
  const byA = new Map<string, { readonly a: Float64Array; readonly b: Float64Array }>()
  for (let j = 0; j < A.rows; j++) {
    const a = Float64Array.from(A.data.subarray(j * A.columns, (j + 1) * A.columns))
    const b = new Float64Array(B.rows)
    for (let i = 0; i < B.rows; i++) b[i] = B.data[i * B.columns + j] * weights[j]
    if (isZero(a) || isZero(b)) continue
    const key = Buffer.from(a.buffer).toString('latin1')
    const known = byA.get(key)
    if (known === undefined) byA.set(key, { a, b })
    else isExact = addTo(known.b, b) && isExact
  }
  const all = [...byA.values()]
  return { B: all.map(({ b }) => b), A: all.map(({ a }) => a), isExact }
}

/** Whether a number has so few bits that its product with one of the rest is a float64. */
function hasBits(weight: number, bits: number): boolean {
  if (weight === 0 || !Number.isFinite(weight)) return weight === 0
  const exponent = Math.floor(Math.log2(Math.abs(weight)))
  return Number.isInteger(weight * 2 ** (bits - 1 - exponent))
}

/** Adds to a sum; whether no entry was rounded, which is sure where one of the two is zero. */
function addTo(sum: Float64Array, b: Float64Array): boolean {
  let isExact = true
  for (let i = 0; i < sum.length; i++) {
    if (sum[i] !== 0 && b[i] !== 0) isExact = false
    sum[i] += b[i]
  }
  return isExact
}

/**
 * What the other has beyond the one, direction by direction: those of one a, or else those in the same place, B' − B with A' and B with
 * A' − A. Undefined where they are of another number.
 */
function paired(one: Directions, other: Directions): Pick<Directions, 'B' | 'A'> | undefined {
  if (one.B.length !== other.B.length) return undefined
  const [B, A]: [Float64Array[], Float64Array[]] = [[], []]
  const places = new Map(other.A.map((a, j) => [Buffer.from(a.buffer).toString('latin1'), j]))
  for (const [j, a] of one.A.entries()) {
    const at = places.get(Buffer.from(a.buffer).toString('latin1')) ?? j
    const [b, theirs, theirA] = [one.B[j], other.B[at], other.A[at]]
    const [dB, dA] = [minus(theirs, b), minus(theirA, a)]
    if (!isZero(dB)) {
      B.push(dB)
      A.push(theirA)
    }
    if (!isZero(dA)) {
      B.push(b)
      A.push(dA)
    }
  }
  return { B, A }
}

const isZero = (x: Float64Array) => x.every((value) => value === 0)
const negated = (x: Float64Array) => x.map((value) => -value)
const minus = (x: Float64Array, y: Float64Array) => x.map((value, i) => value - y[i])
const norm = (x: Float64Array) => Math.sqrt(inner(x, x))

function inner(x: Float64Array, y: Float64Array): number {
  let sum = 0
  for (let i = 0; i < x.length; i++) sum += x[i] * y[i]
  return sum
}

/** ‖Σ bⱼ·aⱼᵀ‖_F = √Σᵢⱼ ⟨bᵢ, bⱼ⟩⟨aᵢ, aⱼ⟩. */
function productNorm(B: readonly Float64Array[], A: readonly Float64Array[]): number {
  let sum = 0
  for (let i = 0; i < B.length; i++) {
    sum += inner(B[i], B[i]) * inner(A[i], A[i])
    for (let j = 0; j < i; j++) sum += 2 * inner(B[i], B[j]) * inner(A[i], A[j])
  }
  return Math.sqrt(Math.max(0, sum))
}
