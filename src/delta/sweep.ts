import { isStoredInBytes, withBytes } from '../checkpoint/read.ts'
import type { MatrixPair, WeightMatrix } from '../checkpoint/types.ts'
import { SUMS, Sum, TypeCode } from '../engine/wasm/contract.ts'
import type { Workspace } from '../engine/wasm/workspace.ts'
import { bytesPerElement, encodeFloats } from '../formats/dtype.ts'
import { decodeBlocks, isBlockDtype } from '../formats/gguf-blocks.ts'
import type { Matrix } from '../linalg/matrix/matrix.ts'
import { type RoundingSums, roundingVariance, type VarianceSums } from '../linalg/spectrum/noise-floor.ts'
import { addRounding, energyOf, isInBlocks } from './blocks.ts'

/** Base and tuned are read panel by panel into one small piece of memory, and subtracted there by kernels. */

/** Entries of a panel: 1 MiB of bfloat16 a side, which a cache holds and which takes few calls to read. */
const PANEL_ENTRIES = 2 ** 19
/** With fewer entries plain loops take no longer than the kernels take to load. */
const KERNELS_PAY_FROM = 2 ** 18
/** The kernels' addresses reach 4 GiB: so much for a delta leaves room for panels of rows of … */
const LARGEST_DELTA_BYTES = 3.5 * 2 ** 30
/** … up to so many entries. */
const LARGEST_ROW = 2 ** 24

const F32_BYTES = 4
const F64_BYTES = 8

type SweptDtype = 'f32' | 'f16' | 'bf16'

const isSweptDtype = (dtype: string): dtype is SweptDtype =>
  dtype === 'f32' || dtype === 'f16' || dtype === 'bf16'

/** Numbers in blocks are decoded as they are read. */
const sweptAs = ({ dtype }: WeightMatrix): string => (isBlockDtype(dtype) ? 'f32' : dtype)

/** Whether kernels can sweep over a pair, and are worth loading: large, of such dtypes, and stored as bytes. */
export function isSwept({ base, tuned }: MatrixPair): boolean {
  const { rows, columns } = tuned
  const entries = rows * columns
  const isLarge = entries >= KERNELS_PAY_FROM
  const hasRoom = entries * F32_BYTES <= LARGEST_DELTA_BYTES && columns <= LARGEST_ROW
  return isLarge && hasRoom && isReadable(base) && isReadable(tuned)
}

const isReadable = (weight: WeightMatrix) => isSweptDtype(sweptAs(weight)) && isStoredInBytes(weight)

/** The memory that a sweep takes beside the delta. */
export function sweepBytes({ base, tuned }: MatrixPair): number {
  const entries = panelRows(tuned) * tuned.columns
  const bytes = (weight: WeightMatrix) =>
    bytesPerElement(weight.dtype) + (isInBlocks(weight) ? 2 * F32_BYTES : 0)
  return entries * (bytes(base) + bytes(tuned))
}

/** How many rows are in a panel. */
export const panelRows = ({ rows, columns }: WeightMatrix): number =>
  Math.min(rows, Math.max(1, Math.floor(PANEL_ENTRIES / columns)))

/** What one sweep finds. */
export interface Swept {
  /** Entries that differ. */
  readonly changed: number
  /** The largest |entry| of the delta. */
  readonly largest: number
  /** ‖base‖_F², ‖tuned‖_F² and ‖delta‖_F²; NaN or infinite where entries are. */
  readonly squares: { readonly base: number; readonly tuned: number; readonly delta: number }
  readonly rounding?: RoundingSums
  /** Where the base is quantised: what energy the rounding to its steps has. */
  readonly quantised?: number
}

/** One of the two sides, as it is read. */
interface Side {
  readonly weight: WeightMatrix
  readonly dtype: SweptDtype
  readonly address: number
  /** Fills with rows, as `dtype`, given the index of the first. */
  fill(target: Uint8Array, firstRow: number): Promise<void>
  /** What the blocks of the rows read so far say of their rounding, where it is in blocks. */
  readonly ofBlocks?: VarianceSums
}

/**
 * tuned − base in float32, a panel of rows after the other, at the addresses that `deltaAt` gives for the index of their
 * first row; `use` gets each when it is there. Throws as `readWeight` does.
 */
export async function sweep(
  { base, tuned }: MatrixPair,
  workspace: Workspace,
  withRounding: boolean,
  deltaAt: (firstRow: number) => number,
  use: (panel: Matrix<Float32Array>, firstRow: number) => void = () => {},
): Promise<Swept> {
  return withBytes(base.source, base.tensor, (_, fillBase) =>
    withBytes(tuned.source, tuned.tensor, (_, fillTuned) => {
      const sides = [sideOf(base, workspace, fillBase), sideOf(tuned, workspace, fillTuned)] as const
      return sweepOver(sides, workspace, withRounding, deltaAt, use)
    }),
  )
}

/** Fills with stored bytes from `begin` on. */
type ByteFiller = (target: Uint8Array, begin: number) => Promise<void>

