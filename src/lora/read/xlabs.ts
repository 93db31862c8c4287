import type { StoredTensor } from '../../checkpoint/types.ts'
import { badInput } from '../../errors.ts'
import { quoted, shapeText } from '../../text/quote.ts'
import { rowsOf } from '../fit.ts'

/**
 * XLabs' LoRA of Flux: factors of a block's attention processor (XLabs-AI/x-flux@2024-09-23: src/flux/modules/layers.py,
 * DoubleStreamBlockLoraProcessor, where 1 is the image's stream and 2 the text's, and SingleStreamBlockLoraProcessor). No alpha is stored: its
 * pipeline multiplies by 1 (src/flux/xflux_pipeline.py, update_model_with_lora).
 */
const NAME =
  /^(?:diffusion_model\.)?(double_blocks|single_blocks)\.(\d+)\.processor\.(qkv|proj)_lora([12]?)\.(down|up)\.weight$/

/** huggingface/diffusers@2026-08-23: loaders/lora_conversion_utils.py, _convert_xlabs_flux_lora_to_diffusers: the same matrices. */
const MODULES: Readonly<Record<string, readonly string[]>> = {
  'double_blocks qkv1': ['attn.to_q', 'attn.to_k', 'attn.to_v'],
  'double_blocks qkv2': ['attn.add_q_proj', 'attn.add_k_proj', 'attn.add_v_proj'],
  'double_blocks proj1': ['attn.to_out.0'],
  'double_blocks proj2': ['attn.to_add_out'],
  // rows of linear1, beside those of the MLP
  'single_blocks qkv': ['attn.to_q', 'attn.to_k', 'attn.to_v'],
  'single_blocks proj': ['proj_out'],
}
const BLOCKS: Readonly<Record<string, string>> = {
  double_blocks: 'transformer_blocks',
  single_blocks: 'single_transformer_blocks',
}
const PARTS: Readonly<Record<string, string>> = { down: 'lora_A', up: 'lora_B' }

export const isXlabs = (names: Iterable<string>): boolean => {
  for (const name of names) if (NAME.test(name)) return true
  return false
}

/**
 * The tensors under diffusers' names, which ComfyUI reads too: of a fused pair each part has all of A, and its rows of B. Throws
 * `bad-input` where those of B are no three equal parts.
 */
export function underDiffusersNames(path: string, tensors: Iterable<StoredTensor>): StoredTensor[] {
  return [...tensors].flatMap((tensor) => {
    const [, blocks, block, side, stream, half] = NAME.exec(tensor.name) ?? []
    const modules = half === undefined ? undefined : MODULES[`${blocks} ${side}${stream}`]
    if (modules === undefined) return [tensor]
    return modules.map((module, i) => ({
      ...(half === 'up' ? partOfRows(path, tensor, i, modules.length) : tensor),
      name: `transformer.${BLOCKS[blocks]}.${block}.${module}.${PARTS[half]}.weight`,
    }))
  })
}

/** The i-th of so many equal parts of a tensor's rows. */
function partOfRows(path: string, tensor: StoredTensor, i: number, parts: number): StoredTensor {
  const { name, shape } = tensor
  const rows = shape[0] / parts
  if (!Number.isInteger(rows)) {
    throw badInput(
      `${path}: tensor ${quoted(name)} has the shape ${shapeText(shape)}; its rows are those of queries, keys and values, as many of each`,
      { file: path, tensor: name },
    )
  }
  return rowsOf(tensor, i * rows, rows)
}
