import { epsilonOf } from '../matrix/matrix.ts'
import { type Block, block, copyBlock, type Kernels, part, rowOf } from './kernels.ts'
import type { RankOneUpdate } from './secular.ts'

/** Order at and below which QL with vectors is as fast as merging (LAPACK's SMLSIZ is 25). */
const BASE_ORDER = 32

/** Eigenvalues ascending and the eigenvectors in the ROWS of `vectors` [count, n], in the same order. */
export interface TridiagonalEigen {
  readonly values: Float64Array
  readonly vectors: Block
}

/**
 * Eigenvalues and the eigenvectors of the `count` smallest of them (all by default) of a symmetric tridiagonal matrix
 * by divide and conquer: Cuppen's rank-one tearing with the deflation, secular equation and vectors of Gu and
 * Eisenstat (SIMAX 16 (1995) 172; LAPACK xSTEDC, xLAED1–4). Orthogonal to rounding without reorthogonalisation,
 * because the vectors are those of the nearby problem that has the computed roots exactly (Löwner's formula).
 * The largest entry is about 1. `diagonal` [n] is destroyed. The vectors are allocated
 * from `kernels`.
 */
export function tridiagonalEigen(
  kernels: Kernels,
  diagonal: Float64Array,
  offDiagonal: Float64Array,
  count = diagonal.length,
): TridiagonalEigen {
  const n = diagonal.length
  const result = block(kernels.allocate(count * n), count, n)
  return kernels.scope(() => {
    const state: State = {
      kernels,
      values: diagonal,
      offDiagonal,
      order: new Int32Array(n),
      vectors: block(kernels.allocate(n * n).fill(0), n, n),
      scratch: kernels.allocate(n * n),
      roots: kernels.allocate(n * n),
    }
    if (n > 0) solve(state, 0, n, count)
    for (let i = 0; i < count; i++) rowOf(result, i).set(rowOf(state.vectors, state.order[i]))
    return { values: Float64Array.from(state.order, (r) => diagonal[r]), vectors: result }
  })
}

interface State {
  readonly kernels: Kernels
  /** Diagonal entries, then eigenvalues: values[i] belongs to row i of `vectors`. */
  readonly values: Float64Array
  readonly offDiagonal: Float64Array
  /** Within each solved range [low, high): low + order[low + i] is the index of the i-th smallest value. */
  readonly order: Int32Array
  readonly vectors: Block
  readonly scratch: Float64Array
  readonly roots: Float64Array
}

/** Solves rows and columns low..high: the vectors' rows are nonzero in these columns only. */
function solve(state: State, low: number, high: number, count: number): void {
  if (high - low <= BASE_ORDER) {
    solveBase(state, low, high)
    return
  }
  const { values, offDiagonal } = state
  const middle = low + ((high - low) >> 1)
  const coupling = offDiagonal[middle - 1]
  values[middle - 1] -= Math.abs(coupling)
  values[middle] -= Math.abs(coupling)
  solve(state, low, middle, middle - low)
  solve(state, middle, high, high - middle)
  merge(state, { low, middle, high }, coupling, count)
}

function solveBase({ kernels, values, offDiagonal, order, vectors }: State, low: number, high: number): void {
  const n = high - low
  const Z = part(vectors, low, low, n, n)
  for (let i = 0; i < n; i++) rowOf(Z, i)[i] = 1
  kernels.tridiagonalQl(values.subarray(low, high), offDiagonal.slice(low, high - 1), Z)
  sortOrder(values, order, low, high)
}

function sortOrder(values: Float64Array, order: Int32Array, low: number, high: number): void {
  const range = order.subarray(low, high)
  for (let i = 0; i < range.length; i++) range[i] = i
  range.sort((a, b) => values[low + a] - values[low + b] || a - b)
}

interface Range {
  readonly low: number
  readonly middle: number
  readonly high: number
}

/** Where a vector that stays in the secular problem is nonzero. */
const Support = { top: 0, both: 1, bottom: 2 } as const

/** The eigenpairs of diag(T1, T2) + |coupling|·u·uᵀ from those of T1 and T2. */
function merge(state: State, range: Range, coupling: number, count: number): void {
  const { kernels, values, order } = state
  const { low, high } = range
  const z = couplingVector(state, range, coupling)
  const { kept, deflated, support } = deflate(state, range, z, 2 * Math.abs(coupling))
  const k = kept.length
  // Rows grouped by support, so that each half of the columns needs one product with dense operands.
  const grouped = [...kept.keys()].sort((a, b) => support[kept[a]] - support[kept[b]] || a - b)
  const position = new Int32Array(k)
  for (let g = 0; g < k; g++) position[grouped[g]] = g
  const problem: RankOneUpdate = {
    d: Float64Array.from(kept, (r) => values[low + r]),
    z2: Float64Array.from(kept, (r) => z[r] * z[r]),
    rho: 2 * Math.abs(coupling),
  }
  const S = block(state.roots, k, k)
  const roots = kernels.secularRoots(problem, S)
  const needed = neededRoots(roots, deflated, values, low, count)
  kernels.secularVectors(
    problem.d,
    Float64Array.from(kept, (r) => z[r]),
    S,
    position,
    needed,
  )
  const deflatedValues = Float64Array.from(deflated, (r) => values[low + r])
  multiplyOut(kernels, state, range, { kept, deflated, support, grouped }, part(S, 0, 0, needed, k))
  values.set(roots, low)
  values.set(deflatedValues, low + k)
  sortOrder(values, order, low, high)
}

