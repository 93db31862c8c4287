// A Stable Diffusion XL and a fine-tune of it as two files in the original layout, with true names and narrow layers, made from a
// seed: to try extract on without a download. The attention of the U-Net and of CLIP-L has changed, mostly at rank 8, two
// norms and the VAE too. Usage: node bench/diffusion-pair.mjs FOLDER
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { normals, writeSafetensors } from './tensors.mjs'

const [MODEL, CONTEXT, CLIP, LABELS, VOCABULARY] = [64, 96, 48, 80, 200]
const [RANK, CHANGE, NOISE] = [8, 0.02, 0.002]

const linear = (name, rows, columns, bias = true) => [
  [`${name}.weight`, [rows, columns]],
  ...(bias ? [[`${name}.bias`, [rows]]] : []),
]
const conv = (name, rows, columns, size) => [
  [`${name}.weight`, [rows, columns, size, size]],
  [`${name}.bias`, [rows]],
]
const norm = (name, width) => ['weight', 'bias'].map((end) => [`${name}.${end}`, [width]])
const times = (count, block) => Array.from({ length: count }, (_, i) => block(i)).flat()

function unet() {
  const time = 4 * MODEL
  const resnet = (at, columns, rows) => [
    ...norm(`${at}.in_layers.0`, columns),
    ...conv(`${at}.in_layers.2`, rows, columns, 3),
    ...linear(`${at}.emb_layers.1`, rows, time),
    ...norm(`${at}.out_layers.0`, rows),
    ...conv(`${at}.out_layers.3`, rows, rows, 3),
    ...(columns === rows ? [] : conv(`${at}.skip_connection`, rows, columns, 1)),
  ]
  const attention = (at, width, depth) => [
    ...norm(`${at}.norm`, width),
    ...linear(`${at}.proj_in`, width, width),
    ...times(depth, (i) => {
      const block = `${at}.transformer_blocks.${i}`
      return [
        ...['attn1', 'attn2'].flatMap((one, n) => [
          ...linear(`${block}.${one}.to_q`, width, width, false),
          ...linear(`${block}.${one}.to_k`, width, n === 0 ? width : CONTEXT, false),
          ...linear(`${block}.${one}.to_v`, width, n === 0 ? width : CONTEXT, false),
          ...linear(`${block}.${one}.to_out.0`, width, width),
        ]),
        ...linear(`${block}.ff.net.0.proj`, 8 * width, width),
        ...linear(`${block}.ff.net.2`, width, 4 * width),
        ...['norm1', 'norm2', 'norm3'].flatMap((one) => norm(`${block}.${one}`, width)),
      ]
    }),
    ...linear(`${at}.proj_out`, width, width),
  ]
  const [one, two, four] = [MODEL, 2 * MODEL, 4 * MODEL]
  return [
    ...linear('time_embed.0', time, MODEL),
    ...linear('time_embed.2', time, time),
    ...linear('label_emb.0.0', time, LABELS),
    ...linear('label_emb.0.2', time, time),
    ...conv('input_blocks.0.0', one, 4, 3),
    ...resnet('input_blocks.1.0', one, one),
    ...resnet('input_blocks.2.0', one, one),
    ...conv('input_blocks.3.0.op', one, one, 3),
    ...resnet('input_blocks.4.0', one, two),
    ...attention('input_blocks.4.1', two, 2),
    ...conv('input_blocks.6.0.op', two, two, 3),
    ...resnet('input_blocks.7.0', two, four),
    ...resnet('middle_block.0', four, four),
    ...attention('middle_block.1', four, 2),
    ...resnet('middle_block.2', four, four),
    ...resnet('output_blocks.0.0', four + four, four),
    ...norm('out.0', one),
    ...conv('out.2', 4, one, 3),
  ]
}

const clip = () => [
  ['text_model.embeddings.token_embedding.weight', [VOCABULARY, CLIP]],
  ['text_model.embeddings.position_embedding.weight', [77, CLIP]],
  ...times(2, (i) => {
    const at = `text_model.encoder.layers.${i}`
    return [
      ...['q', 'k', 'v', 'out'].flatMap((one) => linear(`${at}.self_attn.${one}_proj`, CLIP, CLIP)),
      ...linear(`${at}.mlp.fc1`, 4 * CLIP, CLIP),
      ...linear(`${at}.mlp.fc2`, CLIP, 4 * CLIP),
      ...norm(`${at}.layer_norm1`, CLIP),
      ...norm(`${at}.layer_norm2`, CLIP),
    ]
  }),
  ...norm('text_model.final_layer_norm', CLIP),
]

const under = (prefix, layers) => layers.map(([name, shape]) => [prefix + name, shape])
const TENSORS = [
  ...under('model.diffusion_model.', unet()),
  ...under('conditioner.embedders.0.transformer.', clip()),
  ...under('first_stage_model.', conv('decoder.conv_in', 16, 4, 3)),
]
const FACTORED = /\.(?:attn[12]\.to_(?:[qkv]|out\.0)|self_attn\.(?:q|k|v|out)_proj)\.weight$/
const MOVED = /\.norm2\.bias$|^first_stage_model\..*weight$/

/** The numbers of a tensor before and after. */
function pair(name, shape, seed) {
  const count = shape.reduce((product, n) => product * n, 1)
  const base = normals(count, 0.05, seed)
  if (MOVED.test(name)) return [base, base.map((x) => x + CHANGE / 10)]
  if (!FACTORED.test(name)) return [base, base]
  const [rows, columns] = shape
  const noise = normals(count, NOISE / 10, seed + 1)
  const [B, A] = [normals(rows * RANK, 1, seed + 2), normals(RANK * columns, CHANGE / RANK, seed + 3)]
  const tuned = base.map((x, at) => {
    const [i, j] = [Math.floor(at / columns), at % columns]
    let sum = x + noise[at]
    for (let k = 0; k < RANK; k++) sum += B[i * RANK + k] * A[k * columns + j]
    return sum
  })
  return [base, tuned]
}

/** float16, rounded to nearest even. */
function halves(values) {
  const halves = new Uint16Array(values.length)
  const [float, bits] = [new Float32Array(1), new Uint32Array(1)]
  for (const [i, value] of values.entries()) {
    float[0] = value
    bits.set(new Uint32Array(float.buffer))
    const sign = (bits[0] >>> 16) & 0x8000
    // the fraction's unit at this size; below 2⁻¹⁴ that of the least numbers
    const exponent = Math.max(-14, Math.floor(Math.log2(Math.abs(value) || 2 ** -14)))
    const units = Math.abs(value) * 2 ** (10 - exponent)
    const down = Math.floor(units)
    const isUp = units - down > 0.5 || (units - down === 0.5 && down % 2 === 1)
    halves[i] = sign | ((exponent + 14) * 1024 + down + (isUp ? 1 : 0))
  }
  return Buffer.from(halves.buffer)
}

function makePair(folder) {
  mkdirSync(folder, { recursive: true })
  const tensors = TENSORS.map(([name, shape], i) => ({
    ...{ name, dtype: 'F16', shape, bytes: 2 * shape.reduce((product, n) => product * n, 1) },
    seed: 1000 * (i + 1),
  }))
  for (const [side, file] of ['base.safetensors', 'tuned.safetensors'].entries()) {
    writeSafetensors(join(folder, file), tensors, ({ name, shape, seed }) =>
      halves(pair(name, shape, seed)[side]),
    )
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) makePair(process.argv[2])
