import {
  REGISTER_COLUMNS,
  TypeCode,
  UPDATE_COLUMNS,
  UPDATE_ROWS,
  UPDATE_SUMS,
  UpdateSum,
} from '../engine/wasm/contract.ts'
import type { Workspace } from '../engine/wasm/workspace.ts'
import { bytesPerElement, type FloatDtype } from '../formats/dtype.ts'
import type { FloatArray, Matrix } from '../linalg/matrix/matrix.ts'
import type { RoundingAccount } from './account.ts'
import { addRoundedPlainly, checkShapes, type Rounded, type StoredRows } from './plain.ts'

/** W + B·A, rounded once to the type that it is stored in, a panel of rows after the other. */

/** Entries of a panel: of bfloat16, W and what becomes of it take 512 KiB, which a second-level cache holds. */
const PANEL_ENTRIES = 2 ** 17

const F64_BYTES = 8

export interface UpdateOptions {
  /** The right factor of all panels, [rank, columns]. */
  readonly A: Matrix
  /** How W is stored, and how W + B·A is to be. */
  readonly dtype: FloatDtype
  readonly out: FloatDtype
  /** The most rows that a panel has. */
  readonly panelRows: number
}

/** An update of one matrix whose right factor lies ready; valid as long as its workspace is. */
export interface Update {
  /** Where the bytes of `count` rows of W go: read them straight into it. Throws RangeError past `panelRows`. */
  input(count: number): Uint8Array
  /**
   * Adds B·A, B [count, rank], to what lies in `input(count)`, which stays. The bytes it gives lie in shared memory, and are valid until
   * the next call of this update. Throws RangeError where B doesn't fit.
   */
  add(B: Matrix): Rounded
}

/** How many rows are in a panel of a matrix: whole groups of what the kernel multiplies together. Bytes don't depend on it. */
export function updatePanelRows(rows: number, columns: number): number {
  const fitting = Math.floor(PANEL_ENTRIES / Math.max(1, columns))
  const grouped = fitting < UPDATE_ROWS ? fitting : fitting - (fitting % UPDATE_ROWS)
  return Math.max(1, Math.min(rows, grouped))
}

/** The memory that an update takes, of a matrix with so many columns. */
export function updateBytes(rank: number, columns: number, options: Omit<UpdateOptions, 'A'>): number {
  const { dtype, out, panelRows } = options
  const entries = panelRows * columns
  const stored = entries * (bytesPerElement(dtype) + bytesPerElement(out))
  if (!hasKernel(dtype, out)) return stored + PLAIN_COPIES * entries * F64_BYTES
  const packed = packedLength(columns, rank, REGISTER_COLUMNS) + packedLength(panelRows, rank, UPDATE_ROWS)
  return stored + (packed + PRODUCT_ENTRIES + UPDATE_SUMS) * F64_BYTES
}

const PRODUCT_ENTRIES = UPDATE_ROWS * UPDATE_COLUMNS
/** Plain loops hold W, Δ, their sum and what is stored. */
const PLAIN_COPIES = 4

const hasKernel = (...dtypes: readonly FloatDtype[]) => !dtypes.includes('f64')

/** Makes `A` ready in the workspace, and room for a panel. Float64 goes through plain loops, to the same bits. */
export function openUpdate(workspace: Workspace, options: UpdateOptions): Update {
  return hasKernel(options.dtype, options.out) ? kernelUpdate(workspace, options) : plainUpdate(options)
}

/** W + B·A stored as `out`, in memory of its own: one panel by itself. Throws RangeError where shapes don't fit. */
export function addRounded(
  workspace: Workspace,
  W: StoredRows,
  B: Matrix,
  A: Matrix,
  out: FloatDtype,
): Rounded {
  checkShapes(W, B, A)
  const update = openUpdate(workspace, { A, dtype: W.dtype, out, panelRows: W.rows })
  update.input(W.rows).set(W.bytes)
  const { bytes, account } = update.add(B)
  return { bytes: new Uint8Array(bytes), account }
}

