import { refuseNonFinite } from '../checkpoint/read.ts'
import { assertInRange, nonFiniteEntries } from '../linalg/matrix/finite.ts'
import type { FloatArray, Matrix } from '../linalg/matrix/matrix.ts'
import { frobeniusNorm } from '../linalg/matrix/norms.ts'
import { type ModuleFactors, readFactors } from '../lora/factors.ts'
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
  readonly parts: readonly ModuleFactors[]
  /** w·s of each direction. */
  readonly weights: Float64Array
  readonly B: Matrix
  readonly A: Matrix
}

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
  const parts: ModuleFactors[] = []
  for (const term of terms) parts.push(await finiteFactors(term, expert))
  const weights = weightsOf(parts, terms)
  const [B, A] = [stackedB(parts), stackedA(parts)]
  // the product is within the product of these, and nothing on the way to it is beyond
  const most = mostNorm(B.data) * frobeniusNorm(weights) * mostNorm(A.data)
  assertInRange([[most]], { file: terms[0].path, tensor: name })
  return { parts, weights, B, A }
}

/** At least ‖X‖_F: of float32 by their dtype alone, which sets products of two far below the largest float64. */
const mostNorm = (data: FloatArray): number =>
  data instanceof Float32Array ? 2 ** 128 * Math.sqrt(data.length) : frobeniusNorm(data)

/** Throws `not-finite` on NaN and infinity. */
async function finiteFactors({ module, path }: Term, expert: number | undefined): Promise<ModuleFactors> {
  const factors = await readFactors(module, expert)
  refuseNonFinite(path, blamed(module, 'B').name, nonFiniteEntries(factors.B), CURE)
  refuseNonFinite(path, blamed(module, 'A').name, nonFiniteEntries(factors.A), CURE)
  return factors
}

/** w·s of each direction of the stacked factors, which stay the numbers that were stored. */
function weightsOf(parts: readonly ModuleFactors[], terms: readonly Term[]): Float64Array {
  return Float64Array.from(parts.flatMap(({ A, scale }, i) => Array(A.rows).fill(terms[i].weight * scale)))
}

/** [B₁ | B₂ | …]. */
function stackedB(parts: readonly ModuleFactors[]): Matrix {
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
  return { rows: B.rows, columns: rank, data }
}

/** [A₁; A₂; …]. */
function stackedA(parts: readonly ModuleFactors[]): Matrix {
  const [{ A }] = parts
  if (parts.length === 1) return A
  const rank = rankOfAll(parts)
  const data = floatsFor(parts, rank * A.columns)
  let at = 0
  for (const { A: part } of parts) {
    data.set(part.data, at)
    at += part.data.length
  }
  return { rows: rank, columns: A.columns, data }
}

const rankOfAll = (parts: readonly ModuleFactors[]) => parts.reduce((sum, { A }) => sum + A.rows, 0)

const floatsFor = (parts: readonly ModuleFactors[], length: number) =>
  parts.some(({ B }) => B.data instanceof Float64Array) ? new Float64Array(length) : new Float32Array(length)
