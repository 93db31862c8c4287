import type { Tensors } from '../../../src/lora/families/types.ts'
import { type Layer, linear, mlp, scale, tensors, times } from './hollow.ts'

/** The blocks of Lumina 2 and Z-Image; `modulation` is the input's width and the layer's number. */
function luminaBlock(
  at: string,
  { dim, kv, head, ffn }: { dim: number; kv: number; head: number; ffn: number },
  modulation?: readonly [width: number, layer: number],
): Layer {
  return [
    ...linear(`${at}.attention.qkv`, dim + 2 * kv, dim, false),
    ...linear(`${at}.attention.out`, dim, dim, false),
    ...scale(`${at}.attention.q_norm`, head),
    ...scale(`${at}.attention.k_norm`, head),
    ...linear(`${at}.feed_forward.w1`, ffn, dim, false),
    ...linear(`${at}.feed_forward.w2`, dim, ffn, false),
    ...linear(`${at}.feed_forward.w3`, ffn, dim, false),
    ...['attention_norm1', 'attention_norm2', 'ffn_norm1', 'ffn_norm2'].flatMap((one) =>
      scale(`${at}.${one}`, dim),
    ),
    ...(modulation ? linear(`${at}.adaLN_modulation.${modulation[1]}`, 4 * dim, modulation[0]) : []),
  ]
}

/** Lumina 2. */
export function lumina2({
  dim = 2304,
  kv = 768,
  head = 96,
  ffn = 9216,
  depth = 26,
  time = 1024,
} = {}): Tensors {
  const sizes = { dim, kv, head, ffn }
  return tensors(
    linear('x_embedder', dim, 64),
    mlp('t_embedder.mlp', '0', '2', time, 256),
    scale('cap_embedder.0', 2304),
    linear('cap_embedder.1', dim, 2304),
    times(2, (i) => luminaBlock(`noise_refiner.${i}`, sizes, [time, 1])),
    times(2, (i) => luminaBlock(`context_refiner.${i}`, sizes)),
    times(depth, (i) => luminaBlock(`layers.${i}`, sizes, [time, 1])),
    scale('norm_final', dim),
    linear('final_layer.linear', 64, dim),
    linear('final_layer.adaLN_modulation.1', dim, time),
  )
}

/** Z-Image, whose keys and values have all heads. */
export function zImage({ dim = 3840, head = 128, ffn = 10240, depth = 30, time = 256 } = {}): Tensors {
  const sizes = { dim, kv: dim, head, ffn }
  return tensors(
    linear('x_embedder', dim, 64),
    linear('t_embedder.mlp.0', 1024, 256),
    linear('t_embedder.mlp.2', time, 1024),
    scale('cap_embedder.0', 2560),
    linear('cap_embedder.1', dim, 2560),
    [
      ['x_pad_token', [1, dim]],
      ['cap_pad_token', [1, dim]],
    ],
    times(2, (i) => luminaBlock(`noise_refiner.${i}`, sizes, [time, 0])),
    times(2, (i) => luminaBlock(`context_refiner.${i}`, sizes)),
    times(depth, (i) => luminaBlock(`layers.${i}`, sizes, [time, 0])),
    linear('final_layer.linear', 64, dim),
    linear('final_layer.adaLN_modulation.1', dim, time),
  )
}
