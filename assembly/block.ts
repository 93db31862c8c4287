/** C (+)= A·B for packed blocks: sweeps the micro-kernel over register tiles, edges through a spare tile. */
import { F32_COLUMNS, F32_ROWS, F64_COLUMNS, F64_ROWS, microF32, microF64 } from './micro'

/** Rows of a register tile for arithmetic in D. */
export function tileHeight<D>(): u32 {
  return sizeof<D>() === 4 ? F32_ROWS : F64_ROWS
}

/** Columns of a register tile for arithmetic in D. */
export function tileWidth<D>(): u32 {
  return sizeof<D>() === 4 ? F32_COLUMNS : F64_COLUMNS
}

/** Bytes of the spare tile that edge tiles are computed in. */
export const SPARE_BYTES: usize = 256

function micro<D>(depth: u32, a: usize, b: usize, c: usize, strideC: usize, accumulate: bool): void {
  if (sizeof<D>() === 4) microF32(depth, a, b, c, strideC, accumulate)
  else microF64(depth, a, b, c, strideC, accumulate)
}

/**
 * C (+)= A·B, C rows × columns at `c` with `strideC` bytes a row, from panels made by `pack`.
 * An edge tile's entries go through the same operations as an inner tile's, so its bits are the same.
 */
export function multiplyPacked<D>(
  packedA: usize,
  packedB: usize,
  rows: u32,
  columns: u32,
  depth: u32,
  c: usize,
  strideC: usize,
  accumulate: bool,
  spare: usize,
): void {
  const height = tileHeight<D>()
  const width = tileWidth<D>()
  const stepA = ((depth * height) as usize) * sizeof<D>()
  const stepB = ((depth * width) as usize) * sizeof<D>()
  for (let j: u32 = 0; j < columns; j += width) {
    let a = packedA
    for (let i: u32 = 0; i < rows; i += height) {
      const out = c + (i as usize) * strideC + j * sizeof<D>()
      if (i + height <= rows && j + width <= columns) {
        micro<D>(depth, a, packedB, out, strideC, accumulate)
      } else {
        const spareStride = width * sizeof<D>()
        micro<D>(depth, a, packedB, spare, spareStride, false)
        for (let r: u32 = 0; r < min(height, rows - i); r++) {
          for (let s: u32 = 0; s < min(width, columns - j); s++) {
            const address = out + (r as usize) * strideC + s * sizeof<D>()
            const sum = load<D>(spare + r * spareStride + s * sizeof<D>())
            store<D>(address, accumulate ? load<D>(address) + sum : sum)
          }
        }
      }
      a += stepA
    }
    packedB += stepB
  }
}
