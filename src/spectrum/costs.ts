import { errorAt, orderOf } from './measures.ts'
import type { RankCost, Spectrum } from './types.ts'

export interface Costed {
  readonly spectrum: Spectrum
  readonly bytesPerEntry: number
}

/** What each rank, the same for all matrices, would take and leave. */
export function rankCosts(matrices: readonly Costed[], ranks: readonly number[]): RankCost[] {
  const largest = Math.max(0, ...matrices.map(({ spectrum }) => orderOf(spectrum)))
  const total = matrices.reduce((sum, { spectrum }) => sum + spectrum.frobenius ** 2, 0)
  return ranks
    .filter((_, i) => i === 0 || ranks[i - 1] < largest)
    .map((rank) => {
      let [parameters, bytes, least, most] = [0, 0, 0, 0]
      for (const { spectrum, bytesPerEntry } of matrices) {
        const entries = Math.min(rank, orderOf(spectrum)) * (spectrum.rows + spectrum.columns)
        const { atLeast, atMost } = errorAt(spectrum, rank)
        parameters += entries
        bytes += entries * bytesPerEntry
        least += (atLeast * spectrum.frobenius) ** 2
        most += (atMost * spectrum.frobenius) ** 2
      }
      const share = (squares: number) => (total > 0 ? Math.sqrt(squares / total) : 0)
      return { rank, parameters, bytes, relativeError: { atLeast: share(least), atMost: share(most) } }
    })
}
