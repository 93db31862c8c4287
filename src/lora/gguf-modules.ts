import type { Checkpoint } from '../checkpoint/types.ts'
import { joined } from './fit.ts'
import type { Adapter, AdapterModule, RowRun } from './model.ts'
import { ggufModel, peftModule } from './write/gguf-names.ts'

/** A tensor's name, and which of a stack of experts it is. */
const OF_EXPERT = /^(.+?)(?:\[(\d+)\])?$/

/** A GGUF adapter in the names of its base's model; what has no name there is left aside, with the reason. */
export interface NamedModules {
  readonly adapter: Adapter
  readonly unnamed: readonly { readonly module: AdapterModule; readonly reason: string }[]
}

/**
 * Undoes llama.cpp's names and order of rows, which hang on the base's config.json. Adapters of other formats stay, and so does one whose
 * base is a GGUF file too. Throws `bad-input` where the base's architecture isn't known.
 */
export function inModelNames(adapter: Adapter, base: Checkpoint): NamedModules {
  if (adapter.format !== 'gguf' || base.isGguf) return { adapter, unnamed: [] }
  const model = ggufModel(base.config, base.path)
  const unnamed: { module: AdapterModule; reason: string }[] = []
  const modules = adapter.modules.flatMap((module): AdapterModule[] => {
    const [, tensor, expert] = OF_EXPERT.exec(module.tensor)!
    const found = peftModule(tensor, module.productShape[0], model)
    if ('refusal' in found) {
      unnamed.push({ module, reason: found.refusal })
      return []
    }
    const path = found.path.replace('*', expert ?? '*')
    const fit = found.rows && runsOfOrder(found.rows)
    const named = { path, label: path, ofLabel: module.label, tensor: `${path}.weight` }
    return [{ ...module, ...named, ...(fit !== undefined && { fit }) }]
  })
  return { adapter: { ...adapter, modules }, unnamed }
}

/** Row i of the weight is this row of the module's. */
const runsOfOrder = (order: Uint32Array): RowRun[] =>
  joined(Array.from(order, (module, weight) => ({ module, weight, count: 1 })))
