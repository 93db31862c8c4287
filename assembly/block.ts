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

/** C (+)= the first rows and columns of the tile at `tile`, whose rows follow each other. */
export function addTile<D>(
  rows: u32,
  columns: u32,
  tile: usize,
  c: usize,
  strideC: usize,
  accumulate: bool,
): void {
  const lanes: u32 = 16 / sizeof<D>()
  for (let r: u32 = 0; r < rows; r++) {
    let s: u32 = 0
    for (; s + lanes <= columns; s += lanes) {
      const address = c + s * sizeof<D>()
      const sum = v128.load(tile + s * sizeof<D>())
      v128.store(address, accumulate ? v128.add<D>(v128.load(address), sum) : sum)
    }
    for (; s < columns; s++) {
      const address = c + s * sizeof<D>()
      const sum = load<D>(tile + s * sizeof<D>())
      store<D>(address, accumulate ? load<D>(address) + sum : sum)
    }
    c += strideC
    tile += tileWidth<D>() * sizeof<D>()
  }
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
        micro<D>(depth, a, packedB, spare, width * sizeof<D>(), false)
        addTile<D>(min(height, rows - i), min(width, columns - j), spare, out, strideC, accumulate)
      }
      a += stepA
    }
    packedB += stepB
  }
}