/** How many of the roots are among the `count` smallest eigenvalues of the merged problem. */
function neededRoots(
  roots: Float64Array,
  deflated: readonly number[],
  values: Float64Array,
  low: number,
  count: number,
): number {
  if (count >= roots.length + deflated.length) return roots.length
  const all = [...roots, ...deflated.map((r) => values[low + r])].sort((a, b) => a - b)
  const bound = count === 0 ? Number.NEGATIVE_INFINITY : all[count - 1]
  let needed = 0
  while (needed < roots.length && roots[needed] <= bound) needed++
  return needed
}

/** z = (last row of Q1, first row of Q2 times the coupling's sign)/√2 in the basis of the two halves' vectors. */
function couplingVector({ vectors }: State, { low, middle, high }: Range, coupling: number): Float64Array {
  const z = new Float64Array(high - low)
  const scale = Math.SQRT1_2
  for (let r = low; r < middle; r++) z[r - low] = scale * rowOf(vectors, r)[middle - 1]
  const signed = coupling < 0 ? -scale : scale
  for (let r = middle; r < high; r++) z[r - low] = signed * rowOf(vectors, r)[middle]
  return z
}

interface Deflation {
  /** Rows of the secular problem, by ascending value. */
  readonly kept: number[]
  /** Rows whose value and vector are final. */
  readonly deflated: number[]
  readonly support: Uint8Array
}

/**
 * Takes out the pairs that the coupling leaves unchanged to rounding: small entries of z, and of two close values one,
 * after the rotation that makes its entry of z zero. Rows count from `low`.
 */
function deflate(state: State, range: Range, z: Float64Array, rho: number): Deflation {
  const { values, vectors } = state
  const { low, middle, high } = range
  const n = high - low
  const ascending = mergedOrder(state, range)
  const support = new Uint8Array(n)
  support.fill(Support.bottom, middle - low)
  let largest = 0
  for (let r = 0; r < n; r++) largest = Math.max(largest, Math.abs(values[low + r]), Math.abs(z[r]))
  const tolerance = 8 * epsilonOf.f64 * largest
  const kept: number[] = []
  const deflated: number[] = []
  let previous = -1
  for (const r of ascending) {
    if (rho * Math.abs(z[r]) <= tolerance) {
      deflated.push(r)
      continue
    }
    if (previous >= 0) {
      const length = Math.sqrt(z[r] * z[r] + z[previous] * z[previous])
      const c = z[r] / length
      const s = z[previous] / length
      const gap = values[low + r] - values[low + previous]
      if (Math.abs(gap * c * s) <= tolerance) {
        z[r] = length
        z[previous] = 0
        if (support[r] !== support[previous]) support[r] = Support.both
        state.kernels.rotate(
          rowOf(vectors, low + previous, low, high),
          rowOf(vectors, low + r, low, high),
          c,
          -s,
        )
        const a = values[low + previous]
        const b = values[low + r]
        values[low + previous] = a * c * c + b * s * s
        values[low + r] = a * s * s + b * c * c
        deflated.push(previous)
      } else kept.push(previous)
    }
    previous = r
  }
  if (previous >= 0) kept.push(previous)
  return { kept, deflated, support }
}

/** The rows of both halves by ascending value. */
function mergedOrder({ values, order }: State, { low, middle, high }: Range): number[] {
  const merged: number[] = []
  let i = low
  let j = middle
  while (i < middle || j < high) {
    const a = i < middle ? order[i] : -1
    const b = j < high ? middle - low + order[j] : -1
    if (b < 0 || (a >= 0 && values[low + a] <= values[low + b])) {
      merged.push(a)
      i++
    } else {
      merged.push(b)
      j++
    }
  }
  return merged
}

interface Grouping extends Deflation {
  readonly grouped: readonly number[]
}

/** The merged vectors: S times the kept rows, each half of the columns with the rows that reach into it; then the deflated rows. */
function multiplyOut(kernels: Kernels, state: State, range: Range, grouping: Grouping, S: Block): void {
  const { vectors, scratch } = state
  const { low, middle, high } = range
  const { kept, deflated, support, grouped } = grouping
  const rows = grouped.map((g) => kept[g])
  const k = rows.length
  const reachTop = rows.filter((r) => support[r] !== Support.bottom).length
  const firstBottom = rows.filter((r) => support[r] === Support.top).length
  const n1 = middle - low
  const n2 = high - middle
  const top = block(scratch, reachTop, n1)
  const bottom = block(scratch, k - firstBottom, n2, reachTop * n1)
  const rest = block(scratch, deflated.length, high - low, bottom.offset + bottom.rows * n2)
  for (let i = 0; i < reachTop; i++) rowOf(top, i).set(rowOf(vectors, low + rows[i], low, middle))
  for (let i = firstBottom; i < k; i++) {
    rowOf(bottom, i - firstBottom).set(rowOf(vectors, low + rows[i], middle, high))
  }
  deflated.forEach((r, i) => {
    rowOf(rest, i).set(rowOf(vectors, low + r, low, high))
  })
  const merged = part(vectors, low, low, S.rows, high - low)
  kernels.gemm(part(S, 0, 0, S.rows, reachTop), 'N', top, 'N', part(merged, 0, 0, S.rows, n1))
  const right = part(S, 0, firstBottom, S.rows, k - firstBottom)
  kernels.gemm(right, 'N', bottom, 'N', part(merged, 0, n1, S.rows, n2))
  copyBlock(rest, part(vectors, low + k, low, deflated.length, high - low))
}
