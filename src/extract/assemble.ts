import { mkdir } from 'node:fs/promises'
import { adapterConfig, type ConfigFacts } from '../adapter/write/config.ts'
import { encodeFactors, zeroFactors } from '../adapter/write/encode.ts'
import { plannedTensors } from '../adapter/write/plan.ts'
import { ADAPTER_METADATA } from '../adapter/write/size.ts'
import type { AdapterPlan, PlannedModule } from '../adapter/write/types.ts'
import { ADAPTER_CONFIG_FILE, ADAPTER_FILE } from '../checkpoint/folder.ts'
import { readBytes } from '../checkpoint/read.ts'
import { osError } from '../formats/os-error.ts'
import { layoutSafetensors, safetensorsChunks } from '../formats/safetensors-writer.ts'
import { writeFileAtomic } from '../formats/write-atomic.ts'
import type { Factors } from '../svd/factors.ts'
import type { ExtractionPlan } from './plan.ts'

/**
 * Writes adapter_model.safetensors and adapter_config.json into a new `folder`. `factorsOf` gives the factors of a
 * module, one pair for each of its matrices, when their turn comes: those of one module are held at a time.
 */
export async function writeAdapter(
  folder: string,
  plan: AdapterPlan,
  { inModel, traits }: ExtractionPlan,
  facts: ConfigFacts,
  factorsOf: (module: PlannedModule) => Promise<readonly Factors[]>,
): Promise<void> {
  await mkdir(folder).catch((error: unknown) => {
    throw osError(error, 'make this folder', folder)
  })
  const encoded = lastOne(async (planned: PlannedModule) => {
    const { module, rank, storedRank } = planned
    const factors = rank === 0 ? zeroFactors(module) : await factorsOf(planned)
    return encodeFactors(module, factors, storedRank, plan.dtype)
  })
  const tensors = plannedTensors(plan, inModel, traits).map(({ content, ...tensor }) => ({
    ...tensor,
    data: async () =>
      content.planned === undefined
        ? readBytes(inModel.get(content.tensor)!)
        : (await encoded(content.planned))[content.side],
  }))
  const layout = layoutSafetensors(tensors, ADAPTER_METADATA)
  // by a rename alone: after a link the temporary name would stay in the adapter where it can't be removed
  await writeFileAtomic(`${folder}/${ADAPTER_FILE}`, safetensorsChunks(layout), { force: true })
  await writeText(`${folder}/${ADAPTER_CONFIG_FILE}`, adapterConfig(plan, facts))
}

export async function writeText(path: string, text: string): Promise<void> {
  await writeFileAtomic(path, [new TextEncoder().encode(text)], { force: true })
}

/** Remembers the last result: the two tensors of a module follow each other in the file. */
function lastOne<K, V>(compute: (key: K) => Promise<V>): (key: K) => Promise<V> {
  let last: { readonly key: K; readonly value: Promise<V> } | undefined
  return (key) => {
    if (last?.key !== key) last = { key, value: compute(key) }
    return last.value
  }
}
