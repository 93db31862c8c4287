import { epsilonOf } from '../linalg/matrix/matrix.ts'
import type { Interval } from '../linalg/spectrum/spectrum.ts'
import type { Terminal } from '../terminal/terminal.ts'
import { percent, percentDown, short } from '../text/numbers.ts'
import { intervalFigure } from './cells.ts'
import { table, tableWidth } from './table.ts'

const BLOCKS = '▁▂▃▄▅▆▇█'
/** What stands in the last cell where only the leading singular values are known. */
const INCOMPLETE = '…'
/** Decades that blocks can still tell apart: two blocks each. */
const MAX_DECADES = 4

/**
 * A spectrum as `width` blocks: singular values at even steps of their index, from the first to the last that is given, as
 * heights on a logarithmic scale of `decades` below the first. Below it the lowest block, a zero is blank. Where fewer are
 * given than cells, one cell each. An incomplete spectrum ends in …
 */
export function sparkline(S: ArrayLike<number>, complete: boolean, decades: number, width: number): string {
  const room = complete ? width : width - 1
  const cells = Math.min(S.length, room)
  let line = ''
  for (let cell = 0; cell < cells; cell++) {
    const i = cells === 1 ? 0 : Math.round((cell * (S.length - 1)) / (cells - 1))
    line += block(S[i] / S[0], decades)
  }
  return (line + (complete ? '' : INCOMPLETE)).padEnd(width)
}

function block(share: number, decades: number): string {
  if (!(share > 0)) return ' '
  const height = 1 + Math.log10(share) / decades
  return BLOCKS[Math.min(BLOCKS.length - 1, Math.max(0, Math.ceil(height * BLOCKS.length) - 1))]
}

/** One scale for several spectra, so that they can be compared: the decades that half of them span, 4 at most. */
export function sparklineDecades(spectra: readonly ArrayLike<number>[]): number {
  const spans = spectra
    .map((S) => Math.log10(S[0] / lastPositive(S)))
    .filter(Number.isFinite)
    .sort((a, b) => a - b)
  const median = spans[Math.floor(spans.length / 2)] ?? 1
  return Math.min(MAX_DECADES, Math.max(1, Math.ceil(median)))
}

function lastPositive(S: ArrayLike<number>): number {
  let i = S.length - 1
  while (i > 0 && !(S[i] > 0)) i--
  return S[i]
}

/** Rows of the table: enough to see the cliff without scrolling. */
const MAX_ROWS = 12
const MAX_BAR_WIDTH = 40
/** Room for the head of the column in its short form. */
const MIN_BAR_WIDTH = 3

/** Singular values below S[0] · n · this are the rounding of float32 at best, and no reason to stretch the scale. */
const ROUNDING = epsilonOf.f32
const EIGHTHS = ['', '▏', '▎', '▍', '▌', '▋', '▊', '▉']

/** A bar of up to `width` cells, to an eighth of a cell, for s / largest on a logarithmic scale of so many decades. */
export function logBar(s: number, largest: number, decades: number, width: number): string {
  if (!(s > 0)) return ''
  const share = 1 + Math.log10(s / largest) / decades
  const eighths = Math.round(Math.max(0, share) * width * 8)
  return '█'.repeat(Math.floor(eighths / 8)) + EIGHTHS[eighths % 8]
}

/**
 * Which of n singular values to show in about `limit` rows around the cut after `cut`: the first ones, those beside the
 * cut, and the last. Indices ascending; a gap is where they jump.
 */
export function rowsAroundCut(n: number, cut: number, limit: number): number[] {
  if (n <= limit) return Array.from({ length: n }, (_, i) => i)
  const around = Math.floor((limit - 3) / 2)
  const shown = new Set<number>([0, 1, n - 1])
  for (let i = cut - around; i < cut + around; i++) if (i >= 0 && i < n) shown.add(i)
  return [...shown].sort((a, b) => a - b)
}

/** What is known of the singular values of a spectrum. */
export interface SpectrumBounds {
  /** σ at [i]. */
  value(i: number): Interval
  /** The share of ‖A‖_F² that the first r of them hold. */
  kept(r: number): Interval
  /** Values up to this are rounding. */
  readonly rounding: number
}

/**
 * The spectrum as a table around the cut after `kept`: each singular value, the share of ‖A‖_F² up to it, and a bar.
 * What is kept is green. Where S holds only the leading singular values, `frobenius` is ‖A‖_F, and a last row says so. With
 * `bounds`, what isn't known to the digits shown is shown by its ends, and rounding is called so.
 */
export function spectrumTable(
  S: ArrayLike<number>,
  kept: number,
  { paint, columns }: Pick<Terminal, 'paint' | 'columns'>,
  frobenius?: number,
  bounds?: SpectrumBounds,
): string {
  const decades = decadesShown(S)
  const energies = cumulativeEnergy(S, frobenius)
  const shown = rowsAroundCut(S.length, kept, MAX_ROWS)
  const numbers = shown.map((i) => [
    String(i + 1),
    bounds === undefined ? short(S[i]) : intervalFigure(bounds.value(i)),
    bounds === undefined ? percent(energies[i]) : shareText(bounds.kept(i + 1)),
    '',
  ])
  const scale = decades === 1 ? 'log scale, 1 decade' : `log scale, ${decades} decades`
  const wideHead = ['', 'S', 'energy so far', scale]
  const head = tableWidth([wideHead, ...numbers]) <= columns ? wideHead : ['', 'S', 'energy', 'log']
  const room = columns - tableWidth([head.with(-1, ''), ...numbers])
  const width = Math.min(MAX_BAR_WIDTH, Math.max(MIN_BAR_WIDTH, room))
  const rows = shown.flatMap((i, at) => {
    const isRounding = S[i] <= (bounds?.rounding ?? -1)
    const bar = isRounding
      ? paint.dim(ROUNDING_WORD)
      : (i < kept ? paint.green : paint.dim)(logBar(S[i], S[0], decades, width))
    const isAfterGap = i > (shown[at - 1] ?? -1) + 1
    return [...(isAfterGap ? [['…', '…', '…', '']] : []), numbers[at].with(-1, bar)]
  })
  if (frobenius !== undefined) rows.push(['…', '…', '…', paint.dim('not computed')])
  const painted = head.map((text) => paint.bold(text))
  return table(rows, columns, painted, [0, 1, 2])
}

/** In place of a bar. */
const ROUNDING_WORD = 'rounding'

/** A share of energy, or what it is at least. */
function shareText({ atLeast, atMost }: Interval): string {
  const least = percent(Math.max(0, atLeast))
  return least === percent(atMost) ? least : `≥ ${percentDown(Math.max(0, atLeast))}`
}

/** The powers of ten between the largest singular value and the smallest above rounding, so that bars use their width. */
function decadesShown(S: ArrayLike<number>): number {
  const above = Array.from(S).filter((s) => s > S[0] * S.length * ROUNDING)
  return Math.max(1, Math.ceil(Math.log10(S[0] / above[above.length - 1]) || 1))
}

/** energies[i] = Σ_{j ≤ i} S[j]² / ‖A‖_F², of S / S[0] so that squares stay in range; 1 throughout for zeros. */
function cumulativeEnergy(S: ArrayLike<number>, frobenius?: number): Float64Array {
  const largest = S[0] || 1
  const energies = Float64Array.from(S, (s) => (s / largest) ** 2)
  for (let i = 1; i < energies.length; i++) energies[i] += energies[i - 1]
  const total = frobenius === undefined ? energies[energies.length - 1] : (frobenius / largest) ** 2
  return energies.map((energy) => Math.min(1, energy / (total || 1)))
}
