import { modelCard } from '../adapter/write/card.ts'
import { planAdapter } from '../adapter/write/plan.ts'
import { adapterSize } from '../adapter/write/size.ts'
import type { AdapterPlan, PeftModule } from '../adapter/write/types.ts'
import { badInput } from '../errors.ts'
import { cardFigures, configFacts } from './card.ts'
import type { ExtractOptions } from './options.ts'
import type { ExtractionPlan } from './plan.ts'

/** The adapter's plan for the ranks that were chosen: of a stack of experts the largest. */
export function planOf(
  { layers, base, traits, saved, dtype }: ExtractionPlan,
  { layout }: ExtractOptions,
  { ranks }: { readonly ranks: readonly number[] },
): AdapterPlan {
  const ofModules = new Map<PeftModule, number>()
  for (const [i, { module }] of layers.entries()) {
    ofModules.set(module, Math.max(ranks[i], ofModules.get(module) ?? 0))
  }
  if (ranks.every((rank) => rank === 0)) {
    throw badInput(
      'nothing stands above the rounding of the stored dtypes: there is no adapter to write; the change may be nothing but rounding',
    )
  }
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
  return adapterSize(adapterPlan, plan.inModel, plan.traits, configFacts(plan, options, adapterPlan), card)
    .total
}
