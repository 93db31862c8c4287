import type { SortKey } from './plan.ts'
import type { MatrixReport } from './result.ts'

/** layers.2 before layers.10. */
const NATURAL = new Intl.Collator('en', { numeric: true })

const FIGURES: Record<Exclude<SortKey, 'model' | 'name'>, (report: MatrixReport) => number> = {
  size: ({ bytes }) => bytes,
  frobenius: ({ spectrum }) => spectrum.frobenius,
  spectral: ({ spectral }) => spectral.atLeast,
  rank: ({ rank }) => rank.atLeast,
  'stable-rank': ({ stableRank }) => stableRank.atMost,
  'effective-rank': ({ effectiveRank }) => effectiveRank ?? Number.NEGATIVE_INFINITY,
  'energy-rank': ({ energyRanks }) => energyRanks['0.9'].atLeast,
  change: ({ base }) => base?.relativeChange ?? Number.NEGATIVE_INFINITY,
}

/** The reports by `key`, the largest figure first, equal ones as they came; `reverse` turns the order round. */
export function ordered(reports: readonly MatrixReport[], key: SortKey, reverse: boolean): MatrixReport[] {
  const sorted = [...reports]
  if (key === 'name') sorted.sort((a, b) => NATURAL.compare(a.name, b.name))
  else if (key !== 'model') sorted.sort((a, b) => FIGURES[key](b) - FIGURES[key](a) || 0)
  return reverse ? sorted.reverse() : sorted
}
