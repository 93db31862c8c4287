import { errorAllowed } from '../../compress/layer.ts'
import { ratioOfNorms } from '../../linalg/matrix/norms.ts'
import { certifiedField, errorAt } from '../../linalg/spectrum/measures.ts'
import type { Interval } from '../../linalg/spectrum/spectrum.ts'
import { notLoadedText } from '../../lora/found-by-loaders.ts'
import { elementsPerRank } from '../../lora/model.ts'
import type { AdapterPlan } from '../../lora/write/peft.ts'
import { relative } from '../../measure/result.ts'
import { partText } from '../../report/layer-list.ts'
import { percent } from '../../text/numbers.ts'
import { counted } from '../../text/quote.ts'
import { type AdapterMeasures, totalErrors } from '../verify/verify.ts'
import type { ExtractOptions } from './options.ts'
import type { ExtractionPlan } from './plan.ts'
import type { Chosen } from './ranks.ts'
import { whyNothing } from './reasons.ts'
import type { BrokenPromise, ExtractedLayer, ExtractResult } from './result.ts'
import { deltaVerdict } from './verdict.ts'

/** What was extracted, set beside what was measured; all but what only the finished folder tells. */
export function resultOf(
  plan: ExtractionPlan,
  options: ExtractOptions,
  chosen: Chosen,
  adapterPlan: AdapterPlan,
  measures: AdapterMeasures,
): ExtractResult {
  const measured = new Map(measures.layers.map((layer) => [layer.name, layer]))
  const storedRanks = new Map(adapterPlan.modules.map(({ module, storedRank }) => [module, storedRank]))
  const carried = plan.layers.flatMap((layer, i) => (chosen.ranks[i] > 0 ? [{ layer, i }] : []))
  const layers = carried.map(({ layer: { pair, module }, i }): ExtractedLayer => {
    const { spectrum, baseFrobenius, noiseFloor, openBecause, engine, seconds } = chosen.results[i]
    return {
      name: pair.name,
      shape: [spectrum.rows, spectrum.columns],
      dtype: adapterPlan.dtype,
      rank: chosen.ranks[i],
      storedRank: storedRanks.get(module)!,
      relativeError: measured.get(pair.name)!.relativeError,
      optimalError: errorAt(spectrum, chosen.ranks[i]),
      frobenius: spectrum.frobenius,
      relativeChange: relative(spectrum.frobenius, baseFrobenius),
      ...(noiseFloor !== undefined && { noiseFloor }),
      ...(openBecause !== undefined && { openBecause }),
      engine,
      seconds,
    }
  })
  const errors = {
    // what is written whole would make the layers look better than they can be
    relativeError: totalErrors({ ...measures, replaced: [] }).relativeError,
    wholeRelativeError: totalErrors(measures).wholeRelativeError,
  }
  const parameters = layers.reduce((sum, { shape: [rows, columns] }) => sum + rows * columns, 0)
  const adapterParameters = adapterPlan.modules.reduce(
    (sum, { module, storedRank }) => sum + elementsPerRank(module) * storedRank,
    0,
  )
  const broken = [...brokenPromises(layers, options), ...notLoadedPromises(measures)]
  const part = partText(plan)
  return {
    source: { base: options.base, tuned: options.tuned },
    rule: options.rule,
    layout: options.layout,
    layers,
    saved: measures.replaced,
    unchanged: plan.unchanged,
    notCarried: notCarriedOf(plan, chosen, measures),
    totals: {
      layers: layers.length,
      parameters,
      adapterParameters,
      ratio: adapterParameters / parameters,
      ...errors,
      optimalError: optimumOf(layers),
      ...certifiedField(chosen.results.map(({ spectrum }) => spectrum)),
      matched: plan.matched,
      unmatched: plan.unmatched,
      bytesRead: plan.layers.reduce((sum, { pair }) => sum + pair.base.bytes + pair.tuned.bytes, 0),
      bytesWritten: 0,
    },
    ...(chosen.budget !== undefined && { budget: chosen.budget }),
    verdict: [deltaVerdict(layers), ...(part === undefined ? [] : [part])].join('; '),
    broken,
    holds: broken.length === 0 && plan.unmatched === 0,
    output: { path: options.output, format: 'peft', bytes: 0, files: [] },
    resumed: 0,
    warnings: [
      ...new Set([
        ...plan.warnings,
        ...adapterPlan.warnings,
        ...sizeWarnings(layers, adapterParameters),
        ...noiseWarnings(chosen),
      ]),
    ],
    seconds: 0,
    engine: [...new Set(chosen.results.map(({ engine }) => engine))].sort().join(' + '),
  }
}

