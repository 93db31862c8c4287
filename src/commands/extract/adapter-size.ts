import { badInput, type LoraSvdError } from '../../errors.ts'
import type { Spectrum } from '../../linalg/spectrum/spectrum.ts'
import type { TargetModule } from '../../lora/model.ts'
import { modelCard } from '../../lora/write/card.ts'
import type { AdapterPlan } from '../../lora/write/peft.ts'
import { adapterSize, planAdapter } from '../../lora/write/peft.ts'
import { patternWarnings } from '../../lora/write/warnings.ts'
import { bytes as byteText } from '../../text/numbers.ts'
import { cardFigures, configFacts } from './card.ts'
import type { ExtractSettings } from './options.ts'
import type { ExtractionPlan } from './plan.ts'
import type { Decision, RankChoice } from './ranks.ts'
import { nothingToCarry } from './reasons.ts'
import type { BudgetSpent } from './result.ts'

/** How a byte budget is spent. */
export interface BudgetPlan {
  /** What the first round asks of each layer. */
  readonly firstRanks: readonly number[]
  decide(spectra: readonly Spectrum[]): Decision
  spent(ranks: readonly number[], spectra: readonly Spectrum[]): BudgetSpent
}

/** Singular triplets that a layer is asked for before it is known how many the budget pays for. */
export const FIRST_RANK = 32

export const tooSmall = (budget: number, needed: number): LoraSvdError =>
  badInput(
    `--budget ${byteText(budget)}: at the least ranks the adapter takes ${byteText(needed)} already; give that much, or leave tensors out with --exclude`,
  )

/** What a rank leaves of ‖Δ‖_F², by the values that are known. */
export const leftBy = ({ singularValues, frobenius }: Spectrum, rank: number): number =>
  Math.max(
    0,
    singularValues.subarray(0, rank).reduce((left, s) => left - s * s, frobenius ** 2),
  )

/** The adapter's plan for the ranks that were chosen: of a stack of experts the largest. */
export function planOf(
  { layers, base, traits, saved, dtype }: ExtractionPlan,
  { layout }: ExtractSettings,
  { ranks, results = [] }: Pick<RankChoice, 'ranks'> & Partial<RankChoice>,
): AdapterPlan {
  const ofModules = new Map<TargetModule, number>()
  for (const [i, { module }] of layers.entries()) {
    ofModules.set(module, Math.max(ranks[i], ofModules.get(module) ?? 0))
  }
  if (ranks.every((rank) => rank === 0)) throw nothingToCarry(results)
  return planAdapter({ ranks: ofModules, layout, dtype, base: base.tensors, traits, saved })
}

/** The exact size of the adapter that these ranks make. */
export const adapterBytes = (
  plan: ExtractionPlan,
  options: ExtractSettings,
  ranks: readonly number[],
): number => bytesOf(planOf(plan, options, { ranks }), plan, options)

/**
 * Lines of the model card that higher ranks may make go: vLLM's --max-lora-rank, which ends at 512, and that every loader scales
 * alike, which patterns end.
 */
export const CARD_LINES_THAT_GO = 160

/** At least what the adapter takes at these or any higher ranks, were its factors no larger: no patterns, and no word of them. */
export function leastOverhead(
  plan: ExtractionPlan,
  options: ExtractSettings,
  ranks: readonly number[],
): number {
  const planned = planOf(plan, options, { ranks })
  const ofPatterns = patternWarnings(planned)
  const plain = {
    ...planned,
    rankPattern: new Map<string, number>(),
    warnings: planned.warnings.filter((warning) => !ofPatterns.includes(warning)),
  }
  return bytesOf(plain, plan, options) - CARD_LINES_THAT_GO
}

function bytesOf(adapterPlan: AdapterPlan, plan: ExtractionPlan, options: ExtractSettings): number {
  const facts = configFacts(plan, options, adapterPlan)
  const card = modelCard(adapterPlan, cardFigures(plan, options, adapterPlan))
  return adapterSize(adapterPlan, plan.inModel, plan.traits, facts, card).total
}
