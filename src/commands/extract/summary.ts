import { plainSpectrum } from '../../compress/layer-result.ts'
import { ratioOfNorms } from '../../linalg/matrix/norms.ts'
import { certifiedField, errorAt } from '../../linalg/spectrum/measures.ts'
import { errorAllowed } from '../../linalg/spectrum/rules.ts'
import type { Interval } from '../../linalg/spectrum/spectrum.ts'
import { type AdapterMeasures, totalErrors } from '../../measure/adapter.ts'
import { relative } from '../../measure/measure.ts'
import { percent } from '../../text/numbers.ts'
import { counted } from '../../text/quote.ts'
import { momentNotes } from '../moment-notes.ts'
import type { Destination } from './destination.ts'
import { outputOf } from './moments.ts'
import type { ExtractSettings } from './options.ts'
import type { OutputFacts } from './output.ts'
import type { ExtractionPlan } from './plan.ts'
import { quantisationOf, quantisationTotals } from './quantisation.ts'
import type { RankChoice } from './ranks.ts'
import type { BrokenGuarantee, ExtractedLayer, ExtractResult, LeftBecause } from './result.ts'
import { quantisedBaseWarning, whyNothing } from './sentences.ts'

/** An adapter that lies on disk: how its ranks were chosen, what it is made of, and what was measured of it. */
export interface Built {
  readonly choice: RankChoice
  readonly output: OutputFacts
  readonly measures: AdapterMeasures
}

/** The whole result: what was extracted, set beside what was measured, and what the finished folder tells. */
export function resultOf(
  plan: ExtractionPlan,
  settings: ExtractSettings,
  built: Built,
  layers: readonly ExtractedLayer[],
  files: readonly { readonly name: string; readonly bytes: number }[],
  { resumed, joined, seconds }: Pick<ExtractResult, 'resumed' | 'joined' | 'seconds'>,
): ExtractResult {
  const { choice, output, measures } = built
  const parameters = layers.reduce((sum, { shape: [rows, columns] }) => sum + rows * columns, 0)
  const adapterParameters = output.entries
  const bytes = files.reduce((sum, file) => sum + file.bytes, 0)
  const budget = choice.budget && { ...choice.budget, used: bytes }
  const broken = [
    ...brokenErrors(layers, settings),
    ...measures.notLoaded.map((one) => ({ kind: 'not-loaded' as const, ...one })),
    ...(budget !== undefined && bytes > budget.bytes
      ? [{ kind: 'budget' as const, written: bytes, asked: budget.bytes }]
      : []),
  ]
  return {
    source: { base: plan.base.path, tuned: plan.tuned.path },
    rule: settings.rule,
    layout: settings.layout,
    layers,
    saved: measures.replaced,
    unchanged: plan.unchanged,
    notCarried: notCarriedOf(plan, built),
    totals: {
      layers: layers.length,
      parameters,
      adapterParameters,
      ratio: adapterParameters / parameters,
      ...errorsOf(measures, layers),
      optimalError: optimumOf(layers),
      ...outputTotals(plan, layers),
      ...quantisationTotals(layers),
      ...certifiedField(choice.results.map(({ spectrum }) => spectrum)),
      matched: plan.matched,
      unmatched: plan.unmatched,
      bytesRead: plan.layers.reduce((sum, { pair }) => sum + pair.base.bytes + pair.tuned.bytes, 0),
      bytesWritten: bytes,
    },
    ...(budget !== undefined && { budget }),
    broken,
    holds: broken.length === 0 && plan.unmatched === 0,
    gaps: output.gaps,
    output: {
      path: settings.output,
      format: plan.destination.format,
      bytes,
      files: files.map(({ name }) => name),
    },
    resumed,
    ...(joined !== undefined && { joined }),
    warnings: [
      ...new Set([
        ...plan.warnings,
        ...output.warnings,
        ...sizeWarnings(layers, output, plan.destination),
        ...quantisedBaseWarning(plan),
        ...noiseWarnings(choice),
        ...(plan.moments === undefined
          ? []
          : momentNotes(
              plan.moments,
              plan.layers.map(({ pair }) => pair.name),
              layers,
            )),
      ]),
    ],
    seconds,
    engine: [...new Set(choice.results.map(({ engine }) => engine))].sort().join(' + '),
  }
}

