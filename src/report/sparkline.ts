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
