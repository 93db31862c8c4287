import { ADAPTER_FILE } from '../../checkpoint/folder.ts'
import { counted } from '../../text/quote.ts'
import { frontMatter, pipelineTagOf } from '../card/front-matter.ts'
import { loadingText } from '../card/loading.ts'
import { cardFigure, cardName, escaped, heading, limited, madeBy } from '../card/marks.ts'
import { VLLM_RANKS } from '../loaders/vllm.ts'
import type { AdapterPlan } from './peft.ts'

/** Relative to the Frobenius norm of the layer's delta; undefined as long as it isn't known. */
export interface LayerFigures {
  readonly relativeError: number
  /** No adapter of this rank could be below. */
  readonly optimalError: number
}

/** What a model card tells besides the plan. */
export interface CardFigures {
  /** The base model's name on the Hugging Face Hub, or that of its folder. */
  readonly baseModel: string | undefined
  /** The family of diffusion models that the base belongs to. */
  readonly diffusion?: string
  /** PEFT's task type, as `taskTypeOf` finds it. */
  readonly taskType: string | undefined
  readonly tool: { readonly version: string; readonly command: string }
  /** By the tensor's name. */
  readonly layers: ReadonlyMap<string, LayerFigures>
  /** √(Σ squared errors / Σ ‖delta‖_F²) over the layers. */
  readonly relativeError: number | undefined
  /** How many tensors are equal in both models. */
  readonly unchanged: number
  readonly notCarried: readonly {
    readonly name: string
    readonly reason: string
    readonly relativeChange: number | undefined
  }[]
}

/**
 * README.md of an adapter: what it is, the error of each layer beside the best possible, what it leaves out, and how to
 * load it. Its bytes are as many whatever the figures are. No dates: the same input gives the same card.
 */
export function modelCard(plan: AdapterPlan, figures: CardFigures): string {
  return [
    frontMatter({
      base: figures.baseModel,
      relation: 'adapter',
      library: 'peft',
      pipelineTag: pipelineTagOf(figures),
      tags: ['lora', 'lora-svd'],
    }),
    '# LoRA adapter',
    summary(plan, figures),
    heading('Layers', layersTable(plan, figures)),
    plan.saved.length === 0
      ? undefined
      : heading('Written whole', limited(plan.saved.map(({ path }) => `- ${cardName(path)}`)).join('\n')),
    figures.notCarried.length === 0 ? undefined : heading('Not carried', notCarriedTable(figures)),
    heading('How to load it', loading(plan, figures)),
    heading('How it was made', madeBy(figures.tool)),
  ]
    .filter((part) => part !== undefined)
    .join('\n\n')
    .concat('\n')
}

function summary(plan: AdapterPlan, { baseModel, relativeError, unchanged }: CardFigures): string {
  const carrying = plan.modules.filter(({ rank }) => rank > 0).length
  const of = baseModel === undefined ? 'a fine-tuned model' : `a fine-tune of ${cardName(baseModel)}`
  const rank = plan.rankPattern.size === 0 ? `rank ${plan.r}` : `ranks up to ${plan.r}`
  return [
    `The difference between ${of} and its base as LoRA factors of ${rank} in ${plan.dtype}, found by singular value decomposition.`,
    `${counted(carrying, 'layer')} changed and carried, ${counted(unchanged, 'tensor')} equal in both models.`,
    `Relative error over all layers, ‖Δ − B·A‖ / ‖Δ‖ (Frobenius): ${cardFigure(relativeError)}`,
  ].join('\n')
}

function layersTable(plan: AdapterPlan, { layers }: CardFigures): string {
  const lines = plan.modules.map(({ module, rank, storedRank }) => {
    const known = layers.get(module.tensor)
    const ranks = storedRank === rank ? `${rank}` : `${rank} (stored as ${storedRank})`
    const shape = module.shape.join(' × ')
    const name = cardName(module.tensor)
    return `| ${name} | ${shape} | ${ranks} | ${cardFigure(known?.relativeError)} | ${cardFigure(known?.optimalError)} |`
  })
  return [
    '| layer | shape | rank | relative error | best possible |',
    '|---|---|--:|--:|--:|',
    ...limited(lines),
    '',
    'The errors are measured on the stored factors; “best possible” is what no factors of that rank can be below.',
    ...(plan.modules.some(({ rank }) => rank === 0)
      ? ['A layer of rank 0 has factors of zeros: some servers need all of q, k, v and of gate, up.']
      : []),
  ].join('\n')
}

function notCarriedTable({ notCarried }: CardFigures): string {
  const lines = notCarried.map(
    ({ name, reason, relativeChange }) =>
      `| ${cardName(name)} | ${escaped(reason)} | ${cardFigure(relativeChange)} |`,
  )
  return ['| tensor | why | relative change |', '|---|---|--:|', ...limited(lines)].join('\n')
}

function loading(plan: AdapterPlan, { baseModel, taskType, diffusion }: CardFigures): string {
  const warnings = plan.warnings.map((warning) => escaped(`${warning}.`))
  return loadingText({
    format: 'peft',
    fileName: ADAPTER_FILE,
    base: baseModel,
    taskType,
    diffusion,
    notes: diffusion === undefined ? [...serverNotes(plan), ...warnings] : warnings,
  })
}

/** What servers of language models take. */
function serverNotes({ r, saved, rankPattern }: AdapterPlan): string[] {
  const served = VLLM_RANKS.find((rank) => rank >= r)
  return [
    ...(served === undefined || saved.length > 0 ? [] : [`vLLM: \`--max-lora-rank ${served}\` or more.`]),
    ...(saved.length > 0
      ? []
      : ['llama.cpp: `convert_lora_to_gguf.py --base BASE ADAPTER` makes a GGUF of it.']),
    ...(rankPattern.size === 0 ? ['lora_alpha = r: every loader multiplies by 1.'] : []),
  ]
}
