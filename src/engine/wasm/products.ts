import type { GramOf, MultiplyOptions } from '../../linalg/engine.ts'
import { type Float64Matrix, type HalfMatrix, type Matrix, zeros } from '../../linalg/matrix/matrix.ts'
import { checkInner, gram as plainGram, multiply as plainMultiply } from '../js/js-engine.ts'
import { DEPTH_F32, DEPTH_F64, Kind, MAX_TILE_COLUMNS, TypeCode } from './contract.ts'
import { bytesPerEntry, copyIn, copyOut, floats, storageType, withBlocks } from './memory.ts'
import { emptyTask } from './pool.ts'
import type { WasmRuntime } from './wasm-engine.ts'

/** multiply and gram: operands that aren't there are copied into the shared memory, the left one in slabs of bounded size. */

/** Below this many multiplications plain loops win: copying in and out costs more than the kernels save. */
const PLAIN_LOOPS_BELOW = 12 ** 3
/** Rows of a slab are a multiple of this, which the depth of either type divides, so that slabs leave the bits alone. */
const SLAB_ROWS_STEP = Math.max(DEPTH_F32, DEPTH_F64)
/** The left operand's share of the shared memory at a time. */
const SLAB_BYTES = 64 * 2 ** 20

/** Visits [from, to) for consecutive slabs of so many rows of A. */
function forEachSlab(A: Matrix | HalfMatrix, step: number, visit: (from: number, to: number) => void): void {
  for (let from = 0; from < A.rows; from += step) visit(from, Math.min(A.rows, from + step))
}

function slabRows(A: Matrix | HalfMatrix): number {
  const rows = SLAB_BYTES / (A.columns * A.data.BYTES_PER_ELEMENT)
  return Math.min(A.rows, Math.max(1, Math.floor(rows / SLAB_ROWS_STEP)) * SLAB_ROWS_STEP)
}

/** op(A)·op(B) as `Engine.multiply` says. Throws RangeError when the inner dimensions differ. */
export function multiply(
  runtime: WasmRuntime,
  A: Matrix | HalfMatrix,
  B: Matrix | HalfMatrix,
  options: MultiplyOptions = {},
): Matrix {
  const { transposeA = false, transposeB = false } = options
  const [m, k] = transposeA ? [A.columns, A.rows] : [A.rows, A.columns]
  const [inner, n] = transposeB ? [B.columns, B.rows] : [B.rows, B.columns]
  checkInner(k, inner)
  if (m * n * k < PLAIN_LOOPS_BELOW) return plainMultiply(A, B, options)

  const type = storageType(A) === 'f32' && storageType(B) === 'f32' ? 'f32' : 'f64'
  const { memory, heap } = runtime
  const sizeB = B.data.BYTES_PER_ELEMENT
  const data = floats(type, m * n)
  const [isHeldA, isHeldB] = [heap.holds(A.data), heap.holds(B.data)]
  const step = isHeldA ? A.rows : slabRows(A)
  const sizes = [
    isHeldA ? 0 : step * A.columns * A.data.BYTES_PER_ELEMENT,
    isHeldB ? 0 : B.data.byteLength,
    (transposeA ? m : step) * n * bytesPerEntry(type),
  ]
  withBlocks(heap, sizes, (slab, right, c) => {
    const [a, b] = [isHeldA ? A.data.byteOffset : slab, isHeldB ? B.data.byteOffset : right]
    if (!isHeldB) copyIn(memory, b, B)
    forEachSlab(A, step, (from, to) => {
      if (!isHeldA) copyIn(memory, a, A, from * A.columns, to * A.columns)
      const rows = transposeA ? m : to - from
      runtime.run({
        ...emptyTask,
        ...tileGrid(rows, n, runtime.threads),
        kind: Kind.gemm,
        arithmetic: TypeCode[type],
        m: rows,
        n,
        k: transposeA ? to - from : k,
        a,
        typeA: TypeCode[storageType(A)],
        strideA: A.columns,
        transposeA,
        // a slab of Aᵀ takes part in the inner indices [from, to) only
        b: transposeA ? b + from * (transposeB ? 1 : B.columns) * sizeB : b,
        typeB: TypeCode[storageType(B)],
        strideB: B.columns,
        transposeB,
        c,
        strideC: n,
        accumulate: transposeA && from > 0,
      })
      if (!transposeA) copyOut(memory, c, data.subarray(from * n, to * n))
    })
    if (transposeA) copyOut(memory, c, data)
  })
  return { rows: m, columns: n, data }
}

