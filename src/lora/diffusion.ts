import { badInput } from '../errors.ts'
import { JsonError, parseJson } from '../text/strict-json.ts'
import { type PeftConfig, parsePeftConfig } from './read/peft-config.ts'

type JsonObject = Readonly<Record<string, unknown>>

interface Mark {
  readonly family: string
  /** Names of tensors that the family alone has, after whatever prefix a file gives them. */
  readonly tensors: readonly string[]
}

/**
 * By single tensors, as ComfyUI tells its models apart (Comfy-Org/ComfyUI: comfy/model_detection.py, mid-2026), in its order; and
 * by those of diffusers' own layouts (huggingface/diffusers: src/diffusers/models@2026-08-23).
 */
const MARKS: readonly Mark[] = [
  { family: 'Stable Diffusion 3', tensors: ['joint_blocks.0.context_block.attn.qkv.weight'] },
  {
    family: 'HunyuanVideo',
    tensors: [
      'txt_in.individual_token_refiner.blocks.0.norm1.weight',
      'context_embedder.token_refiner.refiner_blocks.0.norm1.weight',
    ],
  },
  { family: 'Chroma', tensors: ['distilled_guidance_layer.in_proj.weight'] },
  {
    family: 'Flux',
    tensors: [
      'double_blocks.0.img_attn.norm.key_norm.scale',
      'double_blocks.0.img_attn.qkv.weight',
      'single_transformer_blocks.0.attn.to_q.weight',
    ],
  },
  { family: 'Wan', tensors: ['head.modulation', 'condition_embedder.time_embedder.linear_1.weight'] },
  {
    family: 'Lumina 2 or Z-Image',
    tensors: ['cap_embedder.1.weight', 'time_caption_embed.timestep_embedder.linear_1.weight'],
  },
  { family: 'Qwen-Image', tensors: ['txt_norm.weight'] },
  {
    family: 'Stable Diffusion',
    tensors: [
      'input_blocks.0.0.weight',
      'down_blocks.0.resnets.0.time_emb_proj.weight',
      'down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.weight',
    ],
  },
  {
    family: 'Stable Diffusion 3',
    tensors: [
      'transformer_blocks.0.attn.add_q_proj.weight',
      'time_text_embed.timestep_embedder.linear_1.weight',
    ],
  },
]

const FAMILY_OF = new Map(
  MARKS.flatMap(({ family, tensors }, order) => tensors.map((name) => [name, { family, order }])),
)

/** Names that a file may put before a denoiser's own at most: `model.diffusion_model.` has two. */
const MOST_PARTS = 3

/**
 * The family of diffusion models that a checkpoint belongs to, by its tensors' names, or what diffusers' config.json calls its
 * class; undefined for any other model.
 */
export function diffusionFamily(names: Iterable<string>, config: JsonObject | undefined): string | undefined {
  let first: { readonly family: string; readonly order: number } | undefined
  for (const name of names) {
    for (let at = 0, parts = 0; parts <= MOST_PARTS; parts++) {
      const found = FAMILY_OF.get(name.slice(at))
      if (found !== undefined && (first === undefined || found.order < first.order)) first = found
      const dot = name.indexOf('.', at)
      if (dot < 0) break
      at = dot + 1
    }
  }
  if (first !== undefined) return first.family
  const className = config?._class_name
  const isDenoiser = typeof className === 'string' && /Transformer|UNet/.test(className)
  return isDenoiser && config?._diffusers_version !== undefined ? className : undefined
}

/** Where diffusers stores LoraConfig (loaders/lora_base.py, LORA_ADAPTER_METADATA_KEY). */
const METADATA_KEY = 'lora_adapter_metadata'

/**
 * The configs in a file's metadata by component, such as `transformer` of `transformer.lora_alpha`; '' for keys
 * without one, as save_lora_adapter writes them. Empty without that metadata. Throws `bad-input` on wrong JSON.
 */
export function metadataConfigs(
  path: string,
  metadata: ReadonlyMap<string, string>,
): Map<string, PeftConfig> {
  const text = metadata.get(METADATA_KEY)
  if (text === undefined) return new Map()
  const place = `${path}: ${METADATA_KEY}`
  let json: unknown
  try {
    json = parseJson(text)
  } catch (cause) {
    if (!(cause instanceof JsonError)) throw cause
    throw badInput(`${place} is no right JSON: ${cause.message}; leave it out, or fetch the file again`, {
      file: path,
      cause,
    })
  }
  if (typeof json !== 'object' || json === null || Array.isArray(json)) {
    throw badInput(`${place} is no JSON object`, { file: path })
  }
  const fields = new Map<string, Record<string, unknown>>()
  for (const [key, value] of Object.entries(json)) {
    const dot = key.lastIndexOf('.')
    const component = key.slice(0, Math.max(0, dot))
    fields.set(component, { ...fields.get(component), [key.slice(dot + 1)]: value })
  }
  return new Map(
    [...fields].map(([component, config]) => [
      component,
      parsePeftConfig({ peft_type: 'LORA', ...config }, component === '' ? place : `${place} (${component})`),
    ]),
  )
}
