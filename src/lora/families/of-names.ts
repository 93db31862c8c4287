import type { AdapterFormat } from '../model.ts'
import { FAMILIES } from './layout.ts'
import { type Family, NAMINGS, type Naming } from './types.ts'

/** A module's name as far as it tells the model: its prefix, its path, and the size of its matrix. */
export interface NamedModule {
  readonly prefix: string
  readonly path: string
  readonly productShape: readonly [out: number, columns: number]
}

interface Mark {
  readonly id: string
  /** Of paths in which underscores may stand for dots. */
  readonly path: RegExp
  readonly namings?: readonly Naming[]
  /** Of the matrix of the module. */
  readonly columns?: number
  /** Of the prefix of a text encoder's module that has to be beside. */
  readonly beside?: RegExp
}

/** A second block of one of a U-Net's transformers, which SDXL's have, and those of SD 1 and SD 2 don't. */
const DEEPER_THAN_SD1 =
  /^(?:(?:down|up)_blocks[._]\d+[._]attentions[._]\d+|mid_block[._]attentions[._]0|(?:in|out)put_blocks[._]\d+[._]1|middle_block[._]1)[._]transformer_blocks[._][1-9]/
const UNET = /^(?:input_blocks|middle_block|output_blocks|down_blocks|mid_block|up_blocks)[._]/
/** SDXL has two text encoders, SD 1 and SD 2 one. */
const SECOND_ENCODER = /^(?:lora_te2_|text_encoder_2\.|text_encoders\.clip_g\.)/

/** Flux.1 has 19 double and 38 single blocks, HunyuanVideo 20 and 40, under names that kohya's spelling makes the same. */
const MORE_BLOCKS_THAN_FLUX = /^(?:double_blocks[._]19|single_blocks[._]3[89])[._]/

/**
 * What tells a family by the names of an adapter's modules alone, in the order in which they are looked for; names that several families
 * have are no marks. The widths are those of the texts that attention looks at, and of Z-Image's and Lumina's blocks.
 */
const MARKS: readonly Mark[] = [
  { id: 'hunyuan-video', path: /individual_token_refiner|token_refiner[._]refiner_blocks/ },
  {
    id: 'hunyuan-video',
    path: /^double_blocks\.\d+\.(?:img|txt)_(?:attn_qkv|attn_proj|mlp\.fc[12]|mod\.linear)$/,
  },
  { id: 'hunyuan-video', path: MORE_BLOCKS_THAN_FLUX },
  { id: 'flux', path: /^(?:double_blocks|single_blocks)[._]\d+[._]/ },
  { id: 'sd3', path: /^joint_blocks[._]\d+[._]/ },
  { id: 'wan', path: /^blocks[._]\d+[._](?:self_attn|cross_attn)[._](?:[qkvo]|[kv]_img)$/ },
  { id: 'wan', path: /^blocks\.\d+\.attn[12]\.to_(?:[qkv]|out\.0)$/, namings: ['diffusers'] },
  { id: 'qwen-image', path: /^transformer_blocks[._]\d+[._](?:img|txt)_(?:mod|mlp)[._]/ },
  { id: 'qwen-image', path: /^transformer_blocks[._]\d+[._]attn[._]/, namings: ['kohya', 'comfyui'] },
  {
    id: 'flux',
    path: /^single_transformer_blocks[._]\d+[._](?:proj_mlp|norm[._]linear)$/,
    namings: ['diffusers'],
  },
  { id: 'z-image', path: /^(?:layers|noise_refiner)[._]\d+[._]adaLN_modulation[._]0$/ },
  { id: 'lumina2', path: /^(?:layers|noise_refiner)[._]\d+[._]adaLN_modulation[._]1$/ },
  { id: 'z-image', path: /^layers[._]\d+[._]attention[._](?:qkv|to_[qkv])$/, columns: 3840 },
  { id: 'lumina2', path: /^layers[._]\d+[._](?:attention[._]qkv|attn[._]to_[qkv])$/, columns: 2304 },
  { id: 'sdxl', path: DEEPER_THAN_SD1 },
  { id: 'sdxl', path: /[._]attn2[._]to_[kv]$/, columns: 2048 },
  { id: 'sd2', path: /[._]attn2[._]to_[kv]$/, columns: 1024 },
  { id: 'sd1', path: /[._]attn2[._]to_[kv]$/, columns: 768 },
  { id: 'sdxl', path: /^(?:input_blocks|middle_block|output_blocks)[._]/, namings: ['kohya'] },
  { id: 'sdxl', path: /^add_embedding[._]/ },
  { id: 'sdxl', path: UNET, beside: SECOND_ENCODER },
  { id: 'sd1', path: UNET },
]

const byId = new Map(FAMILIES.map((family) => [family.id, family]))

/** The prefixes of text encoders, whose modules say nothing of the family. */
const ENCODER = /^(?:lora_te\d?_|text_encoder|lycoris_text_encoder)/

const isNaming = (format: string): format is Naming => (NAMINGS as readonly string[]).includes(format)

/** The family of diffusion models that an adapter's modules are of, and whose names they have; empty where names don't tell it. */
export function familyOfNames(
  format: AdapterFormat | 'mlx',
  modules: readonly NamedModule[],
): { readonly family?: Family; readonly naming?: Naming } {
  if (!isNaming(format)) return {}
  const denoiser = modules.filter(({ prefix }) => !ENCODER.test(prefix))
  const mark = MARKS.find(
    ({ path: pattern, namings, columns, beside }) =>
      (namings === undefined || namings.includes(format)) &&
      (beside === undefined || modules.some(({ prefix }) => beside.test(prefix))) &&
      denoiser.some(
        ({ path, productShape }) =>
          pattern.test(path) && (columns === undefined || productShape[1] === columns),
      ),
  )
  const family = mark && byId.get(mark.id)
  return family === undefined ? { naming: format } : { family, naming: format }
}
