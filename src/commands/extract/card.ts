import { basename } from 'node:path'
import { MLX_FILE } from '../../convert/mlx.ts'
import { frontMatter, pipelineTagOf } from '../../lora/card/front-matter.ts'
import { loadingText } from '../../lora/card/loading.ts'
import { cardFigure, cardName, heading, madeBy } from '../../lora/card/marks.ts'
import type { CardFigures } from '../../lora/write/card.ts'
import {
  baseModelName,
  type ConfigFacts,
  publicName,
  repositoryOf,
  taskTypeOf,
} from '../../lora/write/config.ts'
import type { AdapterPlan } from '../../lora/write/peft.ts'
import { shellWord } from '../../text/quote.ts'
import { version } from '../../version.ts'
import { familyOf } from './destination.ts'
import type { ExtractSettings } from './options.ts'
import type { ExtractionPlan } from './plan.ts'
import { isQuantised } from './quantisation.ts'
import type { ExtractResult } from './result.ts'
import { leftText } from './sentences.ts'

export const CARD_FILE = 'README.md'

/** What adapter_config.json says of the base. */
export function configFacts(
  plan: ExtractionPlan,
  { baseName }: ExtractSettings,
  adapterPlan: Pick<AdapterPlan, 'saved'>,
): ConfigFacts {
  const { base, tuned, traits } = plan
  const config = base.config ?? tuned.config
  // the tuned model's config may name the base before it was quantised
  const given = baseName ?? repositoryOf(base) ?? (isQuantised(plan) ? basename(base.path) : undefined)
  return {
    baseModel: baseModelName(given, config),
    taskType: taskTypeOf(config, adapterPlan, tuned.tensors.keys(), traits),
  }
}

/** What the model card tells; `result` is left out where only its length is wanted. */
export function cardFigures(
  plan: ExtractionPlan,
  options: ExtractSettings,
  adapterPlan: AdapterPlan,
  result?: Pick<ExtractResult, 'layers' | 'notCarried'> & { readonly relativeError: number },
): CardFigures {
  const changes = new Map(result?.notCarried.map(({ name, relativeChange }) => [name, relativeChange]))
  // by what the adapter's plan calls the tensor of a layer
  const tensors = new Map(plan.layers.map(({ pair, module }) => [pair.name, module.tensor]))
  const facts = configFacts(plan, options, adapterPlan)
  const family = familyOf(plan.base, plan.tuned)
  return {
    baseModel: facts.baseModel && publicName(facts.baseModel),
    taskType: facts.taskType,
    ...(family !== undefined && { diffusion: family }),
    tool: { version, command: commandOf(options) },
    layers: new Map(
      result?.layers.map(({ name, relativeError, optimalError }) => [
        tensors.get(name) ?? name,
        { relativeError, optimalError: optimalError.atLeast },
      ]),
    ),
    relativeError: result?.relativeError,
    unchanged: plan.unchanged.length,
    notCarried: plan.notCarried.map((left) => ({
      name: left.name,
      reason: leftText(left),
      relativeChange: changes.get(left.name),
    })),
  }
}

/**
 * README.md of a folder for MLX: of which model, how near it is, and how to load it. It is as long without its figure. No dates: the same
 * input gives the same card.
 */
export function mlxCard(plan: ExtractionPlan, options: ExtractSettings, r: number, error?: number): string {
  const { baseModel, taskType } = configFacts(plan, options, { saved: [] })
  const base = baseModel && publicName(baseModel)
  return [
    frontMatter({
      base,
      relation: 'adapter',
      library: 'mlx',
      pipelineTag: pipelineTagOf({ taskType }),
      tags: ['lora', 'lora-svd'],
    }),
    '# LoRA adapter',
    [
      `The difference between ${base === undefined ? 'a fine-tuned model' : `a fine-tune of ${cardName(base)}`} and its base as LoRA factors of rank ${r} in ${plan.dtype}, found by singular value decomposition.`,
      `Relative error over all layers, ‖Δ − B·A‖ / ‖Δ‖ (Frobenius): ${cardFigure(error)}`,
    ].join('\n'),
    heading('How to load it', loadingText({ format: 'mlx', fileName: MLX_FILE, base, taskType, notes: [] })),
    heading('How it was made', madeBy({ version, command: commandOf(options) })),
  ]
    .join('\n\n')
    .concat('\n')
}

/** A path as a command's argument, without the folders of this machine. */
const argument = (path: string) => shellWord(publicName(path).replace(/^-/, './-'))

/** The command that makes this adapter, without what changes none of its bytes. */
export function commandOf({
  base,
  tuned,
  rule,
  limits,
  uniform,
  layout,
  dtype,
  certify,
  ...rest
}: ExtractSettings) {
  const flag = (name: string, value: string | number | boolean | undefined) => {
    if (value === undefined || value === false) return []
    if (value === true) return [`--${name}`]
    const word = shellWord(String(value))
    // a value that begins with a dash would be taken for an option
    return [word.startsWith('-') ? `--${name}=${word}` : `--${name} ${word}`]
  }
  const ofRule =
    rule.kind === 'noise-floor'
      ? '--noise-floor'
      : `--${rule.kind} ${'bytes' in rule ? rule.bytes : rule.kind === 'rank' ? rule.rank : rule.kind === 'energy' ? rule.energy : rule.error}`
  return [
    `lora-svd extract ${argument(base)} ${argument(tuned)} -o ADAPTER`,
    ofRule,
    ...flag('min-rank', limits.minRank),
    ...flag('max-rank', limits.maxRank),
    ...flag('multiple-of', limits.multipleOf),
    ...flag('uniform', uniform),
    ...flag('format', rest.format),
    ...flag('layout', layout === 'portable' ? undefined : layout),
    ...flag('dtype', dtype),
    ...flag('no-distribute-scale', !rest.distributeScale),
    ...flag('embeddings', rest.embeddings),
    ...flag('experts', rest.experts),
    ...flag('no-text-encoder', !rest.textEncoder),
    ...flag('carry-rest', rest.carryRest),
    ...rest.saveFull.flatMap((name) => flag('save-full', name)),
    ...rest.include.flatMap((pattern) => flag('include', pattern)),
    ...rest.exclude.flatMap((pattern) => flag('exclude', pattern)),
    ...flag('moments', rest.moments === undefined ? undefined : publicName(rest.moments)),
    ...flag('certify', certify === 'default' ? undefined : certify),
    ...flag('seed', rest.seed === 0n ? undefined : String(rest.seed)),
  ].join(' ')
}