/** Padding that takes a good part of the adapter, and an adapter that takes more than what it stands for. */
function sizeWarnings(layers: readonly ExtractedLayer[], stored: number): string[] {
  const sum = (of: (layer: ExtractedLayer) => number) => layers.reduce((total, layer) => total + of(layer), 0)
  const own = sum(({ rank, shape: [rows, columns] }) => rank * (rows + columns))
  const dense = sum(({ shape: [rows, columns] }) => rows * columns)
  return [
    ...(own < LEAST_FILLED * stored
      ? [
          `${percent(1 - own / stored)} of the factors are padding with zeros, as every layer is stored at the largest rank: --uniform fills them, --max-rank bounds them, --layout pattern leaves them out`,
        ]
      : []),
    ...(stored >= dense
      ? [
          `the factors take ${percent(stored / dense)} of the matrices that they stand for: a lower rank, or the fine-tune itself, takes less`,
        ]
      : []),
  ]
}

/** Layers of which a direction is carried though none is known to be more than rounding. */
function noiseWarnings({ results, ranks }: Chosen): string[] {
  const count = results.filter(({ isNotUnderstood }, i) => isNotUnderstood && ranks[i] > 0).length
  if (count === 0) return []
  return [
    `in ${counted(count, 'layer')} most entries did not move, and no direction stands out of what is left of the change: the rounding of the stored dtypes hides its rank, and the leading direction is carried; --rank or --error carries more`,
  ]
}

/** The share of the factors that is no padding, below which padding is worth a word. */
const LEAST_FILLED = 0.75

/** The least error over all layers at their ranks. */
function optimumOf(layers: readonly ExtractedLayer[]): Interval {
  const norms = layers.map(({ frobenius }) => frobenius)
  const share = (end: keyof Interval) =>
    ratioOfNorms(
      layers.map(({ frobenius, optimalError }) => frobenius * optimalError[end]),
      norms,
    )
  return { atLeast: share('atLeast'), atMost: share('atMost') }
}

function brokenPromises(layers: readonly ExtractedLayer[], { rule }: ExtractOptions): BrokenPromise[] {
  if (rule.kind === 'budget') return []
  const allowed = errorAllowed(rule)
  return layers
    .filter(({ relativeError }) => relativeError > allowed)
    .map(({ name, relativeError }) => ({
      name,
      text: `an error of ${relativeError.toPrecision(4)} where ${allowed.toPrecision(4)} was asked for`,
    }))
}

/** An adapter that loaders would take for nothing keeps none. */
const notLoadedPromises = ({ notLoaded }: AdapterMeasures): BrokenPromise[] =>
  notLoaded.map((one) => ({ name: one.modules[0], text: notLoadedText(one) }))

/** What the plan left out, with the reason it gave and the change that was measured; layers of which nothing was kept too. */
function notCarriedOf(plan: ExtractionPlan, { ranks, results }: Chosen, { notCarried }: AdapterMeasures) {
  const measured = new Map(notCarried.map((one) => [one.name, one]))
  const withChange = (name: string, reason: string) => ({ ...measured.get(name), name, reason })
  const ofRankZero = plan.layers.flatMap(({ pair }, i) =>
    ranks[i] === 0 ? [withChange(pair.name, whyNothing(results[i]))] : [],
  )
  return [...plan.notCarried.map(({ name, reason }) => withChange(name, reason)), ...ofRankZero]
}
