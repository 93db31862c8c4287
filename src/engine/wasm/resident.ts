import type { HalfMatrix, ResidentMatrix } from '../../linalg/engine.ts'
import { type FloatType, floatType, type Matrix } from '../../linalg/matrix/matrix.ts'
import { checkInner, checkResidual } from '../js/js-engine.ts'
import {
  Kind,
  MAX_NORMAL_COLUMNS,
  PACKED_ROWS,
  PANEL_ROWS,
  REGISTER_COLUMNS,
  RESIDUAL_COLUMNS,
  SUM_ENTRIES,
  TypeCode,
} from './contract.ts'
import { bytesPerEntry, copyIn, copyOut, floats, storageType, withBlocks } from './memory.ts'
import { emptyTask, type Task } from './pool.ts'
import { tileGrid } from './products.ts'
import type { WasmRuntime } from './wasm-engine.ts'

/** A matrix that stays in the shared memory, in the type it came in, until it is released. */

/** Results that a normal product is summed in: that many threads can help, and that many results take memory. */
const NORMAL_TILES = 16

/** Where a resident matrix is. */
interface Placed {
  readonly rows: number
  readonly columns: number
  readonly address: number
  readonly typeCode: number
}

/** Copies A into the shared memory, unless that is where it is made. Throws LoraSvdError 'system' when there is no room for it. */
export function resident(runtime: WasmRuntime, A: Matrix | HalfMatrix): ResidentMatrix {
  const { rows, columns } = A
  const isThere = runtime.heap.holds(A.data)
  const address = isThere ? A.data.byteOffset : runtime.heap.allocate(A.data.byteLength)
  if (!isThere) copyIn(runtime.memory, address, A)
  const placed: Placed = { rows, columns, address, typeCode: TypeCode[storageType(A)] }
  let released = false

  function held(): Placed {
    if (released) throw new Error('this resident matrix has been released')
    return placed
  }

  return {
    rows,
    columns,
    leastColumns: REGISTER_COLUMNS,
    multiply: (X) => product(runtime, held(), X, false),
    multiplyTransposed: (Y) => product(runtime, held(), Y, true),
    multiplyNormal(X) {
      checkInner(columns, X.rows)
      // with more columns a product in two sweeps is as fast
      if (X.columns <= MAX_NORMAL_COLUMNS) return normalProduct(runtime, held(), X)
      return product(runtime, held(), product(runtime, held(), X, false), true)
    },
    frobeniusSquared: () => frobeniusSquared(runtime, held()),
    residualSquared(B, C) {
      checkResidual(held(), B, C)
      return residualSquared(runtime, held(), B, C)
    },
    release() {
      if (!released && !isThere) runtime.heap.free(address)
      released = true
    },
  }
}

/** A·X, or Aᵀ·X. */
function product(runtime: WasmRuntime, A: Placed, X: Matrix, transposeA: boolean): Matrix {
  const [m, k] = transposeA ? [A.columns, A.rows] : [A.rows, A.columns]
  checkInner(k, X.rows)
  const n = X.columns
  const type = floatType(X)
  const data = floats(type, m * n)
  if (data.length > 0 && k > 0) {
    withBlocks(runtime.heap, [X.data.byteLength, data.byteLength], (b, c) => {
      copyIn(runtime.memory, b, X)
      runtime.run({
        ...taskOn(A, type),
        ...tileGrid(m, n, runtime.threads),
        kind: Kind.gemm,
        m,
        n,
        k,
        transposeA,
        b,
        typeB: TypeCode[type],
        strideB: n,
        c,
        strideC: n,
      })
      copyOut(runtime.memory, c, data)
    })
  }
  return { rows: m, columns: n, data }
}

/** Aᵀ·(A·X) by assembly/normal.ts. */
function normalProduct(runtime: WasmRuntime, A: Placed, X: Matrix): Matrix {
  const { memory, heap, kernels } = runtime
  const n = X.columns
  const type = floatType(X)
  const data = floats(type, A.columns * n)
  if (data.length > 0 && A.rows > 0) {
    const panels = Math.ceil(A.rows / PANEL_ROWS)
    const tileRows = Math.ceil(panels / NORMAL_TILES) * PANEL_ROWS
    const tiles = Math.ceil(A.rows / tileRows)
    const packed = A.columns * Math.ceil(n / REGISTER_COLUMNS) * REGISTER_COLUMNS * bytesPerEntry(type)
    withBlocks(heap, [X.data.byteLength, packed, tiles * data.byteLength], (x, b, partials) => {
      copyIn(memory, x, X)
      kernels.packRight(b, x, TypeCode[type], n, A.columns)
      runtime.run({
        ...taskOn(A, type),
        kind: Kind.normal,
        tiles,
        m: A.rows,
        n,
        k: A.columns,
        b,
        tileRows,
        partials,
      })
      kernels.sumMatrices(partials, tiles, data.length, TypeCode[type])
      copyOut(memory, partials, data)
    })
  }
  return { rows: A.columns, columns: n, data }
}

function frobeniusSquared(runtime: WasmRuntime, A: Placed): number {
  const m = A.rows * A.columns
  return sumOfTiles(runtime, Math.ceil(m / SUM_ENTRIES), {
    ...taskOn(A, 'f64'),
    kind: Kind.frobenius,
    m,
    n: 1,
    k: 1,
  })
}

function residualSquared(runtime: WasmRuntime, A: Placed, B: Matrix, C: Matrix): number {
  if (B.columns === 0) return frobeniusSquared(runtime, A)
  const { memory, heap } = runtime
  const tiles = Math.ceil(A.rows / PACKED_ROWS) * Math.ceil(A.columns / RESIDUAL_COLUMNS)
  return withBlocks(heap, [B.data.byteLength, C.data.byteLength], (b, c) => {
    copyIn(memory, b, B)
    copyIn(memory, c, C)
    return sumOfTiles(runtime, tiles, {
      ...taskOn(A, floatType(C)),
      kind: Kind.residual,
      m: A.rows,
      n: A.columns,
      k: B.columns,
      b,
      typeB: TypeCode[floatType(B)],
      strideB: B.columns,
      c,
      strideC: A.columns,
    })
  })
}

/** The sum of the number that each tile of the task leaves. */
function sumOfTiles(runtime: WasmRuntime, tiles: number, task: Task): number {
  if (tiles === 0) return 0
  return withBlocks(runtime.heap, [tiles * Float64Array.BYTES_PER_ELEMENT], (partials) => {
    runtime.run({ ...task, tiles, partials })
    return runtime.kernels.sumTree(partials, tiles)
  })
}

/** A task whose left operand is A, with arithmetic in `type`. */
function taskOn(A: Placed, type: FloatType): Task {
  return {
    ...emptyTask,
    arithmetic: TypeCode[type],
    a: A.address,
    typeA: A.typeCode,
    strideA: A.columns,
  }
}
