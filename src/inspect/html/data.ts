import { printable } from '../../formats/quote.ts'
import type { IntegerRange, Spectrum } from '../../spectrum/types.ts'
import type { InspectResult, MatrixReport } from '../result.ts'
import { type Place, placeOf } from './names.ts'
import { lastUpTo, rankForTail, type ThinnedSpectrum } from './tails.ts'

/** Relative errors whose ranks the heat map offers beside the shares of energy. */
export const ERROR_TARGETS = ['0.5', '0.2', '0.1', '0.05'] as const
export type ErrorTarget = (typeof ERROR_TARGETS)[number]

/** A matrix as the report's script gets it. Names have no controls or bidirectional marks left. */
export interface MatrixData extends Omit<MatrixReport, 'spectrum'> {
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
}

/**
 * How many points (singular value and tail, some 20 bytes) a report may carry before spectra are thinned: 224 matrices of
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
  const grid = rankGrid(result.matrices.map(({ spectrum }) => spectrum.singularValues.length))
  return {
    subject: result.subject,
    grid,
    matrices: result.matrices.map((matrix) => matrixData(matrix, grid)),
    ...(result.recommended && { recommended: result.recommended.rank }),
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

function matrixData(matrix: MatrixReport, grid: readonly number[]): MatrixData {
  const { spectrum, ...figures } = matrix
  const full = withTails(spectrum)
  const ranks = ranksOf(grid, full.given)
  const place = placeOf(printable(matrix.name))
  const at = (values: readonly number[]) => ranks.map((r) => Number(values[r - 1].toPrecision(DIGITS)))
  return {
    ...figures,
    name: printable(matrix.name),
    dtype: printable(matrix.dtype),
    verdict: { ...matrix.verdict, text: printable(matrix.verdict.text) },
    bytesPerElement: bytesPerElement(matrix),
    ...(place && { place }),
    errorRanks: Object.fromEntries(
      ERROR_TARGETS.map((error) => [error, rankForTail(full, Number(error) ** 2)]),
    ) as MatrixData['errorRanks'],
    spectrum: { ...full, sigma: at(full.sigma), tail: at(full.tail) },
  }
}

/** The spectrum with its tails, summed from the smallest value so that small ones keep their digits. */
export function withTails(spectrum: Spectrum): ThinnedSpectrum {
  const { rows, columns, frobenius, complete, excess, next } = spectrum
  const sigma = Array.from(spectrum.singularValues)
  const share = sigma.map((s) => (frobenius > 0 ? (s / frobenius) ** 2 : 0))
  const tail = new Array<number>(sigma.length)
  let sum = complete
    ? 0
    : Math.max(
        0,
        share.reduce((rest, s) => rest - s, 1),
      )
  for (let i = sigma.length - 1; i >= 0; i--) {
    tail[i] = Math.min(1, sum)
    sum += share[i]
  }
  const order = Math.min(rows, columns)
  return { order, frobenius, given: sigma.length, complete, excess, next: next.atMost, sigma, tail }
}

/** Of the dtype by the bits in its name; of one without, what its elements take. */
function bytesPerElement({ dtype, bytes, shape: [rows, columns] }: MatrixReport): number {
  const bits = Number(/\d+/.exec(dtype)?.[0])
  return bits >= 8 ? bits / 8 : bytes / (rows * columns || 1)
}