function plainUpdate({ A, dtype, out, panelRows }: UpdateOptions): Update {
  const { columns } = A
  const rowBytes = columns * bytesPerElement(dtype)
  const stored = new Uint8Array(panelRows * rowBytes)
  const input = (count: number) => stored.subarray(0, checkCount(count, panelRows) * rowBytes)
  const add = (B: Matrix) =>
    addRoundedPlainly({ bytes: input(B.rows), dtype, rows: B.rows, columns }, B, A, out)
  return { input, add }
}

function kernelUpdate({ kernels, memory, allocate }: Workspace, options: UpdateOptions): Update {
  const { A, dtype, out, panelRows } = options
  const { rows: rank, columns } = A
  const floats = (length: number) => {
    // before the buffer is asked for, which an allocation may replace
    const address = allocate(length * F64_BYTES)
    return new Float64Array(memory.buffer, address, length)
  }
  const right = floats(packedLength(columns, rank, REGISTER_COLUMNS))
  const left = floats(packedLength(panelRows, rank, UPDATE_ROWS))
  const product = allocate(PRODUCT_ENTRIES * F64_BYTES)
  const sums = floats(UPDATE_SUMS)
  const [rowBytes, outRowBytes] = [dtype, out].map((type) => columns * bytesPerElement(type))
  const [w, target] = [rowBytes, outRowBytes].map((bytes) => allocate(panelRows * bytes))
  pack(right, A.data, { count: columns, step: 1 }, { count: rank, step: columns }, REGISTER_COLUMNS)

  const input = (count: number) => new Uint8Array(memory.buffer, w, checkCount(count, panelRows) * rowBytes)
  const add = (B: Matrix) => {
    const { rows } = B
    checkShapes({ bytes: input(rows), dtype, rows, columns }, B, A)
    pack(left, B.data, { count: rows, step: rank }, { count: rank, step: 1 }, UPDATE_ROWS)
    sums.fill(0)
    const types = [TypeCode[dtype], TypeCode[out]]
    kernels.addRounded(
      rows,
      columns,
      rank,
      w,
      types[0],
      left.byteOffset,
      right.byteOffset,
      target,
      types[1],
      product,
      sums.byteOffset,
    )
    const bytes = new Uint8Array(memory.buffer, target, rows * outRowBytes)
    return { bytes, account: accountOf(sums, rows * columns) }
  }
  return { input, add }
}

function checkCount(count: number, panelRows: number): number {
  if (count > panelRows) throw new RangeError(`a panel has ${panelRows} rows, not ${count}`)
  return count
}

const packedLength = (count: number, rank: number, width: number) => Math.ceil(count / width) * width * rank

interface Axis {
  readonly count: number
  /** From one entry along this axis to the next. */
  readonly step: number
}

/** Fills `target`, [⌈along / width⌉][deep][width], with a matrix, and with zeros beyond its end. */
function pack(target: Float64Array, data: FloatArray, along: Axis, deep: Axis, width: number): void {
  let at = 0
  for (let first = 0; first < along.count; first += width) {
    const filled = Math.min(width, along.count - first)
    for (let k = 0; k < deep.count; k++) {
      const from = first * along.step + k * deep.step
      for (let i = 0; i < filled; i++) target[at + i] = data[from + i * along.step]
      if (filled < width) target.fill(0, at + filled, at + width)
      at += width
    }
  }
}

const accountOf = (sums: Float64Array, entries: number): RoundingAccount => ({
  deltaSquared: sums[UpdateSum.deltaSquared],
  kept: sums[UpdateSum.kept],
  residualSquared: sums[UpdateSum.residualSquared],
  entries,
  changed: sums[UpdateSum.changed],
  overflowed: sums[UpdateSum.overflowed],
  nonFinite: sums[UpdateSum.nonFinite],
})
