import type { StoredTensor } from './types.ts'

/**
 * What quantisers append to the name of a weight for the numbers without which it can't be read: block scales of
 * DeepSeek (`_scale_inv`), compressed-tensors and mxfp8 (`_scale`), nvfp4 (`_scale_2`), gpt-oss (`_scales`, beside
 * `_blocks`), and bitsandbytes (`.absmax`, `.quant_map`, `.quant_state…`).
 */
const APPENDED = [
  '_scale_inv',
  '_scale',
  '_scale_2',
  '_scales',
  '_global_scale',
  '_zero_point',
  '_shape',
  '.scale_inv',
  '.scale',
  '.scales',
  '.absmax',
  '.quant_map',
  '.nested_absmax',
  '.nested_quant_map',
  '.quant_state.bitsandbytes__nf4',
  '.quant_state.bitsandbytes__fp4',
]

/** What stands beside `a.weight`, `a.qweight`, `a.weight_packed` under the module's name: ComfyUI, bitsandbytes int8, GPTQ and AWQ. */
const OF_THE_MODULE = [
  '.scale_weight',
  '.weight_scale',
  '.weight_scale_inv',
  '.weight_scale_2',
  '.weight_global_scale',
  '.weight_zero_point',
  '.weight_shape',
  '.scale',
  '.scales',
  '.scale_inv',
  '.SCB',
  '.weight_format',
  '.qzeros',
  '.g_idx',
]

/** The part of a weight's name that says what it is in its module. */
const PARAMETER = /\.(weight|qweight|weight_packed)$/

/**
 * The names of the tensors that hold the scales (and zero points, maps, shapes) of a weight stored in few bits; none where it
 * stands for itself. Scales of a layer's input, which `input_scale` and `scale_input` hold, don't change the weight.
 */
export function companionsOf(name: string, tensors: ReadonlyMap<string, StoredTensor>): string[] {
  const module = PARAMETER.test(name) ? name.replace(PARAMETER, '') : undefined
  const candidates = new Set([
    ...APPENDED.map((end) => `${name}${end}`),
    ...(name.endsWith('_blocks') ? [name.replace(/_blocks$/, '_scales')] : []),
    ...(module === undefined ? [] : OF_THE_MODULE.map((end) => `${module}${end}`)),
  ])
  return [...candidates].filter((candidate) => tensors.has(candidate))
}
