import { bytesPerFactorElement } from '../../../formats/dtype.ts'
import { isBlockDtype } from '../../../formats/gguf-blocks.ts'
import { energyRanks, errorAt, orderOf, roundingLevelOf, valueAt } from '../../../linalg/spectrum/measures.ts'
import type { IntegerRange, Interval, Spectrum } from '../../../linalg/spectrum/spectrum.ts'
import { raised } from '../../../text/numbers.ts'
import { printable } from '../../../text/quote.ts'
import type { InspectResult, MatrixReport } from '../result.ts'
import { type Place, placeOf } from './format.ts'

/**
 * A spectrum as a report carries it: thinned to some ranks. `sigma[i]` is the singular value at rank `ranks[i]`; `tail[i]`
 * is the squared relative error of the best approximation of that rank, from above, and `least[i]` from below. The last
 * rank is `given`; values that aren't given are zero where `complete`.
 */
export interface ThinnedSpectrum {
  readonly order: number
  readonly frobenius: number
  /** How many singular values are known. */
  readonly given: number
  readonly complete: boolean
  /** At least the singular value after the given ones. */
  readonly next: number
  readonly sigma: readonly number[]
  /** At least the true ones; left out where they are the same as `sigma`. */
  readonly upper?: readonly number[]
  /** Singular values up to this are rounding. */
  readonly rounding: number
  readonly tail: readonly number[]
  /** Left out where it is the same as `tail`. */
  readonly least?: readonly number[]
}

/** The index of the last of the ascending `ranks` that is at most r; −1 where all are larger. */
export function lastUpTo(ranks: readonly number[], r: number): number {
  let [low, high] = [0, ranks.length]
  while (low < high) {
    const middle = (low + high) >> 1
    if (ranks[middle] <= r) low = middle + 1
    else high = middle
  }
  return low - 1
}

/**
 * What is known of the squared relative error of the best approximation of rank r. Between two carried ranks it lies between
 * their bounds. Beyond the given singular values, the r − k largest of the n − k that are left hold at least their even
 * share of what is left, and at most (r − k)·next².
 */
export function tailAt(spectrum: ThinnedSpectrum, ranks: readonly number[], r: number): Interval {
  const { order, frobenius, given, complete, next, tail, least = tail } = spectrum
  if (!(frobenius > 0) || r >= order) return { atLeast: 0, atMost: 0 }
  if (r <= 0) return { atLeast: 1, atMost: 1 }
  const i = lastUpTo(ranks, r)
  if (r <= given) return { atLeast: least[ranks[i] === r ? i : i + 1], atMost: i < 0 ? 1 : tail[i] }
  if (complete) return { atLeast: 0, atMost: 0 }
  const most = (r - given) * (next / frobenius) ** 2
  return {
    atLeast: Math.max(0, (least[i] ?? 1) - most),
    atMost: ((tail[i] ?? 1) * (order - r)) / (order - given),
  }
}

/** Relative errors whose ranks the heat map offers beside the shares of energy. */
export const ERROR_TARGETS = ['0.5', '0.2', '0.1', '0.05'] as const
export type ErrorTarget = (typeof ERROR_TARGETS)[number]

/** A matrix as the report's script gets it. Names have no controls or bidirectional marks left. */
export interface MatrixData extends Omit<MatrixReport, 'spectrum' | 'output'> {
  readonly spectrum: ThinnedSpectrum
  readonly bytesPerElement: number
  readonly place?: Place
  readonly errorRanks: Readonly<Record<ErrorTarget, IntegerRange>>
}

export interface ReportData {
  readonly subject: InspectResult['subject']
  /** Ranks at which spectra are carried, ascending from 1; each spectrum also has its last rank. */
  readonly grid: readonly number[]
  readonly matrices: readonly MatrixData[]
  readonly recommended?: number
  /** The same in the norm of the inputs, where moments of them were given; what has none stays as it is. */
  readonly felt?: ReportData
}

/**
 * How many points (singular value and tail, some 20 bytes; of an incomplete spectrum the bounds of both) a report may carry before spectra are thinned: 224 matrices of
 * order 4096 then make 2.6 MB.
 */
const MOST_POINTS = 150_000
/** Ranks up to `dense` are all carried, those beyond in steps of at least `growth`: the finest that fits is taken. */
const DENSITIES = [
  { dense: Number.POSITIVE_INFINITY, growth: 1 },
  { dense: 1024, growth: 1.01 },
  { dense: 256, growth: 1.01 },
  { dense: 256, growth: 1.05 },
]
/** Significant digits of what is carried: a pixel needs three, a figure in the table four. */
const DIGITS = 7

