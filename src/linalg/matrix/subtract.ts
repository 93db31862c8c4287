import { type NonFiniteEntries, nonFiniteEntries } from './finite.ts'
import { widened, widenHalfInto } from './half.ts'
import type { FloatArray, HalfMatrix, Matrix } from './matrix.ts'
import { frobeniusNorm } from './norms.ts'

/** What a fine-tune changed in one matrix. */
export interface Difference {
  /** tuned − base: float64 where either is, else float32, each entry rounded once. */
  readonly delta: Matrix
  /** Entries that differ; 0 and −0 don't, a NaN differs from everything. */
  readonly changed: number
  /** ‖base‖_F, ‖tuned‖_F and ‖delta‖_F, summed in float64; NaN or infinite where entries are. */
  readonly frobenius: { readonly base: number; readonly tuned: number; readonly delta: number }
  /** The NaN and infinite entries of either. */
  readonly nonFinite: { readonly base?: NonFiniteEntries; readonly tuned?: NonFiniteEntries }
}

type Numbers = Omit<Difference, 'delta' | 'nonFinite'> & { readonly data: FloatArray }

/** Entries taken at a time: what is widened for them stays in the first-level cache. */
const BLOCK = 2048

/**
 * tuned − base, with what one pass over both can tell; `asFloat64` for float64 whatever the two are stored in. Throws
 * RangeError when shapes differ.
 */
export function subtract(
  tuned: Matrix | HalfMatrix,
  base: Matrix | HalfMatrix,
  { asFloat64 = false }: { readonly asFloat64?: boolean } = {},
): Difference {
  const { rows, columns } = tuned
  if (rows !== base.rows || columns !== base.columns) {
    throw new RangeError(`cannot subtract ${base.rows}×${base.columns} from ${rows}×${columns}`)
  }
  const isWide = asFloat64 || tuned.data instanceof Float64Array || base.data instanceof Float64Array
  const { data, changed, frobenius } = isWide ? subtractWide(tuned, base) : subtractNarrow(tuned, base)
  return {
    delta: { rows, columns, data },
    changed,
    frobenius,
    nonFinite: nonFiniteOf(tuned, base, frobenius),
  }
}

/** Neither is float64: no square over- or underflows a float64, and a NaN or infinity shows in its norm. */
function subtractNarrow(tuned: Matrix | HalfMatrix, base: Matrix | HalfMatrix): Numbers {
  const length = tuned.data.length
  const data = new Float32Array(length)
  const [blockOfTuned, blockOfBase] = [blocksOf(tuned), blocksOf(base)]
  let changed = 0
  let squaresBase = 0
  let squaresTuned = 0
  let squaresDelta = 0
  for (let start = 0; start < length; start += BLOCK) {
    const count = Math.min(BLOCK, length - start)
    const [t, b] = [blockOfTuned(start, count), blockOfBase(start, count)]
    let inBase = 0
    let inTuned = 0
    let inDelta = 0
    for (let i = 0; i < count; i++) {
      const x = t[i]
      const y = b[i]
      const difference = Math.fround(x - y)
      data[start + i] = difference
      changed += x === y ? 0 : 1
      inBase += y * y
      inTuned += x * x
      inDelta += difference * difference
    }
    squaresBase += inBase
    squaresTuned += inTuned
    squaresDelta += inDelta
  }
  const frobenius = {
    base: Math.sqrt(squaresBase),
    tuned: Math.sqrt(squaresTuned),
    delta: Math.sqrt(squaresDelta),
  }
  return { data, changed, frobenius }
}

/** A float32 view of `count` entries from `start` on, valid until the next call: halves are widened a block at a time. */
function blocksOf(A: Matrix | HalfMatrix): (start: number, count: number) => Float32Array {
  if (!('dtype' in A)) {
    const data = A.data as Float32Array
    return (start, count) => data.subarray(start, start + count)
  }
  const bits = new Uint32Array(Math.min(BLOCK, A.data.length))
  const floats = new Float32Array(bits.buffer)
  return (start, count) => {
    widenHalfInto(count === bits.length ? bits : bits.subarray(0, count), A.data, start, A.dtype)
    return floats
  }
}

/** One is float64, which is rare enough that wide copies of the other don't matter. */
function subtractWide(tuned: Matrix | HalfMatrix, base: Matrix | HalfMatrix): Numbers {
  const [x, y] = [widened(tuned).data, widened(base).data]
  const data = new Float64Array(x.length)
  let changed = 0
  for (let i = 0; i < data.length; i++) {
    data[i] = x[i] - y[i]
    if (x[i] !== y[i]) changed++
  }
  const frobenius = { base: frobeniusNorm(y), tuned: frobeniusNorm(x), delta: frobeniusNorm(data) }
  return { data, changed, frobenius }
}

function nonFiniteOf(
  tuned: Matrix | HalfMatrix,
  base: Matrix | HalfMatrix,
  frobenius: Difference['frobenius'],
): Difference['nonFinite'] {
  const entries = (A: Matrix | HalfMatrix, norm: number) =>
    Number.isFinite(norm) ? undefined : nonFiniteEntries(A)
  const [ofBase, ofTuned] = [entries(base, frobenius.base), entries(tuned, frobenius.tuned)]
  return { ...(ofBase && { base: ofBase }), ...(ofTuned && { tuned: ofTuned }) }
}
