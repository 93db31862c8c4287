import { modelCard } from '../adapter/write/card.ts'
import { patternWarnings } from '../adapter/write/loader-warnings.ts'
import { planAdapter } from '../adapter/write/plan.ts'
import { adapterSize } from '../adapter/write/size.ts'
import type { AdapterPlan, PeftModule } from '../adapter/write/types.ts'
import { cardFigures, configFacts } from './card.ts'
import type { ExtractOptions } from './options.ts'
import type { ExtractionPlan } from './plan.ts'
import { nothingToCarry } from './rank-zero.ts'
import type { Chosen } from './rounds.ts'

/** The adapter's plan for the ranks that were chosen: of a stack of experts the largest. */
export function planOf(
  { layers, base, traits, saved, dtype }: ExtractionPlan,
  { layout }: ExtractOptions,
  { ranks, results = [] }: Pick<Chosen, 'ranks'> & Partial<Chosen>,
): AdapterPlan {
  const ofModules = new Map<PeftModule, number>()
  for (const [i, { module }] of layers.entries()) {
    ofModules.set(module, Math.max(ranks[i], ofModules.get(module) ?? 0))
  }
  if (ranks.every((rank) => rank === 0)) throw nothingToCarry(results)
  return planAdapter({ ranks: ofModules, layout, dtype, base: base.tensors, traits, saved })
}

/** The exact size of the adapter that these ranks make. */
export const adapterBytes = (
  plan: ExtractionPlan,
  options: ExtractOptions,
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
  options: ExtractOptions,
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

function bytesOf(adapterPlan: AdapterPlan, plan: ExtractionPlan, options: ExtractOptions): number {
  const facts = configFacts(plan, options, adapterPlan)
  const card = modelCard(adapterPlan, cardFigures(plan, options, adapterPlan))
  return adapterSize(adapterPlan, plan.inModel, plan.traits, facts, card).total
}
