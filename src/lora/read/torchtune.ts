import type { StoredTensor } from '../../checkpoint/types.ts'
import { badInput } from '../../errors.ts'
import { encodeFloats } from '../../formats/dtype.ts'
import { quoted } from '../../text/quote.ts'
import { readFloats } from '../factors.ts'
import type { JsonObject } from '../model.ts'
import { PEFT_PREFIX } from '../names.ts'
import { headsOf } from '../write/gguf-names.ts'
import { type Heads, inverseRows, rowsOfB, takeRows } from '../write/gguf-rows.ts'

/**
 * torchtune's own names, which its adapter_0.pt has, and a safetensors file made of it: its checkpointer writes PEFT's beside, but not of
 * Phi, Llama 4 and Llama 3.2 Vision (pytorch/torchtune@2026-04-23: torchtune/training/checkpointing/_checkpointer.py).
 */
const NAME =
  /^(?:layers\.(\d+)\.(attn\.(?:[qkv]_proj|output_proj)|mlp\.w[123])|(output))\.(lora_a\.weight|lora_b\.weight|magnitude)$/

/** torchtune/models/convert_weights.py, _FROM_HF and _TO_PEFT_KEYS. */
const MODULES: Readonly<Record<string, string>> = {
  'attn.q_proj': 'self_attn.q_proj',
  'attn.k_proj': 'self_attn.k_proj',
  'attn.v_proj': 'self_attn.v_proj',
  'attn.output_proj': 'self_attn.o_proj',
  'mlp.w1': 'mlp.gate_proj',
  'mlp.w2': 'mlp.down_proj',
  'mlp.w3': 'mlp.up_proj',
}
const PARTS: Readonly<Record<string, string>> = {
  'lora_a.weight': 'lora_A.weight',
  'lora_b.weight': 'lora_B.weight',
  magnitude: 'lora_magnitude_vector',
}

/**
 * Whether torchtune rotates neighbouring rows of a head where transformers rotates its halves, by the model's type (tune_to_hf and
 * gemma2/_convert_weights.py permute; qwen2/ and qwen3/_convert_weights.py do not). Other types have other modules under these names.
 */
const INTERLEAVED: Readonly<Record<string, boolean>> = {
  llama: true,
  mistral: true,
  gemma: true,
  gemma2: true,
  qwen2: false,
  qwen3: false,
}

export const isTorchtune = (names: Iterable<string>): boolean => {
  for (const name of names) if (NAME.test(name)) return true
  return false
}

/** Tensors under other names than their file's. */
export interface Renamed {
  readonly tensors: readonly StoredTensor[]
  readonly warnings: readonly string[]
}

interface Told {
  readonly path: string
  /** config.json of the model. */
  readonly model: JsonObject | undefined
  /** Rows in an unknown order are an error. */
  readonly isStrict: boolean
}

/**
 * The tensors under PEFT's names, with the rows of q_proj and k_proj in transformers' order: those of B, which are read for that, and of
 * DoRA's magnitudes. Throws `bad-input` for models whose torchtune names mean something else, and where the heads have to be known and no
 * config.json tells them.
 */
export async function underHubNames(tensors: readonly StoredTensor[], told: Told): Promise<Renamed> {
  const isRotated = tensors.some(({ name }) => /\.[qk]_proj\.(?:lora_b\.weight|magnitude)$/.test(name))
  const order = isRotated ? orderOf(told) : undefined
  const renamed: StoredTensor[] = []
  for (const tensor of tensors) {
    const [, layer, within, , part] = NAME.exec(tensor.name) ?? []
    if (part === undefined) {
      renamed.push(tensor)
      continue
    }
    const module = within === undefined ? 'lm_head' : `model.layers.${layer}.${MODULES[within]}`
    const name = `${PEFT_PREFIX}${module}.${PARTS[part]}`
    const side = /\.[qk]_proj$/.exec(within ?? '')?.[0] === '.k_proj' ? 'key' : 'query'
    const isTurned = typeof order === 'object' && /[qk]_proj$/.test(within ?? '') && part !== 'lora_a.weight'
    renamed.push(
      isTurned ? await reordered({ ...tensor, name }, side, order, told.path) : { ...tensor, name },
    )
  }
  const warnings =
    order === 'unknown'
      ? [`${problemOf(told.path)}; the rows are left as they are, which changes no singular value`]
      : []
  return { tensors: renamed, warnings }
}

/** The heads where rows are to be reordered, undefined where they needn't be. */
function orderOf({ path, model, isStrict }: Told): Heads | 'unknown' | undefined {
  const type = model?.model_type
  if (model === undefined || typeof type !== 'string') {
    if (isStrict) throw badInput(problemOf(path), { file: path })
    return 'unknown'
  }
  if (!Object.hasOwn(INTERLEAVED, type)) {
    throw badInput(
      `${path}: has torchtune's names, of which those for the model type ${quoted(type)} are not known here; merge it with torchtune, and compare what comes of it with the base`,
      { file: path },
    )
  }
  if (!INTERLEAVED[type]) return undefined
  const heads = headsOf(model)
  if (heads !== undefined) return heads
  throw badInput(
    `${path}: the model's config.json has no num_attention_heads, by which torchtune orders rows`,
    {
      file: path,
    },
  )
}

const problemOf = (path: string) =>
  `${path}: has torchtune's names, whose q_proj and k_proj may have their rows in another order than the model on the Hub: config.json tells; give the model by --base`

async function reordered(
  tensor: StoredTensor,
  side: 'query' | 'key',
  heads: Heads,
  path: string,
): Promise<StoredTensor> {
  const [rows, columns = 1] = tensor.shape
  const order = rowsOfB(side, rows, heads)
  if (order === undefined) {
    const count = side === 'query' ? heads.queries : heads.keys
    throw badInput(
      `${path}: tensor ${quoted(tensor.name)} has ${rows} rows, no whole number for each of ${count} heads: the adapter is of another model`,
      { file: path, tensor: tensor.name },
    )
  }
  const bytes = encodeFloats(takeRows(await readFloats(tensor), columns, inverseRows(order)), 'f32')
  return { ...tensor, dtype: 'F32', bytes: bytes.length, source: { kind: 'bytes', bytes } }
}
