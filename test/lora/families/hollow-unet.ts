import type { Tensors } from '../../../src/lora/families/types.ts'
import { conv, type Layer, linear, mlp, norm, tensors, times } from './hollow.ts'

interface Unet {
  readonly model?: number
  /** Residual layers of a level. */
  readonly layers?: number
  readonly widths?: readonly number[]
  /** Transformer layers by level; 0 for no attention. */
  readonly depths: readonly number[]
  readonly middle: number
  readonly context: number
  readonly labels?: number
  /** Projections into attention as matrices. */
  readonly isLinear: boolean
  /** With all that ComfyUI's table of names has, whether or not a model does. */
  readonly all?: boolean
}

/** U-Nets of Stable Diffusion in the original's names. */
export function unet({
  model = 320,
  layers = 2,
  widths = [1, 2, 4, 4],
  depths,
  middle,
  context,
  labels,
  isLinear,
  all = false,
}: Unet): Tensors {
  const time = 4 * model
  const resnet = (at: string, columns: number, out: number): Layer => [
    ...norm(`${at}.in_layers.0`, columns),
    ...conv(`${at}.in_layers.2`, out, columns, 3, 3),
    ...linear(`${at}.emb_layers.1`, out, time),
    ...norm(`${at}.out_layers.0`, out),
    ...conv(`${at}.out_layers.3`, out, out, 3, 3),
    ...(columns === out && !all ? [] : conv(`${at}.skip_connection`, out, columns, 1, 1)),
  ]
  const project = (name: string, width: number) =>
    isLinear ? linear(name, width, width) : conv(name, width, width, 1, 1)
  const attention = (at: string, width: number, depth: number): Layer => [
    ...norm(`${at}.norm`, width),
    ...project(`${at}.proj_in`, width),
    ...times(depth, (i) => {
      const block = `${at}.transformer_blocks.${i}`
      return [
        ...['attn1', 'attn2'].flatMap((name, n) => [
          ...linear(`${block}.${name}.to_q`, width, width, false),
          ...linear(`${block}.${name}.to_k`, width, n === 0 ? width : context, false),
          ...linear(`${block}.${name}.to_v`, width, n === 0 ? width : context, false),
          ...linear(`${block}.${name}.to_out.0`, width, width),
        ]),
        ...linear(`${block}.ff.net.0.proj`, 8 * width, width),
        ...linear(`${block}.ff.net.2`, width, 4 * width),
        ...['norm1', 'norm2', 'norm3'].flatMap((name) => norm(`${block}.${name}`, width)),
      ]
    }),
    ...project(`${at}.proj_out`, width),
  ]
  const parts: Layer[] = [
    mlp('time_embed', '0', '2', time, model),
    labels === undefined ? [] : mlp('label_emb.0', '0', '2', time, labels),
    conv('input_blocks.0.0', model, 4, 3, 3),
  ]
  const skips = [model]
  let width = model
  let block = 1
  for (const [level, multiple] of widths.entries()) {
    for (let layer = 0; layer < layers; layer++, block++) {
      parts.push(resnet(`input_blocks.${block}.0`, width, multiple * model))
      width = multiple * model
      if (depths[level] > 0) parts.push(attention(`input_blocks.${block}.1`, width, depths[level]))
      skips.push(width)
    }
    if (level === widths.length - 1 && !all) continue
    parts.push(conv(`input_blocks.${block++}.0.op`, width, width, 3, 3))
    skips.push(width)
  }
  parts.push(resnet('middle_block.0', width, width), attention('middle_block.1', width, middle))
  parts.push(resnet('middle_block.2', width, width))
  block = 0
  for (const [level, multiple] of [...widths.entries()].reverse()) {
    for (let layer = 0; layer <= layers; layer++, block++) {
      parts.push(resnet(`output_blocks.${block}.0`, width + skips.pop()!, multiple * model))
      width = multiple * model
      const hasAttention = depths[level] > 0
      if (hasAttention) parts.push(attention(`output_blocks.${block}.1`, width, depths[level]))
      if (layer < layers || (level === 0 && !all)) continue
      parts.push(conv(`output_blocks.${block}.${hasAttention ? 2 : 1}.conv`, width, width, 3, 3))
    }
  }
  return tensors(...parts, norm('out.0', model), conv('out.2', 4, model, 3, 3))
}

export const sd1 = (sizes: Partial<Unet> = {}) =>
  unet({ depths: [1, 1, 1, 0], middle: 1, context: 768, isLinear: false, ...sizes })
export const sd2 = (sizes: Partial<Unet> = {}) =>
  unet({ depths: [1, 1, 1, 0], middle: 1, context: 1024, isLinear: true, ...sizes })
export const sdxl = (sizes: Partial<Unet> = {}) =>
  unet({
    widths: [1, 2, 4],
    depths: [0, 2, 10],
    middle: 10,
    context: 2048,
    labels: 2816,
    isLinear: true,
    ...sizes,
  })