function sideOf(weight: WeightMatrix, { allocate }: Workspace, fill: ByteFiller): Side {
  const { rows, columns } = weight
  const dtype = sweptAs(weight)
  if (!isSweptDtype(dtype)) throw new RangeError(`${weight.name}: no kernel subtracts ${dtype}`)
  const address = allocate(panelRows(weight) * columns * bytesPerElement(dtype))
  const storedRow = weight.bytes / rows
  if (!isInBlocks(weight)) {
    return { weight, dtype, address, fill: (target, firstRow) => fill(target, firstRow * storedRow) }
  }
  const ofBlocks = { byRow: new Float64Array(rows), byColumn: new Float64Array(columns) }
  const decoded = async (target: Uint8Array, firstRow: number) => {
    const count = target.length / F32_BYTES / columns
    const bytes = new Uint8Array(count * storedRow)
    await fill(bytes, firstRow * storedRow)
    addRounding(ofBlocks, bytes, weight, firstRow)
    target.set(encodeFloats(decodeBlocks(bytes, weight.dtype), 'f32'))
  }
  return { weight, dtype, address, fill: decoded, ofBlocks }
}

async function sweepOver(
  sides: readonly [base: Side, tuned: Side],
  { kernels, memory, allocate, floats }: Workspace,
  withRounding: boolean,
  deltaAt: (firstRow: number) => number,
  use: (panel: Matrix<Float32Array>, firstRow: number) => void,
): Promise<Swept> {
  const [base, tuned] = sides
  const { rows, columns } = tuned.weight
  const step = panelRows(tuned.weight)
  const sums = zeroed(memory, allocate(SUMS * F64_BYTES), SUMS)
  const byBoth = () => ({
    byRow: zeroed(memory, allocate(rows * F64_BYTES), rows),
    byColumn: zeroed(memory, allocate(columns * F64_BYTES), columns),
  })
  const exponents = withRounding ? sides.map(byBoth) : []
  const deltaSquares = withRounding ? byBoth() : undefined
  for (let first = 0; first < rows; first += step) {
    const count = Math.min(step, rows - first)
    await Promise.all(sides.map((side) => readRows(side, memory, first, count)))
    const delta = deltaAt(first)
    const types = [TypeCode[tuned.dtype], TypeCode[base.dtype]]
    kernels.subtract(count * columns, tuned.address, types[0], base.address, types[1], delta, sums.byteOffset)
    if (deltaSquares !== undefined) {
      const { byRow, byColumn } = deltaSquares
      kernels.addSquares(count, columns, delta, byRow.byteOffset + first * F64_BYTES, byColumn.byteOffset)
    }
    for (const [i, { byRow, byColumn }] of exponents.entries()) {
      const { dtype, address, ofBlocks } = sides[i]
      if (ofBlocks !== undefined) continue
      const { leastExponent } = roundingVariance(dtype)
      const ofRows = byRow.byteOffset + first * F64_BYTES
      kernels.addExponents(
        count,
        columns,
        address,
        TypeCode[dtype],
        leastExponent,
        delta,
        ofRows,
        byColumn.byteOffset,
      )
    }
    use({ rows: count, columns, data: floats(delta, count * columns) }, first)
  }
  const squares = { base: sums[Sum.ofBase], tuned: sums[Sum.ofTuned], delta: sums[Sum.ofDelta] }
  const [changed, largest] = [sums[Sum.changed], sums[Sum.largest]]
  const { ofBlocks } = base
  const found = {
    changed,
    largest,
    squares,
    ...(ofBlocks !== undefined && { quantised: energyOf(ofBlocks) }),
  }
  if (deltaSquares === undefined) return found
  const [inBase, inTuned] = exponents.map((sums, i) => sides[i].ofBlocks ?? variances(sums, sides[i].dtype))
  const ofDelta = { byRow: deltaSquares.byRow.slice(), byColumn: deltaSquares.byColumn.slice() }
  return {
    ...found,
    rounding: { base: inBase, tuned: inTuned, changed, energy: squares.delta, delta: ofDelta },
  }
}

async function readRows(
  { weight, dtype, address, fill }: Side,
  memory: WebAssembly.Memory,
  first: number,
  count: number,
): Promise<void> {
  const rowBytes = weight.columns * bytesPerElement(dtype)
  await fill(new Uint8Array(memory.buffer, address, count * rowBytes), first)
}

const zeroed = (memory: WebAssembly.Memory, address: number, length: number) =>
  new Float64Array(memory.buffer, address, length).fill(0)

/** The sums of 4^e as variances, in memory of their own. */
function variances({ byRow, byColumn }: VarianceSums, dtype: SweptDtype): VarianceSums {
  const { unit } = roundingVariance(dtype)
  const scaled = (sums: Float64Array) => Float64Array.from(sums, (sum) => sum * unit)
  return { byRow: scaled(byRow), byColumn: scaled(byColumn) }
}