/** The layers that factors carry, with the errors that were measured. */
export function layersOf(
  plan: ExtractionPlan,
  { choice: { ranks, results }, output: { storedRanks }, measures }: Built,
): ExtractedLayer[] {
  const measured = new Map(measures.layers.map((layer) => [layer.name, layer]))
  const carried = plan.layers.flatMap((layer, i) => (ranks[i] > 0 ? [{ layer, i }] : []))
  return carried.map(({ layer: { pair, module }, i }): ExtractedLayer => {
    const { baseFrobenius, noiseFloor, openBecause, engine, seconds } = results[i]
    const spectrum = plainSpectrum(results[i])
    const found = measured.get(pair.name)!
    return {
      name: pair.name,
      shape: [spectrum.rows, spectrum.columns],
      dtype: plan.dtype,
      rank: ranks[i],
      storedRank: storedRanks.get(module.tensor) ?? ranks[i],
      relativeError: found.relativeError,
      optimalError: errorAt(spectrum, ranks[i]),
      frobenius: spectrum.frobenius,
      relativeChange: relative(spectrum.frobenius, baseFrobenius),
      ...(noiseFloor !== undefined && { noiseFloor }),
      ...outputOf(results[i], ranks[i], found.output?.relativeError),
      ...quantisationOf(pair.base.dtype, { ...results[i], spectrum }, ranks[i]),
      ...(openBecause !== undefined && { openBecause }),
      engine,
      seconds,
    }
  })
}

/**
 * The errors over the layers, and over all that changed. What is written whole would make the layers look better than they can be, and
 * the zeros that complete a group worse.
 */
export function errorsOf(measures: AdapterMeasures, layers: readonly ExtractedLayer[]) {
  const names = new Set(layers.map(({ name }) => name))
  const carried = measures.layers.filter(({ name }) => names.has(name))
  return {
    relativeError: totalErrors({ layers: carried, replaced: [], notCarried: [] }).relativeError,
    wholeRelativeError: totalErrors(measures).wholeRelativeError,
  }
}

/** Padding that takes a good part of the adapter, and an adapter that takes more than what it stands for. */
function sizeWarnings(
  layers: readonly ExtractedLayer[],
  { entries: stored, filled }: OutputFacts,
  { format }: Destination,
): string[] {
  const sum = (of: (layer: ExtractedLayer) => number) => layers.reduce((total, layer) => total + of(layer), 0)
  const own = filled ?? sum(({ rank, shape: [rows, columns] }) => rank * (rows + columns))
  const dense = sum(({ shape: [rows, columns] }) => rows * columns)
  return [
    ...(own < LEAST_FILLED * stored
      ? [
          `${percent(1 - own / stored)} of the factors are padding with zeros, as every layer is stored at the largest rank: --uniform fills them, --max-rank bounds them${format === 'mlx' ? '' : ', --layout pattern leaves them out'}`,
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
function noiseWarnings({ results, ranks }: RankChoice): string[] {
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

/** The same in the norm of the inputs, over the layers that moments weigh; and which they don't. */
function outputTotals(
  { moments, layers: planned }: ExtractionPlan,
  layers: readonly ExtractedLayer[],
): Pick<ExtractResult['totals'], 'output'> {
  if (moments === undefined) return {}
  const weighed = layers.flatMap(({ output }) => (output === undefined ? [] : [output]))
  const norms = weighed.map(({ frobenius }) => frobenius)
  const share = (of: (one: (typeof weighed)[number]) => number) =>
    ratioOfNorms(
      weighed.map((one) => one.frobenius * of(one)),
      norms,
    )
  return {
    output: {
      layers: weighed.length,
      relativeError: share(({ relativeError }) => relativeError),
      optimalError: {
        atLeast: share(({ optimalError }) => optimalError.atLeast),
        atMost: share(({ optimalError }) => optimalError.atMost),
      },
      unweighed: planned.flatMap(({ pair }, i) => (moments.ofLayers[i] === undefined ? [pair.name] : [])),
    },
  }
}

function brokenErrors(layers: readonly ExtractedLayer[], { rule }: ExtractSettings): BrokenGuarantee[] {
  if (rule.kind === 'budget') return []
  const allowed = errorAllowed(rule)
  return layers
    .map(({ name, relativeError, output }) => ({ name, found: output?.relativeError ?? relativeError }))
    .filter(({ found }) => found > allowed)
    .map(({ name, found }) => ({ kind: 'error', name, found, allowed }))
}

/** What the plan left out, with the reason it gave and the change that was measured; layers of which nothing was kept too. */
export function notCarriedOf(
  plan: ExtractionPlan,
  { choice: { ranks, results }, measures }: Built,
): LeftBecause[] {
  const filled = measures.layers.map(({ name, deltaFrobenius, baseFrobenius }) => ({
    name,
    deltaFrobenius,
    relativeChange: relative(deltaFrobenius, baseFrobenius),
  }))
  const left = measures.notCarried.map(({ reason, ...change }) => change)
  const changes = new Map([...filled, ...left].map((change) => [change.name, change]))
  const ofRankZero = plan.layers.flatMap(({ pair: { name } }, i) =>
    ranks[i] === 0 ? [{ ...changes.get(name), name, because: whyNothing(results[i]) }] : [],
  )
  const byPlan = plan.notCarried.map(({ name, because, notWhole }) => ({
    ...changes.get(name),
    name,
    because,
    ...(notWhole !== undefined && { notWhole }),
  }))
  return [...byPlan, ...ofRankZero]
}
