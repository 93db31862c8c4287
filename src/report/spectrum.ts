/** The picture of a spectrum: one bar a singular value, on a logarithmic scale. */

/** What lies this far below the largest singular value is drawn as empty: the rounding of float64. */
const DECADES = 16
const EIGHTHS = ['', '▏', '▎', '▍', '▌', '▋', '▊', '▉']

/** A bar of up to `width` cells for s / largest on a scale of 16 decades, to an eighth of a cell. */
export function logBar(s: number, largest: number, width: number): string {
  if (!(s > 0)) return ''
  const share = 1 + Math.log10(s / largest) / DECADES
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
