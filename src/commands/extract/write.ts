import { dirname } from 'node:path'
import { ADAPTER_CONFIG_FILE, ADAPTER_FILE } from '../../checkpoint/folder.ts'
import { openCheckpoint } from '../../checkpoint/open.ts'
import { readBytes } from '../../checkpoint/read.ts'
import type { FormatPlan } from '../../convert/target.ts'
import { formatChunks } from '../../convert/write.ts'
import { safetensorsDtypeOf } from '../../formats/safetensors-dtype.ts'
import { layoutSafetensors, safetensorsChunks } from '../../formats/safetensors-writer.ts'
import { makeFolder } from '../../io/files.ts'
import { writeFileAtomic, writeTextAtomic } from '../../io/write-atomic.ts'
import type { Factors } from '../../linalg/svd/svd.ts'
import type { TargetModule } from '../../lora/model.ts'
import { adapterConfig } from '../../lora/write/config.ts'
import { encodeFactors, zeroFactors } from '../../lora/write/encode.ts'
import {
  ADAPTER_METADATA,
  type AdapterPlan,
  factorShapes,
  type PlannedModule,
  plannedTensors,
} from '../../lora/write/peft.ts'
import { configFacts } from './card.ts'
import type { ExtractSettings } from './options.ts'
import { factorsPath, type OutputPlan, otherPlan, outputPlan, stagedPath } from './output.ts'
import { ownName, type RankedModule, rankedModules } from './own-names.ts'
import type { ExtractionPlan } from './plan.ts'
import type { RankChoice } from './ranks.ts'

/** Gives the factors of a module, one pair for each of its matrices, each cut to its own rank. */
type FactorsOf = (module: TargetModule) => Promise<readonly Factors[]>

/** What was written, and where: a folder or a file. */
export interface Written {
  readonly output: OutputPlan
  readonly path: string
}

/** Writes the adapter, but for its card, into the new folder `staging`. The factors of one module are held at a time. */
export async function writeOutput(
  plan: ExtractionPlan,
  settings: ExtractSettings,
  choice: RankChoice,
  staging: string,
  factorsOf: FactorsOf,
): Promise<Written> {
  const planned = outputPlan(plan, settings, choice)
  const path = stagedPath(staging, settings.output, plan.destination)
  await makeFolder(staging)
  if (planned.peft !== undefined) {
    await writePeft(path, planned.peft, plan, settings, factorsOf)
    return { output: planned, path }
  }
  // modules of the format may be parts of weights, or several together
  const own = factorsPath(staging)
  await writeOwn(own, plan, choice, factorsOf)
  const other = otherPlan(plan, settings, choice, await openCheckpoint(own))
  await writeOther(path, other)
  return { output: { other }, path }
}

/** Writes adapter_model.safetensors and adapter_config.json. */
async function writePeft(
  folder: string,
  peft: AdapterPlan,
  plan: ExtractionPlan,
  settings: ExtractSettings,
  factorsOf: FactorsOf,
): Promise<void> {
  const { inModel, traits } = plan
  const encoded = lastOne(async ({ module, rank, storedRank }: PlannedModule) => {
    const factors = rank === 0 ? zeroFactors(module) : await factorsOf(module)
    return encodeFactors(module, factors, storedRank, peft.dtype)
  })
  const tensors = plannedTensors(peft, inModel, traits).map(({ content, ...tensor }) => ({
    ...tensor,
    data: async () =>
      content.planned === undefined
        ? readBytes(inModel.get(content.tensor)!)
        : (await encoded(content.planned))[content.side],
  }))
  const layout = layoutSafetensors(tensors, ADAPTER_METADATA)
  // by a rename alone: after a link the temporary name would stay in the adapter where it can't be removed
  await writeFileAtomic(`${folder}/${ADAPTER_FILE}`, safetensorsChunks(layout), { force: true })
  const config = adapterConfig(peft, configFacts(plan, settings, peft))
  await writeTextAtomic(`${folder}/${ADAPTER_CONFIG_FILE}`, config, { force: true })
}

/** Writes the factors under the base's own names, rounded to their dtype. */
async function writeOwn(
  path: string,
  { layers, dtype }: ExtractionPlan,
  { ranks }: RankChoice,
  factorsOf: FactorsOf,
): Promise<void> {
  const encoded = lastOne(async ({ module, rank }: RankedModule) =>
    encodeFactors(module, await factorsOf(module), rank, dtype),
  )
  const tensors = rankedModules(layers, ranks).flatMap((one) => {
    const shapes = factorShapes(one.module, one.rank)
    return (['A', 'B'] as const).map((side) => ({
      name: ownName(one.module, side),
      dtype: safetensorsDtypeOf(dtype),
      shape: shapes[side],
      data: async () => (await encoded(one))[side],
    }))
  })
  await writeFileAtomic(path, safetensorsChunks(layoutSafetensors(tensors)), { force: true })
}

/** Writes a file, or a folder's files, under the names of other tools. */
async function writeOther(path: string, plan: FormatPlan): Promise<void> {
  const { tensorFile, texts } = plan
  const file = tensorFile === undefined ? path : `${path}/${tensorFile}`
  await makeFolder(dirname(file))
  await writeFileAtomic(file, formatChunks(plan), { force: true })
  for (const [name, text] of texts) await writeTextAtomic(`${path}/${name}`, text, { force: true })
}

/** Remembers the last result: the two tensors of a module follow each other in the file. */
function lastOne<K, V>(compute: (key: K) => Promise<V>): (key: K) => Promise<V> {
  let last: { readonly key: K; readonly value: Promise<V> } | undefined
  return (key) => {
    if (last?.key !== key) last = { key, value: compute(key) }
    return last.value
  }
}
