import { readWeight } from '../checkpoint/read.ts'
import type { MatrixPair, WeightMatrix } from '../checkpoint/types.ts'
import { memoryOf, withWorkspace } from '../engine/wasm/workspace.ts'
import type { Engine } from '../linalg/engine.ts'
import { nonFiniteEntries } from '../linalg/matrix/finite.ts'
import type { Matrix } from '../linalg/matrix/matrix.ts'
import { type Difference, subtract } from '../linalg/matrix/subtract.ts'
import {
  floorOfSums,
  isNoisy,
  isRounded,
  type NoiseFloor,
  noiseFloor,
  type StoredWeight,
  type VarianceSums,
} from '../linalg/spectrum/noise-floor.ts'
import type { Digested } from '../linalg/truncation/streams.ts'
import { energyOf, isInBlocks, roundingOf } from './blocks.ts'
import { digestOf } from './digest.ts'
import { isSwept, panelRows, type Swept, sweep, sweepBytes } from './sweep.ts'

/** What a fine-tune changed in one matrix, as it is stored. */
export interface StoredDifference extends Difference, Digested {
  /** Where it was asked for, and both sides are stored in floats: integers aren't rounded. */
  readonly noise?: NoiseFloor
  /** Where the base is quantised: what energy the rounding to its steps has, as its blocks say. */
  readonly quantised?: number
}

export interface DifferenceOptions {
  readonly withNoise?: boolean
  /** The differences of small matrices in float64: without the rounding of float32, where that costs nothing. */
  readonly smallAsFloat64?: boolean
  /** What will compute with the differences: they are made where it can have them without a copy. */
  readonly engine?: Engine
}

const F32_BYTES = 4
const F64_BYTES = 8

/** The most memory that the difference of a pair and reading it take. */
export function differenceBytes(pair: MatrixPair): number {
  const { base, tuned } = pair
  const entries = tuned.rows * tuned.columns
  if (isSwept(pair)) return F32_BYTES * entries + sweepBytes(pair)
  return heldBytes(base) + heldBytes(tuned) + F64_BYTES * entries
}

/** What is in blocks is decoded, beside what was read. */
const heldBytes = (weight: WeightMatrix) =>
  weight.bytes + (isInBlocks(weight) ? F32_BYTES * weight.rows * weight.columns : 0)

/** The same where panels are enough. */
export function panelBytes(pair: MatrixPair): number {
  const { tuned } = pair
  if (isSwept(pair)) return F32_BYTES * panelRows(tuned) * tuned.columns + sweepBytes(pair)
  return differenceBytes(pair)
}

/**
 * tuned − base, read from where they are stored. What `use` gets is valid until it ends: the next difference that this thread
 * reads has the same memory. Throws as `readWeight` does.
 */
export async function withDifference<T>(
  pair: MatrixPair,
  { withNoise = false, smallAsFloat64 = false, engine }: DifferenceOptions,
  use: (difference: StoredDifference) => T | Promise<T>,
): Promise<T> {
  if (!isSwept(pair)) return use(await plainDifference(pair, { withNoise, smallAsFloat64 }))
  const { rows, columns } = pair.tuned
  return withWorkspace(async (workspace) => {
    const address = workspace.allocate(rows * columns * F32_BYTES)
    const swept = await sweep(pair, workspace, withNoise, (row) => address + row * columns * F32_BYTES)
    const data = workspace.floats(address, rows * columns)
    const frobenius = normsOf(swept)
    const delta = { rows, columns, data }
    let digest: Uint8Array | undefined
    return use({
      delta,
      changed: swept.changed,
      digest: () => (digest ??= digestOf(delta, swept.largest, workspace)),
      frobenius,
      nonFinite: await nonFiniteOf(pair, frobenius),
      ...(swept.quantised !== undefined && { quantised: swept.quantised }),
      ...noiseOf(pair, swept),
    })
  }, engine && memoryOf(engine))
}

/**
 * Gives `use` the rows of tuned − base, a panel after the other, each with the index of its first row and valid until `use`
 * returns; then gives the norms. Throws as `readWeight` does.
 */
export async function forEachPanel(
  pair: MatrixPair,
  use: (panel: Matrix, firstRow: number) => void,
  { engine }: Pick<DifferenceOptions, 'engine'> = {},
): Promise<Difference['frobenius']> {
  if (!isSwept(pair)) {
    const { delta, frobenius } = await plainDifference(pair)
    use(delta, 0)
    return frobenius
  }
  return withWorkspace(async (workspace) => {
    const { tuned } = pair
    const address = workspace.allocate(panelRows(tuned) * tuned.columns * F32_BYTES)
    return normsOf(await sweep(pair, workspace, false, () => address, use))
  }, engine && memoryOf(engine))
}

async function plainDifference(
  { base, tuned }: MatrixPair,
  { withNoise = false, smallAsFloat64 = false }: DifferenceOptions = {},
): Promise<StoredDifference> {
  const [B, T] = [await readWeight(base), await readWeight(tuned)]
  const difference = subtract(T, B, { asFloat64: smallAsFloat64 })
  const rounding = isInBlocks(base) ? await roundingOf(base) : undefined
  const quantised = rounding === undefined ? {} : { quantised: energyOf(rounding) }
  if (!withNoise) return { ...difference, ...quantised }
  const [before, after] = [await storedWeight(B, base, rounding), await storedWeight(T, tuned)]
  if (before === undefined || after === undefined) return { ...difference, ...quantised }
  return { ...difference, ...quantised, noise: noiseFloor(before, after) }
}

/** A weight as its noise is known; undefined of integers, which aren't rounded. */
async function storedWeight(
  matrix: StoredWeight['matrix'],
  weight: WeightMatrix,
  rounding?: VarianceSums,
): Promise<StoredWeight | undefined> {
  const { dtype } = weight
  if (isRounded(dtype)) return { matrix, dtype }
  if (!isInBlocks(weight)) return undefined
  return { matrix, dtype: weight.dtype, rounding: rounding ?? (await roundingOf(weight)) }
}

const normsOf = ({ squares: { base, tuned, delta } }: Swept): Difference['frobenius'] => ({
  base: Math.sqrt(base),
  tuned: Math.sqrt(tuned),
  delta: Math.sqrt(delta),
})

function noiseOf({ base, tuned }: MatrixPair, { rounding }: Swept): { noise?: NoiseFloor } {
  if (rounding === undefined || !isNoisy(base.dtype) || !isNoisy(tuned.dtype)) return {}
  return { noise: floorOfSums(tuned.rows, tuned.columns, base.dtype, tuned.dtype, rounding) }
}

/** What isn't finite shows in the norms; only then the entries are read again and looked at one by one. */
export async function nonFiniteOf(
  { base, tuned }: MatrixPair,
  frobenius: Difference['frobenius'],
): Promise<Difference['nonFinite']> {
  const entries = async (weight: MatrixPair['base'], norm: number) =>
    Number.isFinite(norm) ? undefined : nonFiniteEntries(await readWeight(weight))
  const [ofBase, ofTuned] = [await entries(base, frobenius.base), await entries(tuned, frobenius.tuned)]
  return { ...(ofBase && { base: ofBase }), ...(ofTuned && { tuned: ofTuned }) }
}