/** Aᵀ·A or A·Aᵀ in float64 as `Engine.gram` says: one triangle computed, the other its mirror image. */
export function gram(runtime: WasmRuntime, A: Matrix | HalfMatrix, of: GramOf = 'columns'): Float64Matrix {
  if (of === 'rows') return gramOfRows(runtime, A)
  const n = A.columns
  if (A.rows * n * n < PLAIN_LOOPS_BELOW) return plainGram(A)
  const { memory, heap, kernels } = runtime
  const G = zeros(n, n)
  const type = TypeCode[storageType(A)]
  withBlocks(heap, [slabRows(A) * n * A.data.BYTES_PER_ELEMENT, G.data.byteLength], (a, c) => {
    forEachSlab(A, slabRows(A), (from, to) => {
      copyIn(memory, a, A, from * n, to * n)
      runtime.run({
        ...emptyTask,
        ...triangleGrid(n, runtime.threads),
        kind: Kind.gemm,
        arithmetic: TypeCode.f64,
        m: n,
        n,
        k: to - from,
        a,
        typeA: type,
        strideA: n,
        transposeA: true,
        b: a,
        typeB: type,
        strideB: n,
        c,
        strideC: n,
        accumulate: from > 0,
        lowerOnly: true,
      })
    })
    kernels.mirrorLower(c, n)
    copyOut(memory, c, G.data)
  })
  return G
}

/** A·Aᵀ, with A copied as a whole: its rows are taken to be few. */
function gramOfRows(runtime: WasmRuntime, A: Matrix | HalfMatrix): Float64Matrix {
  const { rows: n, columns: k } = A
  if (k * n * n < PLAIN_LOOPS_BELOW) return plainGram(A, 'rows')
  const { memory, heap, kernels } = runtime
  const G = zeros(n, n)
  const type = TypeCode[storageType(A)]
  withBlocks(heap, [A.data.byteLength, G.data.byteLength], (a, c) => {
    copyIn(memory, a, A)
    runtime.run({
      ...emptyTask,
      ...triangleGrid(n, runtime.threads),
      kind: Kind.gemm,
      arithmetic: TypeCode.f64,
      m: n,
      n,
      k,
      a,
      typeA: type,
      strideA: k,
      b: a,
      typeB: type,
      strideB: k,
      transposeB: true,
      c,
      strideC: n,
      lowerOnly: true,
    })
    kernels.mirrorLower(c, n)
    copyOut(memory, c, G.data)
  })
  return G
}

/** Cutting a product into the tiles that threads take. Results don't depend on it: see assembly/gemm.ts. */

/** Larger tiles repack less. */
const LARGEST_TILE = MAX_TILE_COLUMNS
/** Below this repacking costs a fifth of the time. */
const SMALLEST_TILE = 64
/** Enough tiles a thread that the last ones to finish leave little idle time. */
const TILES_PER_THREAD = 4

export interface TileGrid {
  readonly tiles: number
  readonly tileRows: number
  readonly tileColumns: number
}

/** The coarsest grid over an m × n result that keeps `threads` threads busy. */
export function tileGrid(m: number, n: number, threads: number): TileGrid {
  let side = LARGEST_TILE
  while (side > SMALLEST_TILE && threads > 1 && count(m, n, side) < threads * TILES_PER_THREAD) side /= 2
  return { tiles: count(m, n, side), tileRows: side, tileColumns: side }
}

/** A triangle is cut as if for this many threads where there are several: its tiles differ in what they have to do. */
const TRIANGLE_SHARES = 8

/** The grid over an n × n result of which only one triangle is computed. */
export const triangleGrid = (n: number, threads: number): TileGrid =>
  tileGrid(n, n, threads === 1 ? 1 : Math.max(threads, TRIANGLE_SHARES))

function count(m: number, n: number, side: number): number {
  return Math.ceil(m / side) * Math.ceil(n / side)
}
