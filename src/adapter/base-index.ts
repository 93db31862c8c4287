import { addTo } from '../checkpoint/group.ts'
import type { Checkpoint } from '../checkpoint/types.ts'

/** What a base checkpoint may put before the names of a model, or of the denoiser of a diffusion pipeline. */
const TRUNK = [
  '',
  'model.diffusion_model.',
  'diffusion_model.',
  'unet.',
  'transformer.',
  'model.',
  'base_model.model.',
]

/** The same for the text encoders, in folders of diffusers and in single files. */
const TEXT_ENCODERS = [
  [
    '',
    'text_encoder.',
    'cond_stage_model.transformer.',
    'conditioner.embedders.0.transformer.',
    'text_encoders.clip_l.transformer.',
  ],
  ['', 'text_encoder_2.', 'conditioner.embedders.1.model.', 'text_encoders.clip_g.transformer.'],
  ['', 'text_encoder_3.', 'text_encoders.t5xxl.transformer.'],
]

/** The base's possible prefixes for a module that had `prefix` in the adapter. */
function basePrefixes(prefix: string): readonly string[] {
  if (/^lora_te2_|^text_encoder_2\.|clip_g/.test(prefix)) return TEXT_ENCODERS[1]
  if (/^lora_te3_|^text_encoder_3\.|t5xxl/.test(prefix)) return TEXT_ENCODERS[2]
  if (/^lora_te1?_|^text_encoder/.test(prefix)) return TEXT_ENCODERS[0]
  return TRUNK
}

/** Finds the names of base tensors that a name in an adapter may stand for: none, one, or several. */
export type BaseIndex = (name: string, prefix: string) => readonly string[]

/**
 * Looks names up as they are, then with the prefixes that either side may have; kohya's, whose dots became underscores,
 * among the base's names with the same done to them. Last, for dotted names, without the first part on either side: a
 * model and its trunk (`bert.encoder…`, `encoder…`).
 */
export function baseIndex(base: Checkpoint, isUnderscored: boolean): BaseIndex {
  const names = [...base.tensors.keys()]
  const form = (name: string) => (isUnderscored ? name.replaceAll('.', '_') : name)
  const byPrefixes = new Map<readonly string[], Map<string, string[]>>()
  const indexOf = (prefixes: readonly string[]) => {
    const known = byPrefixes.get(prefixes)
    if (known !== undefined) return known
    const index = new Map<string, string[]>()
    for (const name of names) {
      for (const prefix of prefixes)
        if (name.startsWith(prefix)) addTo(index, form(name.slice(prefix.length)), name)
    }
    byPrefixes.set(prefixes, index)
    return index
  }
  let withoutFirst: Map<string, string[]> | undefined
  const indexWithoutFirst = () => {
    if (withoutFirst === undefined) {
      withoutFirst = new Map()
      for (const name of names) {
        const rest = afterFirst(name)
        if (rest !== undefined) addTo(withoutFirst, rest, name)
      }
    }
    return withoutFirst
  }
  return (name, prefix) => {
    if (!isUnderscored && base.tensors.has(name)) return [name]
    const index = indexOf(basePrefixes(prefix))
    const direct = index.get(form(name))
    if (direct !== undefined || isUnderscored) return direct ?? []
    const rest = afterFirst(name)
    return (rest === undefined ? undefined : index.get(rest)) ?? indexWithoutFirst().get(name) ?? []
  }
}

/** What follows the first part of a dotted name, where that still names a module and its tensor. */
function afterFirst(name: string): string | undefined {
  const rest = name.slice(name.indexOf('.') + 1)
  return name.includes('.') && rest.includes('.') ? rest : undefined
}
