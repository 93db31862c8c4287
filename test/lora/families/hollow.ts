import type { Tensors } from '../../../src/lora/families/types.ts'

/** Names and shapes of a layer's tensors. */
export type Layer = readonly (readonly [name: string, shape: readonly number[]])[]

export const linear = (name: string, out: number, columns: number, hasBias = true): Layer => [
  [`${name}.weight`, [out, columns]],
  ...(hasBias ? ([[`${name}.bias`, [out]]] as const) : []),
]
export const conv = (name: string, out: number, columns: number, ...kernel: number[]): Layer => [
  [`${name}.weight`, [out, columns, ...kernel]],
  [`${name}.bias`, [out]],
]
export const norm = (name: string, width: number): Layer => [
  [`${name}.weight`, [width]],
  [`${name}.bias`, [width]],
]
export const scale = (name: string, width: number): Layer => [[`${name}.weight`, [width]]]
export const times = (count: number, block: (i: number) => Layer): Layer =>
  Array.from({ length: count }, (_, i) => block(i)).flat()

export const tensors = (...layers: readonly Layer[]): Tensors =>
  new Map(layers.flat().map(([name, shape]) => [name, { shape }]))

/** With a prefix before each name. */
export const prefixed = (prefix: string, base: Tensors): Tensors =>
  new Map([...base].map(([name, tensor]) => [prefix + name, tensor]))

/** The weights that adapters have modules for. */
export const weightsOf = (base: Tensors): string[] =>
  [...base].flatMap(([name, { shape }]) => (name.endsWith('.weight') && shape.length > 1 ? [name] : []))

export const mlp = (name: string, first: string, second: string, hidden: number, columns: number): Layer => [
  ...linear(`${name}.${first}`, hidden, columns),
  ...linear(`${name}.${second}`, hidden, hidden),
]

/** Flux.1 dev. */
export function flux({ hidden = 3072, head = 128, double = 19, single = 38 } = {}): Tensors {
  const qkNorm = (name: string): Layer => [
    [`${name}.query_norm.scale`, [head]],
    [`${name}.key_norm.scale`, [head]],
  ]
  const stream = (name: string): Layer => [
    ...linear(`${name}_mod.lin`, 6 * hidden, hidden),
    ...linear(`${name}_attn.qkv`, 3 * hidden, hidden),
    ...qkNorm(`${name}_attn.norm`),
    ...linear(`${name}_attn.proj`, hidden, hidden),
    ...linear(`${name}_mlp.0`, 4 * hidden, hidden),
    ...linear(`${name}_mlp.2`, hidden, 4 * hidden),
  ]
  return tensors(
    linear('img_in', hidden, 64),
    linear('txt_in', hidden, 4096),
    mlp('time_in', 'in_layer', 'out_layer', hidden, 256),
    mlp('vector_in', 'in_layer', 'out_layer', hidden, 768),
    mlp('guidance_in', 'in_layer', 'out_layer', hidden, 256),
    linear('final_layer.linear', 64, hidden),
    linear('final_layer.adaLN_modulation.1', 2 * hidden, hidden),
    times(double, (i) => [...stream(`double_blocks.${i}.img`), ...stream(`double_blocks.${i}.txt`)]),
    times(single, (i) => [
      ...linear(`single_blocks.${i}.modulation.lin`, 3 * hidden, hidden),
      ...linear(`single_blocks.${i}.linear1`, 7 * hidden, hidden),
      ...linear(`single_blocks.${i}.linear2`, hidden, 5 * hidden),
      ...qkNorm(`single_blocks.${i}.norm`),
    ]),
  )
}

/** HunyuanVideo, as ComfyUI repacks it. */
export function hunyuanVideo({ hidden = 3072, head = 128, double = 20, single = 40 } = {}): Tensors {
  const blocks = [...flux({ hidden, head, double, single })].filter(([name]) =>
    /^(?:double|single)_blocks\./.test(name),
  )
  const refiner = (i: number): Layer => {
    const at = `txt_in.individual_token_refiner.blocks.${i}`
    return [
      ...linear(`${at}.adaLN_modulation.1`, 2 * hidden, hidden),
      ...norm(`${at}.norm1`, hidden),
      ...norm(`${at}.norm2`, hidden),
      ...linear(`${at}.self_attn.qkv`, 3 * hidden, hidden),
      ...linear(`${at}.self_attn.proj`, hidden, hidden),
      ...linear(`${at}.mlp.0`, 4 * hidden, hidden),
      ...linear(`${at}.mlp.2`, hidden, 4 * hidden),
    ]
  }
  const outside = tensors(
    conv('img_in.proj', hidden, 16, 1, 2, 2),
    mlp('time_in', 'in_layer', 'out_layer', hidden, 256),
    mlp('vector_in', 'in_layer', 'out_layer', hidden, 768),
    mlp('guidance_in', 'in_layer', 'out_layer', hidden, 256),
    linear('txt_in.input_embedder', hidden, 4096),
    mlp('txt_in.t_embedder', 'in_layer', 'out_layer', hidden, 256),
    mlp('txt_in.c_embedder', 'in_layer', 'out_layer', hidden, 4096),
    times(2, refiner),
    linear('final_layer.linear', 64, hidden),
    linear('final_layer.adaLN_modulation.1', 2 * hidden, hidden),
  )
  return new Map([...outside, ...blocks])
}

