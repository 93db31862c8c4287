import { refuseNonFinite } from '../checkpoint/read.ts'
import { assertInRange, nonFiniteEntries } from '../linalg/matrix/finite.ts'
import { widened } from '../linalg/matrix/half.ts'
import type { FloatArray, HalfMatrix, Matrix } from '../linalg/matrix/matrix.ts'
import { frobeniusNorm } from '../linalg/matrix/norms.ts'
import { readStoredFactors, type StoredFactors } from '../lora/factors.ts'
import { type AdapterModule, blamed } from '../lora/model.ts'

/** A module of an adapter, and how much of it a sum has. */
export interface Term {
  readonly module: AdapterModule
  readonly weight: number
  /** As messages call the adapter. */
  readonly path: string
  /** Which of the adapters that the user named it belongs to. */
  readonly adapter: number
}

/** What terms add up to: B·diag(weights)·A, whose factors are the numbers that were stored. */
export interface StackedTerms {
  readonly parts: readonly StoredFactors[]
  /** w·s of each direction. */
  readonly weights: Float64Array
  readonly B: Matrix | HalfMatrix
  readonly A: Matrix | HalfMatrix
}

/** Terms that are read together: waiting for one file after the other takes a thread's time, and many at once too many handles. */
const READ_AT_ONCE = 8

/** What to do about NaN in an adapter, of which no part can be left out. */
const CURE = 'mend the adapter, or train it again'

/**
 * Reads terms of a layer, of a stack of experts those of one, and sets them beside each other. Throws LoraSvdError `not-finite` on NaN and
 * infinity, and where the product may pass the largest float64.
 */
export async function stackedTerms(
  terms: readonly Term[],
  { name, expert }: { readonly name: string; readonly expert?: number },
): Promise<StackedTerms> {
  const read: StoredFactors[] = []
  for (let first = 0; first < terms.length; first += READ_AT_ONCE) {
    const some = terms.slice(first, first + READ_AT_ONCE).map((term) => finiteFactors(term, expert))
    // so that of several errors it is always the first one's that is told
    for (const one of await Promise.allSettled(some)) {
      if (one.status === 'rejected') throw one.reason
      read.push(one.value)
    }
  }
  const parts = ofOneType(read)
  const weights = weightsOf(parts, terms)
  const [B, A] = [stackedB(parts), stackedA(parts)]
  // the product is within the product of these, and nothing on the way to it is beyond
  const most = mostNorm(B.data) * frobeniusNorm(weights) * mostNorm(A.data)
  assertInRange([[most]], { file: terms[0].path, tensor: name })
  return { parts, weights, B, A }
}

/** At least ‖X‖_F: of float32 and what is shorter by their dtype alone, which sets products of two far below the largest float64. */
const mostNorm = (data: FloatArray | Uint16Array): number =>
  data instanceof Float64Array ? frobeniusNorm(data) : 2 ** 128 * Math.sqrt(data.length)

/** Throws `not-finite` on NaN and infinity. */
async function finiteFactors({ module, path }: Term, expert: number | undefined): Promise<StoredFactors> {
  const factors = await readStoredFactors(module, expert)
  refuseNonFinite(path, blamed(module, 'B').name, nonFiniteEntries(factors.B), CURE)
  refuseNonFinite(path, blamed(module, 'A').name, nonFiniteEntries(factors.A), CURE)
  return factors
}

/** w·s of each direction of the stacked factors, which stay the numbers that were stored. */
function weightsOf(parts: readonly StoredFactors[], terms: readonly Term[]): Float64Array {
  return Float64Array.from(
    parts.flatMap(({ A }, i) => Array(A.rows).fill(terms[i].weight * terms[i].module.scale)),
  )
}

/** [B₁ | B₂ | …]. */
function stackedB(parts: readonly StoredFactors[]): Matrix | HalfMatrix {
  const [{ B }] = parts
  if (parts.length === 1) return B
  const rank = rankOfAll(parts)
  const data = floatsFor(parts, B.rows * rank)
  let at = 0
  for (const { B: part } of parts) {
    const r = part.columns
    for (let i = 0; i < B.rows; i++) data.set(part.data.subarray(i * r, (i + 1) * r), i * rank + at)
    at += r
  }
  return { ...B, columns: rank, data } as Matrix | HalfMatrix
}

/** [A₁; A₂; …]. */
function stackedA(parts: readonly StoredFactors[]): Matrix | HalfMatrix {
  const [{ A }] = parts
  if (parts.length === 1) return A
  const rank = rankOfAll(parts)
  const data = floatsFor(parts, rank * A.columns)
  let at = 0
  for (const { A: part } of parts) {
    data.set(part.data, at)
    at += part.data.length
  }
  return { ...A, rows: rank, data } as Matrix | HalfMatrix
}

const rankOfAll = (parts: readonly StoredFactors[]) => parts.reduce((sum, { A }) => sum + A.rows, 0)

/** As they are where all are of one 16-bit type, else all widened. */
function ofOneType(parts: readonly StoredFactors[]): readonly StoredFactors[] {
  const typeOf = ({ B }: StoredFactors) => ('dtype' in B ? B.dtype : undefined)
  if (parts.every((part) => typeOf(part) === typeOf(parts[0]))) return parts
  return parts.map(({ B, A }) => ({ B: widened(B), A: widened(A) }))
}

function floatsFor(parts: readonly StoredFactors[], length: number): FloatArray | Uint16Array {
  const all = parts.map(({ B }) => B.data)
  if (all[0] instanceof Uint16Array) return new Uint16Array(length)
  return all.some((data) => data instanceof Float64Array)
    ? new Float64Array(length)
    : new Float32Array(length)
}
