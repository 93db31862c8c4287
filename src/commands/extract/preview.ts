import { elementCount } from '../../checkpoint/read.ts'
import { bytesPerElement } from '../../formats/dtype.ts'
import { freeBytes } from '../../io/files.ts'
import { withinLimits } from '../../linalg/spectrum/rules.ts'
import { elementsPerRank } from '../../lora/model.ts'
import type { Shard } from '../../shards/shard.ts'
import { momentNotes } from '../moment-notes.ts'
import type { ExtractSettings } from './options.ts'
import { adapterBytes, outputFacts, outputPlan, placedModules } from './output.ts'
import type { ExtractionPlan } from './plan.ts'
import { plannedTotals, type Sampled, sampledQuantisation } from './quantisation.ts'
import { firstRound, mayTakeRounds } from './ranks.ts'
import type { ExtractPreview, PlannedJoin, PlannedShard } from './result.ts'
import { countDone } from './run-folder.ts'
import { quantisedBaseWarning } from './sentences.ts'
import { shardOutput } from './shard-folders.ts'
import { splitOf } from './split.ts'

/** Singular triplets are kept as float64 until the adapter is whole. */
const KEPT_BYTES = 8

/** The rank of each layer where the rule tells it before anything is computed: at most, for a delta of lower rank. */
function knownRanks({ layers }: ExtractionPlan, { rule, limits }: ExtractSettings): number[] | undefined {
  if (rule.kind !== 'rank') return undefined
  return layers.map(({ pair: { tuned } }) =>
    withinLimits(rule.rank, Math.min(tuned.rows, tuned.columns), limits),
  )
}

/** At least so many bytes are written: `kept` until the adapter is whole, and `adapter`. */
export function leastBytes(
  plan: ExtractionPlan,
  options: ExtractSettings,
): { readonly kept: number; readonly adapter: number } {
  const ranks = knownRanks(plan, options) ?? plan.layers.map(() => options.limits.minRank ?? 1)
  const entries = plan.layers.reduce(
    (sum, { pair: { tuned } }, i) => sum + (tuned.rows + tuned.columns) * ranks[i],
    0,
  )
  const whole = wholeBytes(plan).reduce((sum, { bytes }) => sum + bytes, 0)
  return { kept: entries * KEPT_BYTES, adapter: entries * bytesPerElement(plan.dtype) + whole }
}

const wholeBytes = ({ saved, inModel, exact }: ExtractionPlan) => [
  ...saved.flatMap(({ tensors }) => tensors).map((name) => ({ name, bytes: inModel.get(name)!.bytes })),
  ...exact.map(({ tuned }) => ({ name: tuned.name, bytes: elementCount(tuned) * bytesPerElement('f32') })),
]

function plannedOf(sampled: Sampled | undefined): Pick<ExtractPreview['layers'][number], 'quantisation'> {
  if (sampled === undefined) return {}
  const { energy: _, ...quantisation } = sampled
  return { quantisation }
}

function plannedShard(plan: ExtractionPlan, options: ExtractSettings, shard: Shard): PlannedShard {
  const { isOwn, share } = splitOf(plan, options, firstRound(plan, options).first, shard)
  return {
    ...shard,
    layers: plan.layers.filter((_, i) => isOwn[i]).map(({ pair }) => pair.name),
    work: share,
    mayTakeRounds: mayTakeRounds(options),
  }
}

function momentTotals({ moments, layers }: ExtractionPlan): Pick<ExtractPreview['totals'], 'moments'> {
  if (moments === undefined) return {}
  const unweighed = layers.flatMap(({ pair }, i) => (moments.ofLayers[i] === undefined ? [pair.name] : []))
  return { moments: { layers: layers.length - unweighed.length, unweighed } }
}

/** All that can be said before anything is computed. */
export async function preview(
  plan: ExtractionPlan,
  options: ExtractSettings,
  join?: PlannedJoin,
): Promise<ExtractPreview> {
  const ranks = knownRanks(plan, options)
  const sampled: (Sampled | undefined)[] = []
  for (const [i, { pair }] of plan.layers.entries()) sampled.push(await sampledQuantisation(pair, ranks?.[i]))
  const entry = bytesPerElement(plan.dtype)
  // names are the same at any ranks
  const output =
    plan.layers.length === 0
      ? undefined
      : outputPlan(plan, options, { ranks: ranks ?? plan.layers.map(() => options.limits.minRank ?? 1) })
  return {
    source: { base: plan.base.path, tuned: plan.tuned.path },
    rule: options.rule,
    layout: options.layout,
    layers: plan.layers.map(({ pair: { name, tuned }, module }, i) => ({
      name,
      shape: [tuned.rows, tuned.columns],
      dtype: tuned.dtype,
      ...(ranks !== undefined && {
        rank: ranks[i],
        bytes: (elementsPerRank(module) / module.experts) * ranks[i] * entry,
      }),
      ...plannedOf(sampled[i]),
    })),
    saved: wholeBytes(plan),
    unchanged: plan.unchanged,
    notCarried: plan.notCarried.map(({ name, because, notWhole }) => ({
      name,
      because,
      ...(notWhole !== undefined && { notWhole }),
    })),
    totals: {
      layers: plan.layers.length,
      parameters: plan.layers.reduce((sum, { pair: { tuned } }) => sum + tuned.rows * tuned.columns, 0),
      matched: plan.matched,
      unmatched: plan.unmatched,
      ...plannedTotals(sampled),
      ...momentTotals(plan),
    },
    modules: output === undefined ? [] : placedModules(output),
    gaps: output === undefined ? [] : outputFacts(output, plan).gaps,
    output: {
      path: options.output,
      format: plan.destination.format,
      dtype: plan.dtype,
      ...(ranks !== undefined && plan.layers.length > 0 && { bytes: adapterBytes(plan, options, ranks) }),
      free: await freeBytes(options.output),
    },
    resumable: await countDone(
      options.shard === undefined ? options.output : shardOutput(options.output, options.shard),
    ),
    ...(options.shard !== undefined && { shard: plannedShard(plan, options, options.shard) }),
    ...(join !== undefined && { join }),
    warnings: [
      ...plan.warnings,
      ...quantisedBaseWarning(plan),
      ...(plan.moments === undefined
        ? []
        : momentNotes(
            plan.moments,
            plan.layers.map(({ pair }) => pair.name),
            [],
          )),
    ],
  }
}
