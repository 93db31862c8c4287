import type { Denoiser, Form, Rename } from './types.ts'

type Pairs = readonly (readonly [original: string, diffusers: string])[]

/**
 * The U-Nets of Stable Diffusion, by rules instead of rows. The original (LDM) numbers blocks through, diffusers by levels of n
 * residual layers: input block 1 + (n+1)·i + j is layer j of level i, and shrinks the image where j = n; output block (n+1)·i + j is
 * layer j of level i, and the last of a level enlarges it.
 * Source: comfy/utils.py, unet_to_diffusers @2025-10-12; diffusers: loaders/single_file_utils.py, convert_ldm_unet_checkpoint @2026-08-23.
 */
const RESNET: Pairs = [
  ['in_layers.0', 'norm1'],
  ['in_layers.2', 'conv1'],
  ['emb_layers.1', 'time_emb_proj'],
  ['out_layers.0', 'norm2'],
  ['out_layers.3', 'conv2'],
  ['skip_connection', 'conv_shortcut'],
]

const OUTSIDE: Pairs = [
  ['time_embed.0', 'time_embedding.linear_1'],
  ['time_embed.2', 'time_embedding.linear_2'],
  ['input_blocks.0.0', 'conv_in'],
  ['out.0', 'conv_norm_out'],
  ['out.2', 'conv_out'],
]

/** What conditions the U-Net besides time: diffusers calls it after what it is fed. */
const LABELS = (label: Label): Pairs => [
  ['label_emb.0.0', `${label}.linear_1`],
  ['label_emb.0.2', `${label}.linear_2`],
]
type Label = 'add_embedding' | 'class_embedding'

/** The numbers that the names of a U-Net's blocks depend on. */
interface Levels {
  /** n + 1. */
  readonly size: number
  /** The levels of the upward side that have attention. */
  readonly attended: ReadonlySet<string>
}

/** How a U-Net's paths are renamed; `label` is what diffusers calls the embedding of its labels. */
export const renameUnet =
  (label: Label) =>
  (base: Denoiser, to: Form): Rename => {
    if (base.form === to) return (path) => [{ path }]
    const outside = new Map(
      to === 'diffusers'
        ? [...OUTSIDE, ...LABELS(label)]
        : [...OUTSIDE, ...LABELS('add_embedding'), ...LABELS('class_embedding')].map(([a, b]) => [b, a]),
    )
    const levels = levelsOf(base.paths)
    const inBlock = to === 'diffusers' ? toDiffusers : toOriginal
    return (path) => {
      const end = /\.(?:weight|bias)$/.exec(path)?.[0] ?? ''
      const module = path.slice(0, path.length - end.length)
      const other = outside.get(module) ?? inBlock(module, levels)
      return other === undefined ? undefined : [{ path: other + end }]
    }
  }

const ATTENTION_PATHS = [
  ...['norm', 'proj_in', 'proj_out'],
  ...[
    ...['norm1', 'norm2', 'norm3', 'ff.net.0.proj', 'ff.net.2'],
    ...['attn1', 'attn2'].flatMap((one) => [
      ...['to_q', 'to_k', 'to_v', 'to_out.0'].map((path) => `${one}.${path}`),
      // as diffusers called them up to 2023
      ...['to_q', 'to_k', 'to_v', 'to_out'].map((path) => `${one}.processor.${path}`),
    ]),
  ].map((path) => `transformer_blocks.N.${path}`),
]

/** The paths of U-Nets' modules in both forms, with N for numbers. */
export const UNET_PATHS: readonly string[] = [
  ...[...OUTSIDE, ...LABELS('add_embedding'), ...LABELS('class_embedding')].flat(),
  ...['input_blocks.N.N.', 'output_blocks.N.N.', 'middle_block.N.'].flatMap((block) =>
    [...RESNET.map(([original]) => original), ...ATTENTION_PATHS].map((path) => block + path),
  ),
  ...['input_blocks.N.N.op', 'output_blocks.N.N.conv'],
  ...['down_blocks.N.', 'up_blocks.N.', 'mid_block.'].flatMap((block) => [
    ...RESNET.map(([, path]) => `${block}resnets.N.${path}`),
    ...ATTENTION_PATHS.map((path) => `${block}attentions.N.${path}`),
  ]),
  ...['down_blocks.N.downsamplers.N.conv', 'up_blocks.N.upsamplers.N.conv'],
]

