import { counted, printable } from '../../text/quote.ts'
import { VLLM_RANKS } from '../loaders/vllm.ts'
import { HUB_NAME } from './config.ts'
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

/** Lines of a table; a mixture of experts has tens of thousands of layers. */
const LISTED = 1000

/** `1.234e-05`: as wide as any figure, known or not, so that a card's length is known before they are. */
const FIGURE_WIDTH = 9
const UNKNOWN = '-'
/** The least number that is shown with three digits of exponent. */
const LARGEST_SHOWN = 9.9995e99

/** transformers' class that loads the base of each of PEFT's task types. */
const AUTO_CLASSES: Readonly<Record<string, string>> = {
  CAUSAL_LM: 'AutoModelForCausalLM',
  SEQ_2_SEQ_LM: 'AutoModelForSeq2SeqLM',
  SEQ_CLS: 'AutoModelForSequenceClassification',
  TOKEN_CLS: 'AutoModelForTokenClassification',
  QUESTION_ANS: 'AutoModelForQuestionAnswering',
}

/**
 * README.md of an adapter: what it is, the error of each layer beside the best possible, what it leaves out, and how to
 * load it. Its bytes are as many whatever the figures are. No dates: the same input gives the same card.
 */
export function modelCard(plan: AdapterPlan, figures: CardFigures): string {
  return [
    frontMatter(figures.baseModel),
    '# LoRA adapter',
    summary(plan, figures),
    heading('Layers', layersTable(plan, figures)),
    plan.saved.length === 0
      ? undefined
      : heading('Written whole', limited(plan.saved.map(({ path }) => `- ${shownName(path)}`)).join('\n')),
    figures.notCarried.length === 0 ? undefined : heading('Not carried', notCarriedTable(figures)),
    heading('How to load it', loading(plan, figures)),
    heading('How it was made', made(figures)),
  ]
    .filter((part) => part !== undefined)
    .join('\n\n')
    .concat('\n')
}

const heading = (title: string, body: string) => `## ${title}\n\n${body}`

function frontMatter(baseModel: string | undefined): string {
  const base = baseModel !== undefined && HUB_NAME.test(baseModel) ? [`base_model: "${baseModel}"`] : []
  return ['---', ...base, 'library_name: peft', 'tags:', '- lora', '- lora-svd', '---'].join('\n')
}

function summary(plan: AdapterPlan, { baseModel, relativeError, unchanged }: CardFigures): string {
  const carrying = plan.modules.filter(({ rank }) => rank > 0).length
  const of = baseModel === undefined ? 'a fine-tuned model' : `a fine-tune of ${shownName(baseModel)}`
  const rank = plan.rankPattern.size === 0 ? `rank ${plan.r}` : `ranks up to ${plan.r}`
  return [
    `The difference between ${of} and its base as LoRA factors of ${rank} in ${plan.dtype}, found by singular value decomposition.`,
    `${counted(carrying, 'layer')} changed and carried, ${counted(unchanged, 'tensor')} equal in both models.`,
    `Relative error over all layers, ‖Δ − B·A‖ / ‖Δ‖ (Frobenius): ${figure(relativeError)}`,
  ].join('\n')
}

function layersTable(plan: AdapterPlan, { layers }: CardFigures): string {
  const lines = plan.modules.map(({ module, rank, storedRank }) => {
    const known = layers.get(module.tensor)
    const ranks = storedRank === rank ? `${rank}` : `${rank} (stored as ${storedRank})`
    const shape = module.shape.join(' × ')
    const name = shownName(module.tensor)
    return `| ${name} | ${shape} | ${ranks} | ${figure(known?.relativeError)} | ${figure(known?.optimalError)} |`
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
      `| ${shownName(name)} | ${escaped(reason)} | ${figure(relativeChange)} |`,
  )
  return ['| tensor | why | relative change |', '|---|---|--:|', ...limited(lines)].join('\n')
}

function limited(lines: readonly string[]): readonly string[] {
  return lines.length <= LISTED
    ? lines
    : [...lines.slice(0, LISTED), '', `… and ${lines.length - LISTED} more.`]
}

function loading(plan: AdapterPlan, { baseModel, taskType, diffusion }: CardFigures): string {
  if (diffusion !== undefined) return loadingIntoDenoiser(plan, diffusion)
  const base = JSON.stringify(printable(baseModel ?? 'BASE'))
  const auto = AUTO_CLASSES[taskType ?? ''] ?? 'AutoModel'
  const served = VLLM_RANKS.find((rank) => rank >= plan.r)
  const notes = [
    ...(served === undefined || plan.saved.length > 0
      ? []
      : [`vLLM: \`--max-lora-rank ${served}\` or more.`]),
    ...(plan.saved.length > 0
      ? []
      : ['llama.cpp: `convert_lora_to_gguf.py --base BASE ADAPTER` makes a GGUF of it.']),
    ...(plan.rankPattern.size === 0 ? ['lora_alpha = r: every loader multiplies by 1.'] : []),
    ...plan.warnings.map((warning) => escaped(`${warning}.`)),
  ]
  return [
    '```python',
    'from peft import PeftModel',
    `from transformers import ${auto}`,
    '',
    `base = ${auto}.from_pretrained(${base})`,
    'model = PeftModel.from_pretrained(base, "ADAPTER")  # this folder',
    '```',
    '',
    ...notes.map((note) => `- ${note}`),
  ].join('\n')
}

/** A denoiser is no class of transformers, and tools for diffusion models read other files. */
const loadingIntoDenoiser = ({ warnings }: AdapterPlan, diffusion: string): string =>
  [
    '```python',
    'from peft import PeftModel',
    '',
    'denoiser = ...  # the module that the base is the weights of, with these very names',
    'model = PeftModel.from_pretrained(denoiser, "ADAPTER")  # this folder',
    '```',
    '',
    `- The base is a diffusion model (${escaped(diffusion)}). This is a folder for PEFT alone: ComfyUI, diffusers' load_lora_weights and kohya's tools read other names and don't find these.`,
    ...warnings.map((warning) => `- ${escaped(`${warning}.`)}`),
  ].join('\n')

function made({ tool }: CardFigures): string {
  const command = printable(tool.command)
  const longest = Math.max(2, ...(command.match(/`+/g) ?? []).map((run) => run.length))
  const fence = '`'.repeat(longest + 1)
  return [`By lora-svd ${escaped(tool.version)}:`, '', `${fence}sh`, command, fence].join('\n')
}

function figure(value: number | undefined): string {
  if (value === undefined) return UNKNOWN.padStart(FIGURE_WIDTH)
  if (!Number.isFinite(value) || value >= LARGEST_SHOWN) return 'huge'.padStart(FIGURE_WIDTH)
  if (value < 1e-99) return '0'.padStart(FIGURE_WIDTH)
  const [digits, exponent] = value.toExponential(3).split('e')
  return `${digits}e${exponent[0]}${exponent.slice(1).padStart(2, '0')}`
}

/** A name as code where it can be, else with Markdown's and HTML's marks escaped. */
const shownName = (name: string) => (/^[\w./:[\]-]+$/.test(name) ? `\`${name}\`` : escaped(name))
const escaped = (text: string) => printable(text).replace(MARKS, '\\$&')
/** Marks that Markdown or HTML would take; an underscore between letters and a lone bracket are none. */
const MARKS = /[\\`*[\]<>|~&]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|^#/g
