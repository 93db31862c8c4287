import { compareUtf8 } from '../text/compare.ts'
import type { OutputPlan } from './output.ts'

/** Hashes that sd-scripts stores of the tensors (library/train_util.py, precalculate_safetensors_hashes): of other ones they are wrong. */
const HASHES = ['sshs_model_hash', 'sshs_legacy_hash']

/** Where diffusers keeps LoraConfig, with the component before each key (loaders/lora_base.py, LORA_ADAPTER_METADATA_KEY). */
const DIFFUSERS = 'lora_adapter_metadata'

/** The result's own metadata: that of the first adapter's file, with rank and alpha as the result has them, and without old hashes. */
export function sumMetadata({
  plan,
  r,
  layout,
}: Omit<OutputPlan, 'metadata' | 'texts'>): Record<string, string> {
  const { metadata } = plan.summands[0].checkpoint
  const own = new Map([...metadata].filter(([key]) => !HASHES.includes(key)))
  // kohya's tools call ranks that are not one for all so (networks/resize_lora.py)
  const dim = layout === 'portable' ? String(r) : 'Dynamic'
  for (const key of ['ss_network_dim', 'ss_network_alpha']) if (own.has(key)) own.set(key, dim)
  // sd-scripts' own networks have no DoRA, which is LyCORIS' alone
  const isDora = plan.modules.some(({ module }) => module.magnitude !== undefined)
  if (own.has('ss_network_module') && !isDora) own.set('ss_network_module', 'networks.lora')
  if (own.has('ss_network_args')) own.delete('ss_network_args')
  const json = own.get(DIFFUSERS)
  // without it diffusers takes each rank and which modules there are from the tensors
  if (layout === 'pattern' || plan.summands.length > 1) own.delete(DIFFUSERS)
  else if (json !== undefined) own.set(DIFFUSERS, diffusersConfig(json, r))
  if (own.size === 0) own.set('format', 'pt')
  return Object.fromEntries([...own].sort(([a], [b]) => compareUtf8(a, b)))
}

/** The same configs with rank and alpha of the result; the file has been read before, so that this is JSON. */
function diffusersConfig(json: string, r: number): string {
  const fields = Object.entries(JSON.parse(json) as Record<string, unknown>).map(
    ([key, value]): [string, unknown] => {
      const name = key.slice(key.lastIndexOf('.') + 1)
      if (name === 'r' || name === 'lora_alpha') return [key, r]
      if (name === 'rank_pattern' || name === 'alpha_pattern') return [key, {}]
      return name === 'use_rslora' ? [key, false] : [key, value]
    },
  )
  return JSON.stringify(Object.fromEntries(fields))
}
