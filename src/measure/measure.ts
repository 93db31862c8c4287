import { isSameForm } from '../checkpoint/matrices.ts'
import { arrayOf, elementCount, isStoredInBytes, refuseNonFinite } from '../checkpoint/read.ts'
import type { MatrixPair, StoredTensor } from '../checkpoint/types.ts'
import { forEachPanel, nonFiniteOf, panelBytes } from '../delta/difference.ts'
import { floatDtypeOf, readableFloatOf } from '../formats/safetensors-dtype.ts'
import type { JobContext } from '../jobs/worker.ts'
import { assertInRange, nonFiniteEntries } from '../linalg/matrix/finite.ts'
import { type FloatArray, type Matrix, rowRange } from '../linalg/matrix/matrix.ts'
import { frobeniusNorm, isSquarable, relativeResidual } from '../linalg/matrix/norms.ts'
import type { Difference } from '../linalg/matrix/subtract.ts'
import { oneBelowTheOther, sideBySide } from '../linalg/truncation/columns.ts'
import { readFactors, readFloats } from '../lora/factors.ts'
import { type AdapterModule, blamed } from '../lora/model.ts'
import { rootBytes, rootFlops } from '../moments/root.ts'
import type { LayerMoments } from '../moments/types.ts'
import { feltNorm } from './felt-norm.ts'

/** How much of a layer's delta an adapter reproduces. */
export interface VerifiedLayer {
  /** The tensor's name in the tuned checkpoint. */
  readonly name: string
  readonly shape: readonly [rows: number, columns: number]
  /** Rows of A as stored, of all modules that share the tensor. */
  readonly rank: number
  /** Undefined where modules that share the tensor have others. */
  readonly scale: number | undefined
  /** ‖tuned − base‖_F. */
  readonly deltaFrobenius: number
  /** ‖tuned − base − scale·B·A‖_F, summed in float64. */
  readonly residualFrobenius: number
  readonly baseFrobenius: number
  /** residualFrobenius / deltaFrobenius: 0 where both are 0, infinite where only the delta is. */
  readonly relativeError: number
  /** The same in the norm that the layer's inputs feel, where there are moments of them. */
  readonly output?: OutputError
}

/** What is left of a change in the norm of a layer's inputs, C = R·Rᵀ their second moments. */
export interface OutputError {
  /** ‖Δ·R‖_F, the root of E‖Δ·x‖². */
  readonly delta: number
  /** ‖(Δ − scale·B·A)·R‖_F. */
  readonly residual: number
  readonly relativeError: number
}

/** A tensor that the adapter replaces as a whole. */
export interface VerifiedTensor {
  readonly name: string
  readonly relativeError: number
  readonly deltaFrobenius: number
  readonly residualFrobenius: number
}

/** A tensor that changed and that the adapter leaves as it was. */
export interface NotCarried {
  readonly name: string
  readonly reason: string
  /** ‖tuned − base‖_F / ‖base‖_F; undefined where one of the two has none of it. */
  readonly relativeChange?: number
  readonly deltaFrobenius?: number
}

/** residual / delta as relative errors count it. */
export const relative = (residual: number, delta: number): number => (residual === 0 ? 0 : residual / delta)

/** What a worker is asked: plain data. */
export interface MeasureJob {
  /** Its tensor's place among all that are compared. */
  readonly at: number
  readonly pair: MatrixPair
  /** What the adapter adds here: nothing, one module, or several that share the tensor. */
  readonly modules: readonly AdapterModule[]
  /** Which matrix of a stack of experts. */
  readonly expert?: number
  /** It was asked to leave this out: entries that are no numbers stop nothing. */
  readonly isLeftOut?: boolean
  /** Of the layer's inputs. */
  readonly moments?: LayerMoments
  /** As messages call the three. */
  readonly paths: { readonly adapter: string; readonly base: string; readonly tuned: string }
}

