import type { AskedRule } from '../rank/asked.ts'
import { numericalRank } from '../rank/measures.ts'
import { type RankLimits, withinLimits } from '../rank/rules.ts'
import { orderOf } from '../spectrum/measures.ts'
import type { Spectrum } from '../spectrum/types.ts'
import type { LayerAsk } from './layer-result.ts'

/** How many ranks a layer gets, or what still has to be known of which layers to tell. */
export type Decision = { readonly ranks: readonly number[] } | { readonly asks: readonly (LayerAsk | null)[] }

/** What the first round asks of every layer. `budgetRank` is what a byte budget begins with. */
export function firstAsk(rule: AskedRule, limits: RankLimits, budgetRank: number): LayerAsk {
  return rule.kind === 'budget' ? rankAsk(budgetRank) : { rule, limits }
}

/** Asks for this many triplets, or as many as there are. */
export const rankAsk = (rank: number): LayerAsk => ({ rule: { kind: 'rank', rank }, limits: {} })

/** The rank that a rule of one matrix gives, from what was asked: a delta of lower rank ends at its own. */
export function ownRank(
  spectrum: Spectrum,
  rule: { readonly kind: AskedRule['kind'] },
  { minRank = 0 }: RankLimits,
): number {
  const found = spectrum.singularValues.length
  if (rule.kind !== 'rank' && rule.kind !== 'budget') return found
  const { singularValues, rows, columns, epsilon } = spectrum
  return Math.min(found, Math.max(minRank, numericalRank(singularValues, rows, columns, epsilon)))
}

/** Every layer gets the largest rank of any; the layers of which too little is known are asked again. */
export function uniformRanks(
  spectra: readonly Spectrum[],
  ranks: readonly number[],
  limits: RankLimits,
): Decision {
  const most = Math.max(0, ...ranks)
  const wanted = spectra.map((spectrum) =>
    spectrum.frobenius === 0 || most === 0
      ? 0
      : withinLimits(most, orderOf(spectrum), { ...limits, minRank: 1 }),
  )
  const asks = spectra.map(({ singularValues }, i) =>
    singularValues.length < wanted[i] ? rankAsk(wanted[i]) : null,
  )
  return asks.some((ask) => ask !== null) ? { asks } : { ranks: wanted }
}
