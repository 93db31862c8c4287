import { printable } from '../../text/quote.ts'
import type { AdapterFormat } from '../model.ts'
import { escaped } from './marks.ts'

/** How an adapter is loaded, by the format that it is written in. */
export interface CardLoading {
  readonly format: AdapterFormat | 'mlx'
  /** The name of the file that holds the factors. */
  readonly fileName: string
  /** The base as a loader finds it: on the Hub, or by a folder's name. */
  readonly base: string | undefined
  /** PEFT's task type. */
  readonly taskType?: string | undefined
  /** The family of diffusion models that the base belongs to. */
  readonly diffusion?: string | undefined
  /** What a user should know besides, a sentence each, in Markdown. */
  readonly notes: readonly string[]
}

/** transformers' class that loads the base of each of PEFT's task types. */
const AUTO_CLASSES: Readonly<Record<string, string>> = {
  CAUSAL_LM: 'AutoModelForCausalLM',
  SEQ_2_SEQ_LM: 'AutoModelForSeq2SeqLM',
  SEQ_CLS: 'AutoModelForSequenceClassification',
  TOKEN_CLS: 'AutoModelForTokenClassification',
  QUESTION_ANS: 'AutoModelForQuestionAnswering',
}

/** The code, or the words, by which the format's own program loads it; then the notes. */
export function loadingText(loading: CardLoading): string {
  const [how, ...more] = howTo(loading)
  const notes = [...more, ...loading.notes].map((note) => `- ${note}`)
  return [how, ...(notes.length === 0 ? [] : ['', ...notes])].join('\n')
}

/** A block first, then sentences. */
function howTo(loading: CardLoading): readonly string[] {
  const { format, fileName, diffusion } = loading
  const base = JSON.stringify(printable(loading.base ?? 'BASE'))
  const file = printable(fileName)
  switch (format) {
    case 'peft':
      return diffusion === undefined ? [intoTransformers(loading, base)] : intoDenoiser(diffusion)
    case 'comfyui':
      return [
        `ComfyUI: put \`${file}\` into \`models/loras\` and choose it in the node *Load LoRA*, with a strength of 1.`,
      ]
    case 'kohya':
      return [
        `AUTOMATIC1111 and Forge: put \`${file}\` into \`models/Lora\`, and name it in the prompt: \`<lora:${file.replace(/\.safetensors$/, '')}:1>\`.`,
        'ComfyUI: the same file in `models/loras`.',
      ]
    case 'diffusers':
      return [
        block('python', [
          'from diffusers import DiffusionPipeline',
          '',
          `pipe = DiffusionPipeline.from_pretrained(${base})`,
          `pipe.load_lora_weights("ADAPTER", weight_name=${JSON.stringify(file)})  # the folder that holds the file`,
        ]),
      ]
    case 'gguf':
      return [
        block('sh', [`llama-cli -m BASE.gguf --lora ${file}`]),
        'llama-server takes the same flags; BASE.gguf is the base as a GGUF file.',
      ]
    case 'mlx':
      return [
        block('sh', [`mlx_lm.generate --model ${base} --adapter-path ADAPTER --prompt "Hello"`]),
        'ADAPTER is this folder.',
      ]
  }
}

const block = (language: string, lines: readonly string[]) =>
  [`\`\`\`${language}`, ...lines, '```'].join('\n')

function intoTransformers({ taskType }: CardLoading, base: string): string {
  const auto = AUTO_CLASSES[taskType ?? ''] ?? 'AutoModel'
  return block('python', [
    'from peft import PeftModel',
    `from transformers import ${auto}`,
    '',
    `base = ${auto}.from_pretrained(${base})`,
    'model = PeftModel.from_pretrained(base, "ADAPTER")  # this folder',
  ])
}

/** A denoiser is no class of transformers, and tools for diffusion models read other files. */
const intoDenoiser = (diffusion: string): readonly string[] => [
  block('python', [
    'from peft import PeftModel',
    '',
    'denoiser = ...  # the module that the base is the weights of, with these very names',
    'model = PeftModel.from_pretrained(denoiser, "ADAPTER")  # this folder',
  ]),
  `The base is a diffusion model (${escaped(diffusion)}). This is a folder for PEFT alone: ComfyUI, diffusers' load_lora_weights and kohya's tools read other names and don't find these.`,
]