/** Frobenius norms of one matrix, summed in float64. */
export interface Measured {
  readonly delta: number
  /** ‖tuned − base − scale·B·A‖_F. */
  readonly residual: number
  readonly base: number
  /** The first two in the norm of the layer's inputs, where there are moments of them. */
  readonly output?: Pick<OutputError, 'delta' | 'residual'>
}

/**
 * Reads base, tuned and factors from disk, and measures what the factors leave. Throws LoraSvdError `not-finite` on NaN and
 * infinity in any of them.
 */
export async function measureMatrix(job: MeasureJob, context: JobContext): Promise<Measured> {
  const { pair, modules, expert, paths, isLeftOut = false, moments } = job
  const [first] = modules
  if (first === undefined) {
    const frobenius = await forEachPanel(pair, () => {})
    if (!isLeftOut) await assertFinite(pair, frobenius, paths)
    return { delta: frobenius.delta, base: frobenius.base, residual: frobenius.delta }
  }
  const { B: scaledB, A } = await product(modules, expert, paths.adapter)
  const engine = await context.engine(flopsOf(job))
  const felt = moments === undefined ? undefined : await feltNorm(moments, engine, pair.tuned.rows)
  let squares = 0
  let extreme = 0
  const frobenius = await forEachPanel(
    pair,
    (panel, firstRow) => {
      const rows = rowRange(scaledB, firstRow, firstRow + panel.rows)
      felt?.add(panel, rows, A, firstRow)
      const norm = panel.data instanceof Float64Array ? frobeniusNorm(panel.data) : 1
      if (norm > 0 && !isSquarable(norm)) {
        extreme = Math.hypot(extreme, relativeResidual(panel, rows, A) * norm)
        return
      }
      const resident = engine.resident(panel)
      try {
        squares += resident.residualSquared(rows, A)
      } finally {
        resident.release()
      }
    },
    { engine },
  )
  await assertFinite(pair, frobenius, paths)
  const residual = extreme === 0 ? Math.sqrt(squares) : Math.hypot(extreme, Math.sqrt(squares))
  assertInRange([[frobenius.base, frobenius.delta, residual]], {
    file: paths.adapter,
    tensor: blamed(first, 'B').name,
  })
  return {
    ...{ delta: frobenius.delta, base: frobenius.base, residual },
    ...(felt !== undefined && { output: felt.norms() }),
  }
}

async function assertFinite(
  pair: MatrixPair,
  frobenius: Difference['frobenius'],
  paths: MeasureJob['paths'],
): Promise<void> {
  const found = await nonFiniteOf(pair, frobenius)
  refuseNonFinite(paths.tuned, pair.name, found.tuned)
  refuseNonFinite(paths.base, pair.name, found.base)
}

/** scale·B·A, scale in B: of several modules, which have rows of their own in it, all beside each other. Throws `not-finite`. */
async function product(
  modules: readonly AdapterModule[],
  expert: number | undefined,
  path: string,
): Promise<{ readonly B: Matrix; readonly A: Matrix }> {
  const parts: { readonly B: Matrix; readonly A: Matrix }[] = []
  for (const module of modules) {
    const { B, A, scale } = await readFactors(module, expert)
    refuseNonFinite(path, blamed(module, 'B').name, nonFiniteEntries(B))
    refuseNonFinite(path, blamed(module, 'A').name, nonFiniteEntries(A))
    const scaledB = scaled(B, scale)
    assertInRange([scaledB.data], { file: path, tensor: blamed(module, 'B').name })
    parts.push({ B: scaledB, A })
  }
  const [{ B, A }] = parts
  if (parts.length === 1) return { B, A }
  return {
    B: sideBySide(
      B.rows,
      parts.map((part) => part.B),
    ),
    A: oneBelowTheOther(
      A.columns,
      parts.map((part) => part.A),
    ),
  }
}

const rankOf = (modules: readonly AdapterModule[]) => modules.reduce((sum, { rank }) => sum + rank, 0)

