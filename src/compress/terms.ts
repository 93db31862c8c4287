import { refuseNonFinite } from '../checkpoint/read.ts'
import { nonFiniteEntries } from '../linalg/matrix/finite.ts'
import { type Float64Matrix, type Matrix, toFloat64, zeros } from '../linalg/matrix/matrix.ts'
import type { Factors } from '../linalg/svd/svd.ts'
import { readFactors } from '../lora/factors.ts'
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

/** The factors of a term in float64, with its weight and scale in B. */
export interface Part extends Factors {
  readonly B: Float64Matrix
  readonly A: Float64Matrix
}

/** What to do about NaN in an adapter, of which no part can be left out. */
const CURE = 'mend the adapter, or train it again'

/** Reads a term; of a stack `expert` says which matrix. Throws `not-finite` on NaN and infinity. */
export async function readTerm({ module, weight, path }: Term, expert: number | undefined): Promise<Part> {
  const { B, A, scale } = await readFactors(module, expert)
  refuseNonFinite(path, blamed(module, 'B').name, nonFiniteEntries(B), CURE)
  refuseNonFinite(path, blamed(module, 'A').name, nonFiniteEntries(A), CURE)
  return { B: scaled(B, weight * scale), A: toFloat64(A) }
}

/** By a loop: `Float64Array.from` with a function takes ten times as long. */
function scaled({ rows, columns, data }: Matrix, factor: number): Float64Matrix {
  const out = zeros(rows, columns)
  for (let i = 0; i < data.length; i++) out.data[i] = data[i] * factor
  return out
}

/** [B₁ | B₂ | …] and [A₁; A₂; …]. */
export function stacked(parts: readonly Part[]): [B: Float64Matrix, A: Float64Matrix] {
  const [first] = parts
  if (parts.length === 1) return [first.B, first.A]
  const { rows } = first.B
  const { columns } = first.A
  const rank = parts.reduce((sum, { A }) => sum + A.rows, 0)
  const [B, A] = [zeros(rows, rank), zeros(rank, columns)]
  let at = 0
  for (const part of parts) {
    const r = part.A.rows
    for (let i = 0; i < rows; i++) B.data.set(part.B.data.subarray(i * r, (i + 1) * r), i * rank + at)
    A.data.set(part.A.data, at * columns)
    at += r
  }
  return [B, A]
}
