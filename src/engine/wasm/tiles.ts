/** Cutting a product into the tiles that threads take. Results don't depend on it: see assembly/gemm.ts. */

/** Larger tiles repack less; assembly/gemm.ts packs at most this many columns. */
const LARGEST_TILE = 512
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

function count(m: number, n: number, side: number): number {
  return Math.ceil(m / side) * Math.ceil(n / side)
}
