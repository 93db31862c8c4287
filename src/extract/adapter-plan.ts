import { modelCard } from '../adapter/write/card.ts'
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
export function adapterBytes(
  plan: ExtractionPlan,
  options: ExtractOptions,
  ranks: readonly number[],
): number {
  const adapterPlan = planOf(plan, options, { ranks })
  const card = modelCard(adapterPlan, cardFigures(plan, options, adapterPlan))
  return adapterSize(
    adapterPlan,
    plan.tuned.tensors,
    plan.traits,
    configFacts(plan, options, adapterPlan),
    card,
  ).total
}
