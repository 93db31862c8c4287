import { largestAbs } from '../matrix/norms.ts'
import { singularValues } from './bidiagonal.ts'
import { inverseIteration } from './inverse-iteration.ts'
import { orthogonalizeRows } from './jacobi.ts'
import { type Block, type Kernels, type Operation, rowOf } from './kernels.ts'
import { factorPanel, makeReflector } from './qr.ts'
import { secularRoots, secularVectors } from './secular.ts'
import { reducePanel } from './symmetric-eigen.ts'
import { tridiagonalQl } from './tridiagonal-ql.ts'

/** Length of the slices of a dot product that are summed before they are added to C: two rows of A and of B stay in the L1 cache. */
const DEPTH = 256

/** The kernels as plain loops: no threads, no dependency on the platform, and the oracle of every other implementation. */
export const jsKernels: Kernels = {
  allocate: (length) => new Float64Array(length),
  scope: (body) => body(),
  gemm,
  syrk,
  symv,
  gemv,
  ger,
  rotate,
  largestAbs,
  scale: (factor, x) => {
    for (let i = 0; i < x.length; i++) x[i] *= factor
  },
  divide: (x, divisor) => {
    for (let i = 0; i < x.length; i++) x[i] /= divisor
  },
  sumOfSquares: (x) => {
    let sum = 0
    for (let i = 0; i < x.length; i++) sum += x[i] * x[i]
    return sum
  },
  makeReflector,
  factorPanel: (panel, tau) => factorPanel(jsKernels, panel, tau),
  reducePanel: (G, start, VW, out) => reducePanel(jsKernels, G, start, VW, out),
  tridiagonalQl,
  singularValues,
  inverseIteration,
  secularRoots,
  secularVectors,
  orthogonalize: (work, rotations) => orthogonalizeRows(work, new Int32Array(work.rows), rotations),
}

function gemm(A: Block, opA: Operation, B: Block, opB: Operation, C: Block, accumulate = false): void {
  const k = opA === 'N' ? A.columns : A.rows
  if (!accumulate) clear(C)
  for (let p = 0; p < k; p += DEPTH) {
    const depth = Math.min(DEPTH, k - p)
    addProduct(packed(A, opA === 'N', p, depth), packed(B, opB === 'T', p, depth), depth, C, 0)
  }
}

function syrk(A: Block, C: Block): void {
  clear(C)
  for (let p = 0; p < A.columns; p += DEPTH) {
    const depth = Math.min(DEPTH, A.columns - p)
    const slice = packed(A, true, p, depth)
    addProduct(slice, slice, depth, C, 1)
  }
  for (let i = 1; i < C.rows; i++) {
    for (let j = 0; j < i; j++) {
      C.data[C.offset + i * C.stride + j] = C.data[C.offset + j * C.stride + i]
    }
  }
}

function clear(C: Block): void {
  for (let i = 0; i < C.rows; i++) rowOf(C, i).fill(0)
}

/** Columns p..p+depth of A (or rows, when `alongRows` is false) as contiguous rows of `depth` numbers. */
function packed(A: Block, alongRows: boolean, p: number, depth: number): Float64Array {
  const { data, offset, stride } = A
  const count = alongRows ? A.rows : A.columns
  const out = new Float64Array(count * depth)
  if (alongRows) {
    for (let i = 0; i < count; i++) {
      const start = offset + i * stride + p
      out.set(data.subarray(start, start + depth), i * depth)
    }
  } else {
    for (let l = 0; l < depth; l++) {
      const start = offset + (p + l) * stride
      for (let i = 0; i < count; i++) out[i * depth + l] = data[start + i]
    }
  }
  return out
}

/**
 * C += A·Bᵀ for packed A and B, in tiles of 4 × 2 whose sums fit the registers. `upper` = 1 leaves out
 * the tiles that lie below the diagonal of C.
 */
function addProduct(A: Float64Array, B: Float64Array, depth: number, C: Block, upper: 0 | 1): void {
  const { data, offset, stride, rows, columns } = C
  const evenRows = rows - (rows % 4)
  const evenColumns = columns - (columns % 2)
  for (let i = 0; i < evenRows; i += 4) {
    const c0 = offset + i * stride
    const c1 = c0 + stride
    const c2 = c1 + stride
    const c3 = c2 + stride
    for (let j = upper * i; j < evenColumns; j += 2) {
      let a = i * depth
      let b = j * depth
      let s00 = 0
      let s01 = 0
      let s10 = 0
      let s11 = 0
      let s20 = 0
      let s21 = 0
      let s30 = 0
      let s31 = 0
      for (const end = b + depth; b < end; a++, b++) {
        const b0 = B[b]
        const b1 = B[b + depth]
        const a0 = A[a]
        const a1 = A[a + depth]
        const a2 = A[a + 2 * depth]
        const a3 = A[a + 3 * depth]
        s00 += a0 * b0
        s01 += a0 * b1
        s10 += a1 * b0
        s11 += a1 * b1
        s20 += a2 * b0
        s21 += a2 * b1
        s30 += a3 * b0
        s31 += a3 * b1
      }
      data[c0 + j] += s00
      data[c0 + j + 1] += s01
      data[c1 + j] += s10
      data[c1 + j + 1] += s11
      data[c2 + j] += s20
      data[c2 + j + 1] += s21
      data[c3 + j] += s30
      data[c3 + j + 1] += s31
    }
  }
  for (let i = 0; i < rows; i++) {
    const first = i < evenRows ? evenColumns : upper * i
    for (let j = first; j < columns; j++) {
      let sum = 0
      for (let l = 0; l < depth; l++) sum += A[i * depth + l] * B[j * depth + l]
      data[offset + i * stride + j] += sum
    }
  }
}

function symv(A: Block, x: Float64Array, y: Float64Array): void {
  const n = A.rows
  y.fill(0, 0, n)
  for (let i = 0; i < n; i++) {
    const row = A.offset + i * A.stride
    const xi = x[i]
    let sum = A.data[row + i] * xi
    for (let j = i + 1; j < n; j++) {
      const a = A.data[row + j]
      sum += a * x[j]
      y[j] += a * xi
    }
    y[i] += sum
  }
}

function gemv(alpha: number, A: Block, opA: Operation, x: Float64Array, y: Float64Array): void {
  const { data, offset, stride, rows, columns } = A
  for (let i = 0; i < rows; i++) {
    const row = offset + i * stride
    if (opA === 'N') {
      let sum = 0
      for (let j = 0; j < columns; j++) sum += data[row + j] * x[j]
      y[i] += alpha * sum
    } else {
      const factor = alpha * x[i]
      for (let j = 0; j < columns; j++) y[j] += factor * data[row + j]
    }
  }
}

function ger(alpha: number, x: Float64Array, y: Float64Array, A: Block): void {
  const { data, offset, stride, rows, columns } = A
  for (let i = 0; i < rows; i++) {
    const row = offset + i * stride
    const factor = alpha * x[i]
    for (let j = 0; j < columns; j++) data[row + j] += factor * y[j]
  }
}

function rotate(x: Float64Array, y: Float64Array, c: number, s: number): void {
  for (let i = 0; i < x.length; i++) {
    const xi = x[i]
    const yi = y[i]
    x[i] = c * xi + s * yi
    y[i] = c * yi - s * xi
  }
}
