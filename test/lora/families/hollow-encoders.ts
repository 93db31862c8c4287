import type { Tensors } from '../../../src/lora/families/types.ts'
import { type Layer, linear, norm, scale, tensors, times } from './hollow.ts'

/** CLIP's text model in transformers' names; `projection` is how wide what leaves it is. */
export function clip({ width = 8, layers = 2, projection = 0 } = {}): Tensors {
  return tensors(
    scale('text_model.embeddings.position_embedding', 77).map(([name]) => [name, [77, width]] as const),
    [['text_model.embeddings.token_embedding.weight', [99, width]]],
    times(layers, (i) => {
      const at = `text_model.encoder.layers.${i}`
      return [
        ...['q', 'k', 'v', 'out'].flatMap((one) => linear(`${at}.self_attn.${one}_proj`, width, width)),
        ...linear(`${at}.mlp.fc1`, 4 * width, width),
        ...linear(`${at}.mlp.fc2`, width, 4 * width),
        ...norm(`${at}.layer_norm1`, width),
        ...norm(`${at}.layer_norm2`, width),
      ]
    }),
    norm('text_model.final_layer_norm', width),
    projection > 0 ? linear('text_projection', projection, width, false) : [],
  )
}

/** The same in open_clip's names. */
export function openclip({ width = 8, layers = 2, projection = 4 } = {}): Tensors {
  return tensors(
    [
      ['positional_embedding', [77, width]],
      ['token_embedding.weight', [99, width]],
      ['logit_scale', []],
      ['text_projection', [width, projection]],
    ],
    times(layers, (i) => {
      const at = `transformer.resblocks.${i}`
      return [
        [`${at}.attn.in_proj_weight`, [3 * width, width]],
        [`${at}.attn.in_proj_bias`, [3 * width]],
        ...linear(`${at}.attn.out_proj`, width, width),
        ...linear(`${at}.mlp.c_fc`, 4 * width, width),
        ...linear(`${at}.mlp.c_proj`, width, 4 * width),
        ...norm(`${at}.ln_1`, width),
        ...norm(`${at}.ln_2`, width),
      ]
    }),
    norm('ln_final', width),
  )
}

/** T5's encoder. */
export function t5({ width = 8, layers = 2 } = {}): Tensors {
  return tensors(
    [['shared.weight', [99, width]]],
    times(layers, (i): Layer => {
      const at = `encoder.block.${i}.layer`
      return [
        ...['q', 'k', 'v', 'o'].flatMap((one) => linear(`${at}.0.SelfAttention.${one}`, width, width, false)),
        ...scale(`${at}.0.layer_norm`, width),
        ...linear(`${at}.1.DenseReluDense.wi_0`, 4 * width, width, false),
        ...linear(`${at}.1.DenseReluDense.wi_1`, 4 * width, width, false),
        ...linear(`${at}.1.DenseReluDense.wo`, width, 4 * width, false),
        ...scale(`${at}.1.layer_norm`, width),
      ]
    }),
  )
}

/** A language model; `prefix` is what its files begin names with. */
export function llm({ width = 8, layers = 2, prefix = 'model.' } = {}): Tensors {
  return tensors(
    [[`${prefix}embed_tokens.weight`, [99, width]]],
    times(layers, (i) => {
      const at = `${prefix}layers.${i}`
      return [
        ...['q', 'k', 'v', 'o'].flatMap((one) => linear(`${at}.self_attn.${one}_proj`, width, width, false)),
        ...['gate', 'up'].flatMap((one) => linear(`${at}.mlp.${one}_proj`, 4 * width, width, false)),
        ...linear(`${at}.mlp.down_proj`, width, 4 * width, false),
      ]
    }),
  )
}
