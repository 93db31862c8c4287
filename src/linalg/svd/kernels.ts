import type { Float64Matrix } from '../matrix/matrix.ts'
import type { RankOneUpdate } from './secular.ts'
import type { TridiagonalReduction } from './symmetric-eigen.ts'

/** What a tridiagonal reduction gives of a matrix [n, n]: each has n entries, or as many as it needs. */
export interface PanelOutputs {
  readonly diagonal: Float64Array
  readonly offDiagonal: Float64Array
  readonly tau: Float64Array
}

/**
 * A rectangle of a row-major float64 array: entry (i, j) is `data[offset + i * stride + j]`.
 * The decompositions work in place on blocks; a matrix is the block that fills its array.
 */
export interface Block {
  readonly data: Float64Array
  readonly offset: number
  readonly rows: number
  readonly columns: number
  readonly stride: number
}

/** 'N' takes a block as it is, 'T' its transpose. */
export type Operation = 'N' | 'T'

/**
 * The float64 inner loops under the decompositions, named after their BLAS counterparts, on row-major blocks.
 * An implementation may keep its own memory: only arrays from `allocate` may be passed to the other kernels,
 * and they are valid until the `scope` in which they were made ends.
 */
export interface Kernels {
  /** `length` numbers, whatever was there before. */
  allocate(length: number): Float64Array
  /** Runs `body`, then frees whatever it allocated. */
  scope<T>(body: () => T): T
  /** C ← op(A)·op(B), or C ← C + op(A)·op(B) where `accumulate` is true. C must not overlap A or B. */
  gemm(A: Block, opA: Operation, B: Block, opB: Operation, C: Block, accumulate?: boolean): void
  /** C ← A·Aᵀ in full (both triangles, exactly symmetric). A [m, k], C [m, m] with stride m. */
  syrk(A: Block, C: Block): void
  /** y ← A·x, A symmetric [n, n] of which only the upper triangle is read. x and y have length n. */
  symv(A: Block, x: Float64Array, y: Float64Array): void
  /** y ← y + alpha·op(A)·x, on subarrays x and y of the fitting lengths. */
  gemv(alpha: number, A: Block, opA: Operation, x: Float64Array, y: Float64Array): void
  /** A ← A + alpha·x·yᵀ. x [rows], y [columns]. */
  ger(alpha: number, x: Float64Array, y: Float64Array, A: Block): void
  /** x ← c·x + s·y and y ← c·y − s·x: the plane rotation of BLAS drot. */
  rotate(x: Float64Array, y: Float64Array, c: number, s: number): void
  /** max|xᵢ|, NaN where an entry is NaN. */
  largestAbs(x: Float64Array): number
  /** x ← factor·x. */
  scale(factor: number, x: Float64Array): void
  /** x ← x / divisor. */
  divide(x: Float64Array, divisor: number): void
  /** Σ xᵢ², one after the other. */
  sumOfSquares(x: Float64Array): number
  /** As that of qr.ts. */
  makeReflector(x: Float64Array): number
  /** As that of qr.ts; `tau` may be any array. */
  factorPanel(panel: Block, tau: Float64Array): void
  /** As that of symmetric-eigen.ts; what it gives may go to any arrays. */
  reducePanel(G: Block, start: number, VW: Block, out: PanelOutputs): void
  /** As that of tridiagonal-ql.ts; `d` and `e` may be any arrays. */
  tridiagonalQl(d: Float64Array, e: Float64Array, Z?: Block): void
  /** As that of bidiagonal.ts; X [n, m] is alone in its array. */
  singularValues(X: Block): Float64Array
  /** As that of inverse-iteration.ts; Z is alone in its array. */
  inverseIteration(reduction: TridiagonalReduction, values: Float64Array, Z: Block): boolean
  /** As that of secular.ts: all roots, and in the rows of S [n, n], alone in its array, the differences. */
  secularRoots(problem: RankOneUpdate, S: Block): Float64Array
  /** As that of secular.ts. */
  secularVectors(d: Float64Array, z: Float64Array, S: Block, position: Int32Array, needed: number): void
  /** As `orthogonalizeRows` of jacobi.ts, of rows without exponents of their own; `work` and `rotations` may be any arrays. */
  orthogonalize(work: Float64Matrix, rotations: Float64Matrix | null): void
}

/** The block of `rows` × `columns` that starts at `offset`; by default its rows follow on one another. */
export function block(
  data: Float64Array,
  rows: number,
  columns: number,
  offset = 0,
  stride = columns,
): Block {
  return { data, offset, rows, columns, stride }
}

/** The part of A with `rows` rows from `i` and `columns` columns from `j`; it shares A's storage. */
export function part(A: Block, i: number, j: number, rows: number, columns: number): Block {
  return { data: A.data, offset: A.offset + i * A.stride + j, rows, columns, stride: A.stride }
}

/** Row `i` of A from column `from` to `to`, sharing A's storage. */
export function rowOf(A: Block, i: number, from = 0, to = A.columns): Float64Array {
  const start = A.offset + i * A.stride
  return A.data.subarray(start + from, start + to)
}

/** A copied row by row into `target`, a block of the same shape. */
export function copyBlock(A: Block, target: Block): void {
  for (let i = 0; i < A.rows; i++) rowOf(target, i).set(rowOf(A, i))
}

/** Aᵀ written to `target` [A.columns, A.rows], in square tiles so that both sides stay in cache. */
export function transposeBlock(A: Block, target: Block): void {
  const tile = 16
  for (let i0 = 0; i0 < A.rows; i0 += tile) {
    const i1 = Math.min(A.rows, i0 + tile)
    for (let j0 = 0; j0 < A.columns; j0 += tile) {
      const j1 = Math.min(A.columns, j0 + tile)
      for (let i = i0; i < i1; i++) {
        const row = A.offset + i * A.stride
        for (let j = j0; j < j1; j++) target.data[target.offset + j * target.stride + i] = A.data[row + j]
      }
    }
  }
}