/** What the report's script needs: all figures, and spectra thinned so that the file stays small. */
export function reportData(result: InspectResult): ReportData {
  const plain = dataOf(result)
  if (result.matrices.every(({ output }) => output === undefined)) return plain
  const { recommended: _, ...rest } = result
  return { ...plain, felt: dataOf({ ...rest, matrices: result.matrices.map(inFeltNorm) }) }
}

function inFeltNorm(matrix: MatrixReport): MatrixReport {
  const { output, noise: _, effectiveRank: __, ...plain } = matrix
  return output === undefined ? matrix : { ...plain, ...output }
}

function dataOf(result: InspectResult): ReportData {
  const grid = rankGrid(result.matrices.map(({ spectrum }) => spectrum.singularValues.length))
  return {
    subject: result.subject,
    grid,
    matrices: result.matrices.map((matrix) => matrixData(matrix, grid)),
    ...(result.recommended?.rank !== undefined && { recommended: result.recommended.rank }),
  }
}

/** The ranks to carry of spectra with so many values each. */
export function rankGrid(lengths: readonly number[]): number[] {
  const longest = lengths.reduce((most, length) => Math.max(most, length), 0)
  const grids = DENSITIES.map(({ dense, growth }) => {
    const ranks: number[] = []
    for (let r = 1; r <= longest; r = r < dense ? r + 1 : Math.ceil(r * growth)) ranks.push(r)
    return ranks
  })
  const fits = (grid: readonly number[]) =>
    lengths.reduce((points, length) => points + lastUpTo(grid, length) + 1, 0) <= MOST_POINTS
  return grids.find(fits) ?? grids[grids.length - 1]
}

/** The carried ranks of a spectrum of which `given` values are known. */
export function ranksOf(grid: readonly number[], given: number): number[] {
  const ranks = grid.slice(0, lastUpTo(grid, given) + 1)
  if (given > 0 && ranks[ranks.length - 1] !== given) ranks.push(given)
  return ranks
}

/** What is carried of one matrix: its figures, and its spectrum at the ranks of the grid. */
export function matrixData(matrix: MatrixReport, grid: readonly number[]): MatrixData {
  const { spectrum, output: _, ...figures } = matrix
  const place = placeOf(printable(matrix.name))
  return {
    ...figures,
    name: printable(matrix.name),
    dtype: printable(matrix.dtype),
    verdict: { ...matrix.verdict, text: printable(matrix.verdict.text) },
    bytesPerElement: bytesPerElement(matrix),
    ...(place && { place }),
    errorRanks: Object.fromEntries(
      ERROR_TARGETS.map((error) => [error, energyRanks(spectrum, 1 - Number(error) ** 2)]),
    ) as MatrixData['errorRanks'],
    spectrum: thinned(spectrum, ranksOf(grid, spectrum.singularValues.length)),
  }
}

/** A spectrum at these ranks, of which the last is that of its last value. */
export function thinned(spectrum: Spectrum, ranks: readonly number[]): ThinnedSpectrum {
  const { frobenius, complete, next, singularValues: S } = spectrum
  const known = {
    order: orderOf(spectrum),
    frobenius,
    given: S.length,
    complete,
    next: next.atMost,
    rounding: rounded(roundingLevelOf(spectrum)),
  }
  const sigma = ranks.map((r) => rounded(S[r - 1]))
  if (complete) {
    const tails = tailsOf(S)
    return { ...known, sigma, tail: ranks.map((r) => rounded(tails[r])) }
  }
  const errors = ranks.map((r) => errorAt(spectrum, r))
  const squared = (bound: 'atLeast' | 'atMost') => errors.map((error) => rounded(error[bound] ** 2))
  const upper = ranks.map((r) => raised(valueAt(spectrum, r - 1).atMost, DIGITS))
  return { ...known, sigma, upper, tail: squared('atMost'), least: squared('atLeast') }
}

const rounded = (x: number) => Number(x.toPrecision(DIGITS))

/** Σ_{i>r} S_i² / ΣS_i² at [r], all in one pass, from the smallest so that small tails keep their digits. */
function tailsOf(S: Float64Array): Float64Array {
  const tails = new Float64Array(S.length + 1)
  for (let i = S.length - 1; i >= 0; i--) tails[i] = tails[i + 1] + (S[i] / S[0]) ** 2
  return tails[0] > 0 ? tails.map((tail) => tail / tails[0]) : tails.fill(0)
}

/** Of factors: of the dtype by the bits in its name; of one without, what its elements take. */
function bytesPerElement({ dtype, bytes, shape: [rows, columns] }: MatrixReport): number {
  if (isBlockDtype(dtype)) return bytesPerFactorElement(dtype)
  const bits = Number(/\d+/.exec(dtype)?.[0])
  return bits >= 8 ? bits / 8 : bytes / (rows * columns || 1)
}
