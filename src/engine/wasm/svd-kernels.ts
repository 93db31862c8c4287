import { type Block, type Kernels, type Operation, rowOf } from '../../linalg/svd/kernels.ts'
import { Kind, TypeCode } from './contract.ts'
import { addressOf, iterations } from './iterations.ts'
import { emptyTask } from './pool.ts'
import { tileGrid, triangleGrid } from './products.ts'
import type { WasmRuntime } from './wasm-engine.ts'

/** The kernels of src/svd on the shared memory: its arrays are views of that memory, so nothing is copied. */

const BYTES = 8

/** Kernels whose arrays live in `runtime`'s memory; a growing shared memory keeps earlier views valid. */
export function wasmSvdKernels(runtime: WasmRuntime): Kernels {
  const { heap, kernels, memory, threads } = runtime
  let scoped: number[] = []

  function allocate(length: number): Float64Array {
    const address = heap.allocate(length * BYTES)
    scoped.push(address)
    return new Float64Array(memory.buffer, address, length)
  }

  function scope<T>(body: () => T): T {
    const outer = scoped
    scoped = []
    try {
      return body()
    } finally {
      for (const address of scoped) heap.free(address)
      scoped = outer
    }
  }

  function product(A: Block, opA: Operation, B: Block, opB: Operation, C: Block, accumulate: boolean): void {
    runtime.run({ ...productTask(A, opA, B, opB, C), ...tileGrid(C.rows, C.columns, threads), accumulate })
  }

  return {
    allocate,
    scope,
    gemm(A, opA, B, opB, C, accumulate = false) {
      if (C.rows === 0 || C.columns === 0) return
      if ((opA === 'N' ? A.columns : A.rows) > 0) product(A, opA, B, opB, C, accumulate)
      else if (!accumulate) for (let i = 0; i < C.rows; i++) rowOf(C, i).fill(0)
    },
    syrk(A, C) {
      if (C.rows === 0) return
      if (A.columns === 0) {
        C.data.fill(0, C.offset, C.offset + C.rows * C.rows)
        return
      }
      const grid = triangleGrid(C.rows, threads)
      runtime.run({ ...productTask(A, 'N', A, 'T', C), ...grid, lowerOnly: true })
      kernels.mirrorLower(addressOf(C), C.rows)
    },
    symv(A, x, y) {
      kernels.symvUpper(A.rows, addressOf(A), A.stride * BYTES, x.byteOffset, y.byteOffset)
    },
    gemv(alpha, A, opA, x, y) {
      const kernel = opA === 'N' ? kernels.gemv : kernels.gemvTransposed
      kernel(alpha, A.rows, A.columns, addressOf(A), A.stride * BYTES, x.byteOffset, y.byteOffset)
    },
    ger(alpha, x, y, A) {
      kernels.ger(alpha, A.rows, A.columns, x.byteOffset, y.byteOffset, addressOf(A), A.stride * BYTES)
    },
    rotate(x, y, c, s) {
      kernels.rotate(x.length, x.byteOffset, y.byteOffset, c, s)
    },
    largestAbs: (x) => kernels.largestAbs(x.length, x.byteOffset),
    scale: (factor, x) => kernels.scale(x.length, factor, x.byteOffset),
    divide: (x, divisor) => kernels.divide(x.length, divisor, x.byteOffset),
    sumOfSquares: (x) => kernels.sumOfSquares(x.length, x.byteOffset),
    makeReflector: (x) => kernels.makeReflector(x.length, x.byteOffset),
    ...iterations(runtime),
  }
}

function productTask(A: Block, opA: Operation, B: Block, opB: Operation, C: Block) {
  return {
    ...emptyTask,
    kind: Kind.gemm,
    arithmetic: TypeCode.f64,
    m: C.rows,
    n: C.columns,
    k: opA === 'N' ? A.columns : A.rows,
    a: addressOf(A),
    typeA: TypeCode.f64,
    strideA: A.stride,
    transposeA: opA === 'T',
    b: addressOf(B),
    typeB: TypeCode.f64,
    strideB: B.stride,
    transposeB: opB === 'T',
    c: addressOf(C),
    strideC: C.stride,
  }
}
