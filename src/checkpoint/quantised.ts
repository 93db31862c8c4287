import { isBlocked, isUnread } from '../formats/safetensors-dtype.ts'
import { quoted } from '../text/quote.ts'
import type { Checkpoint } from './types.ts'

/** How weights are stored that are no numbers by themselves, and a tensor that shows it. */
export interface Quantisation {
  /** What made them, for a person: bitsandbytes (4 bits). */
  readonly method: string
  readonly tensor: string
}

/**
 * What each method's tensors are called. bitsandbytes: bitsandbytes/functional.py, QuantState.as_dict, and nn/modules.py; GPTQ and AWQ:
 * their qlinear modules; compressed-tensors: compressors/; fp8 in blocks: DeepSeek-V3 and transformers' FP8Linear; ComfyUI's scaled
 * fp8: comfy/ops.py; mxfp4: gpt-oss.
 */
const NAMES: readonly (readonly [pattern: RegExp, method: string])[] = [
  [
    /\.quant_state\.bitsandbytes__(?:nf4|fp4)$|\.(?:absmax|quant_map|nested_absmax|nested_quant_map)$/,
    'bitsandbytes (4 bits)',
  ],
  [/\.SCB$/, 'bitsandbytes (8 bits)'],
  [/\.(?:qweight|qzeros|g_idx)$/, 'GPTQ or AWQ'],
  [/\.(?:weight_packed|weight_zero_point|weight_global_scale)$/, 'compressed-tensors'],
  [/\.weight_scale_inv$/, 'fp8 with scales of blocks'],
  [/_blocks$/, 'mxfp4'],
  [/\.(?:weight_scale|scale_weight|scale_input|input_scale)$|^scaled_fp8$/, 'fp8 with scales'],
]

/** What config.json's quantization_config calls its method. */
const METHODS: Readonly<Record<string, string>> = {
  bitsandbytes: 'bitsandbytes',
  gptq: 'GPTQ',
  awq: 'AWQ',
  'compressed-tensors': 'compressed-tensors',
  fp8: 'fp8 with scales',
  mxfp4: 'mxfp4',
}

/** The quantisation of a checkpoint's weights; undefined where they are plain numbers. */
export function quantisationOf({ tensors, config }: Checkpoint): Quantisation | undefined {
  for (const [name, { dtype }] of tensors) {
    if (isBlocked(dtype) || isUnread(dtype)) return { method: `GGUF (${dtype})`, tensor: name }
    const [, method] = NAMES.find(([pattern]) => pattern.test(name)) ?? []
    if (method === undefined) continue
    // a module may well be called blocks: mxfp4 stores eight-bit integers
    if (method === 'mxfp4' && dtype !== 'U8') continue
    return { method: known(config) ?? method, tensor: name }
  }
  return undefined
}

function known(config: Checkpoint['config']): string | undefined {
  const settings = config?.quantization_config as { quant_method?: unknown } | null | undefined
  const method = settings?.quant_method
  if (typeof method !== 'string') return undefined
  return METHODS[method] ?? `the method ${quoted(method)}`
}
