import { layoutSafetensors } from '../../formats/safetensors-writer.ts'
import { adapterConfig, type ConfigFacts } from './config.ts'
import type { ModelTraits } from './model-traits.ts'
import { plannedTensors, type TensorShape } from './plan.ts'
import type { AdapterPlan } from './types.ts'

/** The metadata of adapter_model.safetensors, which older transformers can't do without. */
export const ADAPTER_METADATA = { format: 'pt' } as const

/** Bytes of each file. */
export interface AdapterSize {
  /** adapter_model.safetensors: its header and its data. */
  readonly header: number
  readonly data: number
  /** adapter_config.json. */
  readonly config: number
  /** README.md. */
  readonly card: number
  readonly total: number
}

const utf8Length = (text: string) => new TextEncoder().encode(text).length

/**
 * The exact bytes of an adapter before anything is computed. `card` is README.md, of which `modelCard` makes one of the
 * same length whether or not its figures are known.
 */
export function adapterSize(
  plan: AdapterPlan,
  tuned: ReadonlyMap<string, TensorShape>,
  traits: ModelTraits,
  facts: ConfigFacts,
  card: string,
): AdapterSize {
  const tensors = plannedTensors(plan, tuned, traits).map((tensor) => ({
    ...tensor,
    data: new Uint8Array(0),
  }))
  const { header, byteLength } = layoutSafetensors(tensors, ADAPTER_METADATA)
  const [config, readme] = [utf8Length(adapterConfig(plan, facts)), utf8Length(card)]
  return {
    header: header.length,
    data: byteLength - header.length,
    config,
    card: readme,
    total: byteLength + config + readme,
  }
}
