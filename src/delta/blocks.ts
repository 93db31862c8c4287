import { withBytes } from '../checkpoint/read.ts'
import type { WeightMatrix } from '../checkpoint/types.ts'
import { type BlockDtype, isBlockDtype, stepsOf } from '../formats/gguf-blocks.ts'
import { quantisedVariance, type VarianceSums } from '../linalg/spectrum/noise-floor.ts'

/** What rounding left of numbers in blocks, by what the blocks say of their steps. */

/** A matrix that is stored in blocks. */
export type BlockWeight = WeightMatrix & { readonly dtype: BlockDtype }

export const isInBlocks = (weight: WeightMatrix): weight is BlockWeight => isBlockDtype(weight.dtype)

/** Blocks read at once: a few megabytes. */
const ROWS_BYTES = 2 ** 22

/** The variances of the rounding of all entries of a matrix in blocks, by row and column. Throws as `readWeight` does. */
export async function roundingOf(weight: BlockWeight): Promise<VarianceSums> {
  const { rows, columns, bytes, source, tensor } = weight
  const sums = { byRow: new Float64Array(rows), byColumn: new Float64Array(columns) }
  const rowBytes = bytes / rows
  const step = Math.max(1, Math.floor(ROWS_BYTES / rowBytes))
  await withBytes(source, tensor, async (read) => {
    for (let first = 0; first < rows; first += step) {
      const end = Math.min(rows, first + step)
      addRounding(sums, await read(first * rowBytes, end * rowBytes), weight, first)
    }
  })
  return sums
}

/** Adds those of some rows, given their bytes and the index of the first. */
export function addRounding(
  { byRow, byColumn }: VarianceSums,
  bytes: Uint8Array,
  { dtype, columns }: BlockWeight,
  firstRow: number,
): void {
  const { size, steps } = stepsOf(bytes, dtype)
  const perRow = columns / size
  const factor = quantisedVariance(dtype)
  for (let group = 0; group < steps.length; group++) {
    const variance = factor * steps[group] ** 2
    byRow[firstRow + Math.floor(group / perRow)] += size * variance
    const from = (group % perRow) * size
    for (let j = from; j < from + size; j++) byColumn[j] += variance
  }
}

/** The energy that the rounding of a matrix has in all: Σ of its entries' variances. */
export const energyOf = ({ byRow }: VarianceSums): number => byRow.reduce((sum, value) => sum + value, 0)
