import { badInput } from '../errors.ts'
import { JsonError, parseJson } from '../text/strict-json.ts'
import { layoutOf } from './families/layout.ts'
import type { Tensors } from './families/types.ts'
import { type PeftConfig, parsePeftConfig } from './read/peft-config.ts'

type JsonObject = Readonly<Record<string, unknown>>

/** Models without rules of their own here, by a tensor that they alone have (comfy/model_detection.py, mid-2026). */
const WITHOUT_RULES: readonly (readonly [ending: string, family: string])[] = [
  ['distilled_guidance_layer.in_proj.weight', 'Chroma'],
]

/**
 * The family of diffusion models that a checkpoint belongs to, by its tensors, or what diffusers' config.json calls its class;
 * undefined for any other model.
 */
export function diffusionFamily(tensors: Tensors, config: JsonObject | undefined): string | undefined {
  const layout = layoutOf(tensors)
  if (layout !== undefined) return layout.family.name
  for (const [ending, family] of WITHOUT_RULES) {
    for (const name of tensors.keys()) if (name === ending || name.endsWith(`.${ending}`)) return family
  }
  const className = config?._class_name
  const isDenoiser = typeof className === 'string' && /Transformer|UNet/.test(className)
  return isDenoiser && config?._diffusers_version !== undefined ? className : undefined
}

/** Where diffusers stores LoraConfig (loaders/lora_base.py, LORA_ADAPTER_METADATA_KEY). */
const METADATA_KEY = 'lora_adapter_metadata'

/**
 * The configs in a file's metadata by component, such as `transformer` of `transformer.lora_alpha`; '' for keys
 * without one, as save_lora_adapter writes them. Empty without that metadata. Throws `bad-input` on wrong JSON.
 */
export function metadataConfigs(
  path: string,
  metadata: ReadonlyMap<string, string>,
): Map<string, PeftConfig> {
  const text = metadata.get(METADATA_KEY)
  if (text === undefined) return new Map()
  const place = `${path}: ${METADATA_KEY}`
  let json: unknown
  try {
    json = parseJson(text)
  } catch (cause) {
    if (!(cause instanceof JsonError)) throw cause
    throw badInput(`${place} is no right JSON: ${cause.message}; leave it out, or fetch the file again`, {
      file: path,
      cause,
    })
  }
  if (typeof json !== 'object' || json === null || Array.isArray(json)) {
    throw badInput(`${place} is no JSON object`, { file: path })
  }
  const fields = new Map<string, Record<string, unknown>>()
  for (const [key, value] of Object.entries(json)) {
    const dot = key.lastIndexOf('.')
    const component = key.slice(0, Math.max(0, dot))
    fields.set(component, { ...fields.get(component), [key.slice(dot + 1)]: value })
  }
  return new Map(
    [...fields].map(([component, config]) => [
      component,
      parsePeftConfig({ peft_type: 'LORA', ...config }, component === '' ? place : `${place} (${component})`),
    ]),
  )
}
