/** multiply and gram: operands are copied into the shared memory, the left one in slabs of bounded size. */
import { type Float64Matrix, floatType, type Matrix, zeros } from '../../matrix/matrix.ts'
import type { MultiplyOptions } from '../engine.ts'
import { checkInner, gram as plainGram, multiply as plainMultiply } from '../js/multiply.ts'
import { withBlocks } from './memory.ts'
import type { WasmRuntime } from './runtime.ts'
import { bytesPerEntry, copyIn, copyOut, floats, TypeCode } from './storage.ts'
import { emptyTask, Kind } from './task.ts'
import { tileGrid } from './tiles.ts'

/** Below this many multiplications plain loops win: copying in and out costs more than the kernels save. */
const PLAIN_LOOPS_BELOW = 12 ** 3
/** Rows of a slab are a multiple of this, which both kernels' depths divide, so slabs leave the bits alone. */
const SLAB_ROWS_STEP = 512
/** The left operand's share of the shared memory at a time. */
const SLAB_BYTES = 64 * 2 ** 20

/** Visits [from, to) for consecutive slabs of the rows of A. */
function forEachSlab(A: Matrix, visit: (from: number, to: number) => void): void {
  const step = slabRows(A)
  for (let from = 0; from < A.rows; from += step) visit(from, Math.min(A.rows, from + step))
}

function slabRows(A: Matrix): number {
  const rows = SLAB_BYTES / (A.columns * A.data.BYTES_PER_ELEMENT)
  return Math.min(A.rows, Math.max(1, Math.floor(rows / SLAB_ROWS_STEP)) * SLAB_ROWS_STEP)
}

/** op(A)·op(B) as `Engine.multiply` says. Throws RangeError when the inner dimensions differ. */
export function multiply(runtime: WasmRuntime, A: Matrix, B: Matrix, options: MultiplyOptions = {}): Matrix {
  const { transposeA = false, transposeB = false } = options
  const [m, k] = transposeA ? [A.columns, A.rows] : [A.rows, A.columns]
  const [inner, n] = transposeB ? [B.columns, B.rows] : [B.rows, B.columns]
  checkInner(k, inner)
  if (m * n * k < PLAIN_LOOPS_BELOW) return plainMultiply(A, B, options)

  const type = floatType(A) === 'f32' && floatType(B) === 'f32' ? 'f32' : 'f64'
  const { memory, heap } = runtime
  const sizeB = B.data.BYTES_PER_ELEMENT
  const data = floats(type, m * n)
  const rowsOfC = transposeA ? m : slabRows(A)
  const sizes = [
    slabRows(A) * A.columns * A.data.BYTES_PER_ELEMENT,
    B.data.byteLength,
    rowsOfC * n * bytesPerEntry(type),
  ]
  withBlocks(heap, sizes, (a, b, c) => {
    copyIn(memory, b, B)
    forEachSlab(A, (from, to) => {
      copyIn(memory, a, A, from * A.columns, to * A.columns)
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
        typeA: TypeCode[floatType(A)],
        strideA: A.columns,
        transposeA,
        // a slab of Aᵀ takes part in the inner indices [from, to) only
        b: transposeA ? b + from * (transposeB ? 1 : B.columns) * sizeB : b,
        typeB: TypeCode[floatType(B)],
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

/** Aᵀ·A in float64 as `Engine.gram` says: one triangle computed, the other its mirror image. */
export function gram(runtime: WasmRuntime, A: Matrix): Float64Matrix {
  const n = A.columns
  if (A.rows * n * n < PLAIN_LOOPS_BELOW) return plainGram(A)
  const { memory, heap, kernels } = runtime
  const G = zeros(n, n)
  const type = TypeCode[floatType(A)]
  withBlocks(heap, [slabRows(A) * n * A.data.BYTES_PER_ELEMENT, G.data.byteLength], (a, c) => {
    forEachSlab(A, (from, to) => {
      copyIn(memory, a, A, from * n, to * n)
      runtime.run({
        ...emptyTask,
        ...tileGrid(n, n, runtime.threads),
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
