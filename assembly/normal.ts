/**
 * Aᵀ·(A·X) in one sweep over the rows of A, for X with few columns: a panel of A is read from memory once
 * and used twice while it is in cache.
 *
 * Bits: tile t is the fixed range of rows [t·tileRows, (t + 1)·tileRows), summed panel by panel into a result
 * of its own, and the host adds the results in a fixed tree. Which thread takes which tile changes nothing.
 */
import { MAX_NORMAL_COLUMNS, PANEL_ROWS, TypeCode } from '../src/engine/wasm/contract'
import { multiplyColumns } from './columns'
import { multiplyRows } from './rows'
import { packBlocks, SWEEP_SCRATCH_BYTES } from './sweep'
import { Task } from './task'

const PANEL_BYTES: usize = (PANEL_ROWS * MAX_NORMAL_COLUMNS * 8) as usize

/** Packs all of X, depth × columns, stored in the float type of the arithmetic, for the tiles of Kind.normal to share. */
export function packRight(target: usize, x: usize, arithmetic: u32, columns: u32, depth: u32): void {
  if (arithmetic === TypeCode.f32) packBlocks<f32>(target, x, arithmetic, columns, true, 0, columns, 0, depth)
  else packBlocks<f64>(target, x, arithmetic, columns, true, 0, columns, 0, depth)
}

/** m × k: A at `a`; n: columns of X; `b`: X as `packRight` leaves it; partials: a k × n result for each tile. */
export function normalTile<D>(task: Task, tile: u32, scratch: usize): void {
  const product = scratch + SWEEP_SCRATCH_BYTES
  const packedProduct = product + PANEL_BYTES
  const columns = task.n
  const stride = (columns as usize) * sizeof<D>()
  const result = task.partials + (tile as usize) * task.k * stride
  const row0 = tile * task.tileRows
  const row1 = min(task.m, row0 + task.tileRows)
  for (let i = row0; i < row1; i += PANEL_ROWS) {
    const rows = min<u32>(PANEL_ROWS, row1 - i)
    multiplyRows<D>(task, i, rows, 0, task.k, task.b, columns, product, stride, false, scratch)
    packBlocks<D>(packedProduct, product, task.arithmetic, columns, true, 0, columns, 0, rows)
    multiplyColumns<D>(task, 0, task.k, i, rows, packedProduct, columns, result, stride, i > row0, scratch)
  }
}