/** SD 3 medium; with everything that ComfyUI's table of names has, `all`. */
export function sd3({ hidden = 1536, depth = 24, positions = 192, all = false } = {}): Tensors {
  const attention = (name: string, isWhole: boolean): Layer => [
    ...linear(`${name}.qkv`, 3 * hidden, hidden),
    ...(isWhole ? linear(`${name}.proj`, hidden, hidden) : []),
    ...(all ? [...scale(`${name}.ln_q`, 64), ...scale(`${name}.ln_k`, 64)] : []),
  ]
  const stream = (name: string, isLast: boolean): Layer => [
    ...attention(`${name}.attn`, !isLast || all),
    ...(!isLast || all
      ? [...linear(`${name}.mlp.fc1`, 4 * hidden, hidden), ...linear(`${name}.mlp.fc2`, hidden, 4 * hidden)]
      : []),
    ...linear(`${name}.adaLN_modulation.1`, (isLast ? 2 : 6) * hidden, hidden),
  ]
  return tensors(
    conv('x_embedder.proj', hidden, 16, 2, 2),
    [['pos_embed', [1, positions ** 2, hidden]]],
    linear('context_embedder', hidden, 4096),
    mlp('t_embedder.mlp', '0', '2', hidden, 256),
    mlp('y_embedder.mlp', '0', '2', hidden, 2048),
    times(depth, (i) => [
      ...stream(`joint_blocks.${i}.x_block`, false),
      ...stream(`joint_blocks.${i}.context_block`, i === depth - 1),
      ...(all ? attention(`joint_blocks.${i}.x_block.attn2`, true) : []),
    ]),
    linear('final_layer.linear', 64, hidden),
    linear('final_layer.adaLN_modulation.1', 2 * hidden, hidden),
  )
}

/** Wan 2.1; `image` is the width of the image encoder's features. */
export function wan({ dim = 1536, ffn = 8960, depth = 30, channels = 16, image = 0 } = {}): Tensors {
  const attention = (name: string): Layer => [
    ...['q', 'k', 'v', 'o'].flatMap((one) => linear(`${name}.${one}`, dim, dim)),
    ...scale(`${name}.norm_q`, dim),
    ...scale(`${name}.norm_k`, dim),
  ]
  return tensors(
    conv('patch_embedding', dim, channels, 1, 2, 2),
    mlp('text_embedding', '0', '2', dim, 4096),
    mlp('time_embedding', '0', '2', dim, 256),
    linear('time_projection.1', 6 * dim, dim),
    times(depth, (i) => [
      [`blocks.${i}.modulation`, [1, 6, dim]],
      ...attention(`blocks.${i}.self_attn`),
      ...norm(`blocks.${i}.norm3`, dim),
      ...attention(`blocks.${i}.cross_attn`),
      ...(image > 0
        ? [
            ...linear(`blocks.${i}.cross_attn.k_img`, dim, dim),
            ...linear(`blocks.${i}.cross_attn.v_img`, dim, dim),
            ...scale(`blocks.${i}.cross_attn.norm_k_img`, dim),
          ]
        : []),
      ...linear(`blocks.${i}.ffn.0`, ffn, dim),
      ...linear(`blocks.${i}.ffn.2`, dim, ffn),
    ]),
    [['head.modulation', [1, 2, dim]]],
    linear('head.head', 64, dim),
    image > 0
      ? [
          ...norm('img_emb.proj.0', image),
          ...linear('img_emb.proj.1', image, image),
          ...linear('img_emb.proj.3', dim, image),
          ...norm('img_emb.proj.4', dim),
        ]
      : [],
  )
}

/** Qwen-Image. */
export function qwenImage({ dim = 3072, head = 128, depth = 60, text = 3584 } = {}): Tensors {
  const stream = (at: string, name: string): Layer => [
    ...linear(`${at}.${name}_mod.1`, 6 * dim, dim),
    ...linear(`${at}.${name}_mlp.net.0.proj`, 4 * dim, dim),
    ...linear(`${at}.${name}_mlp.net.2`, dim, 4 * dim),
  ]
  return tensors(
    scale('txt_norm', text),
    linear('img_in', dim, 64),
    linear('txt_in', dim, text),
    mlp('time_text_embed.timestep_embedder', 'linear_1', 'linear_2', dim, 256),
    times(depth, (i) => {
      const at = `transformer_blocks.${i}`
      return [
        ...stream(at, 'img'),
        ...stream(at, 'txt'),
        ...['norm_q', 'norm_k', 'norm_added_q', 'norm_added_k'].flatMap((one) =>
          scale(`${at}.attn.${one}`, head),
        ),
        ...[
          'to_q',
          'to_k',
          'to_v',
          'add_q_proj',
          'add_k_proj',
          'add_v_proj',
          'to_out.0',
          'to_add_out',
        ].flatMap((one) => linear(`${at}.attn.${one}`, dim, dim)),
      ]
    }),
    linear('norm_out.linear', 2 * dim, dim),
    linear('proj_out', 64, dim),
  )
}