function levelsOf(paths: Iterable<string>): Levels {
  let shrinking = Number.POSITIVE_INFINITY
  const layers = new Set<string>()
  const attended = new Set<string>()
  for (const path of paths) {
    const [, block] = /^input_blocks\.(\d+)\.0\.op\./.exec(path) ?? []
    if (block !== undefined) shrinking = Math.min(shrinking, Number(block))
    const [, layer] = /^down_blocks\.0\.resnets\.(\d+)\./.exec(path) ?? []
    if (layer !== undefined) layers.add(layer)
    const [, level] = /^up_blocks\.(\d+)\.attentions\./.exec(path) ?? []
    if (level !== undefined) attended.add(level)
  }
  return { size: layers.size > 0 ? layers.size + 1 : shrinking, attended }
}

type Kind = 'resnets' | 'attentions'
const MIDDLE: readonly (readonly [original: string, diffusers: string, kind: Kind])[] = [
  ['middle_block.0.', 'mid_block.resnets.0.', 'resnets'],
  ['middle_block.1.', 'mid_block.attentions.0.', 'attentions'],
  ['middle_block.2.', 'mid_block.resnets.1.', 'resnets'],
]

/** Attention's modules, which have the same names in both forms. */
const ATTENTION =
  /^(?:norm|proj_in|proj_out|transformer_blocks\.\d+\.(?:norm[123]|attn[12]\.to_(?:[qkv]|out\.0)|ff\.net\.(?:0\.proj|2)))$/

function toDiffusers(module: string, { size }: Levels): string | undefined {
  for (const [original, diffusers, kind] of MIDDLE) {
    if (module.startsWith(original)) return layered(diffusers, kind, module.slice(original.length), 0)
  }
  const block = /^(in|out)put_blocks\.(\d+)\.(\d+)\.(.+)$/.exec(module)
  if (block === null) return undefined
  const [, side, number, part, rest] = block
  const at = side === 'in' ? Number(number) - 1 : Number(number)
  const level = `${side === 'in' ? 'down' : 'up'}_blocks.${Math.floor(at / size)}.`
  if (rest === 'op') return `${level}downsamplers.0.conv`
  if (rest === 'conv') return `${level}upsamplers.0.conv`
  const kind = part === '0' ? 'resnets' : 'attentions'
  return layered(`${level}${kind}.${at % size}.`, kind, rest, 0)
}

function toOriginal(module: string, { size, attended }: Levels): string | undefined {
  for (const [original, diffusers, kind] of MIDDLE) {
    if (module.startsWith(diffusers)) return layered(original, kind, module.slice(diffusers.length), 1)
  }
  const block = /^(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)$/.exec(
    module,
  )
  if (block === null) return undefined
  const [, side, level, kind, layer, rest] = block
  const first = size * Number(level) + (side === 'down' ? 1 : 0)
  const blocks = side === 'down' ? 'input_blocks' : 'output_blocks'
  if (kind === 'downsamplers') return `input_blocks.${first + size - 1}.0.op`
  // it stands behind the residual layer, and behind the attention where its level has any
  if (kind === 'upsamplers') return `output_blocks.${first + size - 1}.${attended.has(level) ? 2 : 1}.conv`
  const part = kind === 'resnets' ? 0 : 1
  return layered(`${blocks}.${first + Number(layer)}.${part}.`, kind as Kind, rest, 1)
}

/** A layer's module below its prefix; undefined where layers of its kind have none of this name. */
function layered(prefix: string, kind: Kind, rest: string, from: 0 | 1): string | undefined {
  if (kind === 'attentions') return ATTENTION.test(rest) ? prefix + rest : undefined
  const row = RESNET.find((pair) => pair[from] === rest)
  return row && prefix + row[1 - from]
}
