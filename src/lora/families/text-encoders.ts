import { fused, type Row, renameByRows, within } from './rows.ts'
import type { Encoder, EncoderPlace, Link, Naming, Rename, ShapeOf } from './types.ts'

/** open_clip's names and transformers' (comfy/utils.py: transformers_convert, clip_text_transformers_convert @2025-10-12). */
const OPENCLIP: readonly Row[] = [
  ['positional_embedding', 'text_model.embeddings.position_embedding.weight'],
  ['token_embedding', 'text_model.embeddings.token_embedding'],
  ['ln_final', 'text_model.final_layer_norm'],
  ['text_projection', 'text_projection.weight'],
  // constants of the contrastive loss and of the mask, which transformers leaves out
  ['logit_scale', []],
  ['attn_mask', []],
  ...within('transformer.resblocks.N.', 'text_model.encoder.layers.N.', [
    ['ln_1', 'layer_norm1'],
    ['ln_2', 'layer_norm2'],
    ['mlp.c_fc', 'mlp.fc1'],
    ['mlp.c_proj', 'mlp.fc2'],
    ['attn.out_proj', 'self_attn.out_proj'],
    ['attn.in_proj', fused('self_attn.q_proj', 'self_attn.k_proj', 'self_attn.v_proj')],
  ]),
]
const renameOpenclip = renameByRows(OPENCLIP)

/** torch's MultiheadAttention writes `in_proj_weight` for what a Linear would call `in_proj.weight`. */
const dotted = (path: string) => path.replace(/\.in_proj_(?=weight$|bias$)/, '.in_proj.')
const undotted = (path: string) => path.replace(/\.in_proj\.(?=weight$|bias$)/, '.in_proj_')

/** The counterparts of an encoder's path in transformers' names. */
export function transformersPaths({ id, form }: EncoderPlace, shapeOf: ShapeOf): Rename {
  if (form === 'openclip') {
    const rename = renameOpenclip(
      { form: 'original', paths: [], shapeOf: (path) => shapeOf(undotted(path)) },
      'diffusers',
    )
    return (path) => rename(dotted(path))?.map((link) => (path === 'text_projection' ? turned(link) : link))
  }
  // some files of SD 1 lack what transformers puts before the model's parts
  return (path) => [
    {
      path: /^clip_/.test(id)
        ? path.replace(/^(?=(?:embeddings|encoder|final_layer_norm)\.)/, 'text_model.')
        : path,
    },
  ]
}

/** open_clip multiplies by the parameter from the right, transformers has a Linear. */
const turned = (link: Link): Link => ({ ...link, isTransposed: true })

/** What files and pipelines put before a language model's layers, in various ways. */
const BEFORE_LAYERS = /^(?:model\.)?(?:language_model\.)?(?:model\.)?(?=(?:layers|embed_tokens|norm)\.)/

/** What a module at transformers' path is called, in full; undefined where the naming has no name for the encoder. */
export function encoderModule(encoder: Encoder, naming: Naming, path: string): string | undefined {
  const { id, kind, kohya, component } = encoder
  const isLanguage = kind === 'llm' && BEFORE_LAYERS.test(path)
  switch (naming) {
    case 'kohya': {
      const trunk = isLanguage ? path.replace(BEFORE_LAYERS, '') : path
      return kohya && kohya + trunk.replaceAll('.', '_')
    }
    case 'comfyui':
      return `text_encoders.${id}.transformer.${isLanguage ? path.replace(BEFORE_LAYERS, 'model.') : path}`
    case 'diffusers':
      return `${component}.${path}`
  }
}