/** By which engines are chosen: a residual is one product, far less than a decomposition. */
export function flopsOf({ pair: { tuned }, modules, moments }: MeasureJob): number {
  const plain = 4 * tuned.rows * tuned.columns * (1 + rankOf(modules))
  if (moments === undefined) return plain
  return plain + 4 * rootFlops(moments, moments.side === 'rows' ? tuned.columns : tuned.rows)
}

/** The most memory that a job takes at one time. */
export function bytesOf({ pair, modules, moments }: MeasureJob): number {
  const { rows, columns } = pair.tuned
  // the panel again, where the engine works on it, and its product in float64
  const plain = 4 * panelBytes(pair) + 3 * 8 * (rows + columns) * rankOf(modules)
  if (moments === undefined) return plain
  return (
    plain + rootBytes(moments) + (moments.side === 'rows' ? 4 * 8 * rows * columns : 4 * 2 * panelBytes(pair))
  )
}

/** scale·B, each entry rounded once to B's own type; float64 unless the scale is 1. */
function scaled({ rows, columns, data }: Matrix, scale: number): Matrix {
  if (scale === 1) return { rows, columns, data }
  return { rows, columns, data: Float64Array.from(data, (x) => x * scale) }
}

/** Frobenius norms of a change and of what it begins from. */
export interface Change {
  readonly delta: number
  readonly base: number
}

/** Entries compared at once. */
const CHUNK_ENTRIES = 2 ** 21

/**
 * ‖tuned − base‖_F of two tensors of floats, whatever their size; what one of them lacks counts as zero: all of a tensor that only
 * one model has, and the rows by which a vocabulary grew or shrank. Undefined where dtypes or shapes leave nothing to
 * compare. NaN and infinity show in the norms.
 */
export async function changeBetween(
  base: StoredTensor | undefined,
  tuned: StoredTensor | undefined,
): Promise<Change | undefined> {
  if (!isComparable(base, tuned)) return undefined
  const [readBase, readTuned] = [readerOf(base), readerOf(tuned)]
  const count = Math.max(...[base, tuned].map((one) => (one === undefined ? 0 : elementCount(one))))
  let change: Change = { delta: 0, base: 0 }
  for (let start = 0; start < count; start += CHUNK_ENTRIES) {
    const [before, after] = [await readBase(start), await readTuned(start)]
    const [longer, shorter] = before.length > after.length ? [before, after] : [after, before]
    const difference = Float64Array.from(longer, (x, i) => (i < shorter.length ? x - shorter[i] : x))
    change = {
      delta: Math.hypot(change.delta, frobeniusNorm(difference)),
      base: Math.hypot(change.base, frobeniusNorm(before)),
    }
  }
  return change
}

function isComparable(base: StoredTensor | undefined, tuned: StoredTensor | undefined): boolean {
  // what is alone may be quantised: eight bits are no numbers without their scales
  if (base === undefined || tuned === undefined) {
    const one = base ?? tuned
    return one !== undefined && floatDtypeOf(one.dtype) !== undefined
  }
  if (readableFloatOf(base.dtype) === undefined || readableFloatOf(tuned.dtype) === undefined) return false
  return isSameForm(base.shape, tuned.shape) || isSameForm(base.shape.slice(1), tuned.shape.slice(1))
}

/** Reads the entries from `start` on, up to a chunk of them; none of no tensor and past the end. */
function readerOf(tensor: StoredTensor | undefined): (start: number) => Promise<FloatArray> {
  if (tensor === undefined) return async () => new Float32Array(0)
  const count = elementCount(tensor)
  if (isStoredInBytes(tensor)) {
    return (start) => readFloats(tensor, Math.min(start, count), Math.min(start + CHUNK_ENTRIES, count))
  }
  const whole = arrayOf(tensor)
  return async (start) => (await whole)!.subarray(start, start + CHUNK_ENTRIES)
}
