import { badInput } from '../errors.ts'
import { JsonError, parseJson } from '../formats/strict-json.ts'
import { type PeftConfig, parsePeftConfig } from './peft-config.ts'

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
