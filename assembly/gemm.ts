/**
 * C = op(A)·op(B), cache-blocked as in Goto & van de Geijn (ACM TOMS 34, 2008) and split by tiles of C.
 *
 * Bits: entry (i, j) is the sum over blocks of DEPTH inner indices, taken in order, of sums taken in order.
 * Neither tile shape nor thread appears in that rule, so no choice of either changes a result.
 */
import { DEPTH_F32, MAX_TILE_COLUMNS, PACKED_ROWS } from '../src/engine/wasm/contract'
import { multiplyPacked, SPARE_BYTES, tileHeight, tileWidth } from './block'
import { multiplyColumns } from './columns'
import { pack } from './pack'
import { multiplyRows } from './rows'
import { blockDepth, packBlocks, readsRows, SWEEP_SCRATCH_BYTES, wholeTiles } from './sweep'
import { Task } from './task'

const PACKED_B_BYTES: usize = (MAX_TILE_COLUMNS * DEPTH_F32 * 4) as usize

/** Rows of a triangle that are multiplied together, by the columns that the last of them needs; register tiles divide it. */
const STRIP_ROWS: u32 = 16

/** Bytes of private memory a thread needs to compute tiles. */
export const GEMM_SCRATCH_BYTES: usize = SWEEP_SCRATCH_BYTES + PACKED_B_BYTES

/** Computes tile `tile` of C. */
export function gemmTile<D>(task: Task, tile: u32, scratch: usize): void {
  const tilesAcross = (task.n + task.tileColumns - 1) / task.tileColumns
  const row0 = (tile / tilesAcross) * task.tileRows
  const column0 = (tile % tilesAcross) * task.tileColumns
  const row1 = min(task.m, row0 + task.tileRows)
  const columns = min(task.tileColumns, task.n - column0)
  if (task.lowerOnly === 0) rectangle<D>(task, row0, row1 - row0, column0, columns, scratch)
  else if (column0 < row1) triangle<D>(task, row0, row1, column0, min(columns, row1 - column0), scratch)
}

function rectangle<D>(task: Task, row0: u32, rows: u32, column0: u32, columns: u32, scratch: usize): void {
  const packedB = scratch + SWEEP_SCRATCH_BYTES
  const strideC = (task.strideC as usize) * sizeof<D>()
  const c = task.c + (row0 as usize) * strideC + column0 * sizeof<D>()
  const depth = blockDepth<D>()
  let step = depth
  // rows that are read where they lie are read from end to end, as far as there is room for packed B
  if (task.transposeA === 0 && readsRows<D>(task.typeA, columns))
    step *= (PACKED_B_BYTES as u32) / (wholeTiles<D>(columns) * depth * (sizeof<D>() as u32))
  for (let p: u32 = 0; p < task.k; p += step) {
    const to = min(task.k, p + step)
    const accumulate = p > 0 || task.accumulate !== 0
    packBlocks<D>(packedB, task.b, task.typeB, task.strideB, !task.transposeB, column0, columns, p, to)
    if (task.transposeA !== 0)
      multiplyColumns<D>(task, row0, rows, p, to - p, packedB, columns, c, strideC, accumulate, scratch)
    else multiplyRows<D>(task, row0, rows, p, to, packedB, columns, c, strideC, accumulate, scratch)
  }
}

/** `gemmTile` for what touches the lower triangle. */
function triangle<D>(task: Task, row0: u32, row1: u32, column0: u32, columns: u32, scratch: usize): void {
  const packedA = scratch + SPARE_BYTES
  const packedB = scratch + SWEEP_SCRATCH_BYTES
  const strideC = (task.strideC as usize) * sizeof<D>()
  const width = tileWidth<D>()
  for (let p: u32 = 0; p < task.k; p += blockDepth<D>()) {
    const depth = min(blockDepth<D>(), task.k - p)
    const accumulate = p > 0 || task.accumulate !== 0
    pack<D>(packedB, task.b, task.typeB, task.strideB, !task.transposeB, column0, columns, p, depth, width)
    for (let i = row0; i < row1; i += PACKED_ROWS) {
      const rows = min<u32>(PACKED_ROWS, row1 - i)
      // what lies right of these rows' diagonal is in the upper triangle
      if (column0 >= i + rows) continue
      pack<D>(
        packedA,
        task.a,
        task.typeA,
        task.strideA,
        task.transposeA !== 0,
        i,
        rows,
        p,
        depth,
        tileHeight<D>(),
      )
      const c = task.c + (i as usize) * strideC + column0 * sizeof<D>()
      for (let s: u32 = 0; s < rows; s += STRIP_ROWS) {
        const strip = min<u32>(STRIP_ROWS, rows - s)
        if (column0 >= i + s + strip) continue
        const needed = min(columns, i + s + strip - column0)
        const a = packedA + ((s * depth) as usize) * sizeof<D>()
        const below = c + (s as usize) * strideC
        multiplyPacked<D>(a, packedB, strip, needed, depth, below, strideC, accumulate, scratch)
      }
    }
  }
}

/** Copies the lower triangle of the n × n float64 matrix at `c` onto the upper one, in cache-sized squares. */
export function mirrorLower(c: usize, n: u32): void {
  const square: u32 = 32
  const stride = (n as usize) * 8
  for (let i0: u32 = 0; i0 < n; i0 += square) {
    for (let j0: u32 = 0; j0 <= i0; j0 += square) {
      for (let i = i0; i < min(n, i0 + square); i++) {
        for (let j = j0; j < min(i, j0 + square); j++) {
          store<f64>(c + (j as usize) * stride + i * 8, load<f64>(c + (i as usize) * stride + j * 8))
        }
      }
    }
  }
}
