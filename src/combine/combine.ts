import { ADAPTER_FOLDER } from '../checkpoint/folder.ts'
import { openCheckpoint } from '../checkpoint/open.ts'
import type { Checkpoint } from '../checkpoint/types.ts'
import type { SumResult } from '../compress/sum.ts'
import { LoraSvdError } from '../errors.ts'
import { safetensorsDtypeOf } from '../formats/safetensors-dtype.ts'
import { layoutSafetensors, safetensorsChunks } from '../formats/safetensors-writer.ts'
import { assertRoom, assertUnchanged, sizesIn } from '../io/files.ts'
import { writeFolderAtomic } from '../io/new-folder.ts'
import { writeFileAtomic, writeTextAtomic } from '../io/write-atomic.ts'
import type { RunContext } from '../jobs/context.ts'
import { readStoredFactors } from '../lora/factors.ts'
import type { AdapterModule } from '../lora/model.ts'
import { adapterOf } from '../lora/read/adapter.ts'
import { arePacked, encodePacked } from '../lora/write/packed.ts'
import { compareUtf8 } from '../text/compare.ts'
import { CARD_FILE, sumCard } from './card.ts'
import {
  type EncodedOf,
  type OutputPlan,
  outputBytes,
  planOutput,
  type SumBase,
  TENSOR_FILE,
  tensorsOf,
  type WrittenModule,
} from './output.ts'
import { assertResultFree } from './place.ts'
import type { CombinePlan } from './plan.ts'
import { factorsAt, type RankedSums, type RankSettings, rankSums } from './ranks.ts'
import { type Combined, combinedOf } from './result.ts'

export interface CombineSettings extends RankSettings {
  readonly output: string
  readonly force: boolean
  /** The command that makes it, for the card. */
  readonly command: string
  readonly named?: SumBase | undefined
}

/** A file of the result. */
interface WrittenFile {
  readonly name: string
  readonly bytes: number
}

/**
 * Writes the sum that a plan is about: finds each layer's rank, writes the factors under the first adapter's names, reads them back from
 * disk, and sets their error beside the best one possible. A folder for PEFT, one file for other formats; whole or not at all. Throws
 * LoraSvdError: `output-exists`, `bad-input` and `not-finite` for what can't be summed, `system` where the machine fails.
 */
export async function combine(
  plan: CombinePlan,
  /** All files that it is made from: none is written over, and none may change meanwhile. */
  inputs: readonly Checkpoint[],
  settings: CombineSettings,
  context: RunContext,
): Promise<Combined> {
  await assertResultFree(plan.format, inputs, settings)
  return plan.format === 'peft'
    ? toFolder(plan, inputs, settings, context)
    : toFile(plan, inputs, settings, context)
}

async function toFolder(
  plan: CombinePlan,
  inputs: readonly Checkpoint[],
  settings: CombineSettings,
  context: RunContext,
): Promise<Combined> {
  const { output, force } = settings
  return writeFolderAtomic(output, ADAPTER_FOLDER, force, inputs, async (staging) => {
    const { ranked, planned } = await settle(plan, settings, context)
    const results = await writeTensors(
      planned,
      ranked,
      `${staging}/${TENSOR_FILE}`,
      true,
      inputs,
      settings,
      context,
    )
    const { totals } = combinedOf(planned, settings, ranked, results, [])
    const { relativeError, optimalError } = totals
    const card = sumCard(planned, settings.command, { relativeError, optimalError: optimalError.atLeast })
    for (const [name, text] of new Map(planned.texts).set(CARD_FILE, card))
      await writeTextAtomic(`${staging}/${name}`, text, { force: true })
    await assertWritten(staging, planned, results)
    return combinedOf(planned, settings, ranked, results, await sizesIn(staging))
  })
}

async function toFile(
  plan: CombinePlan,
  inputs: readonly Checkpoint[],
  settings: CombineSettings,
  context: RunContext,
): Promise<Combined> {
  const { output, force } = settings
  const { ranked, planned } = await settle(plan, settings, context)
  const results = await writeTensors(
    planned,
    ranked,
    output,
    force,
    inputs,
    settings,
    context,
    (path, found) => assertWritten(path, planned, found),
  )
  const files: WrittenFile[] = [{ name: output, bytes: outputBytes(planned) }]
  return combinedOf(planned, settings, ranked, results, files)
}

async function settle(plan: CombinePlan, settings: CombineSettings, context: RunContext) {
  const sizeAt = (ranks: readonly number[]) => outputBytes(planOutput(plan, ranks, settings))
  const ranked = await rankSums(plan, settings, sizeAt, context)
  const planned = planOutput(plan, ranked.ranks, settings)
  await assertRoom(settings.output, outputBytes(planned))
  return { ranked, planned }
}

/** Writes the file of tensors, and gives what was found of each layer, without its factors. */
async function writeTensors(
  planned: OutputPlan,
  ranked: RankedSums,
  path: string,
  force: boolean,
  inputs: readonly Checkpoint[],
  { moments }: Pick<CombineSettings, 'moments'>,
  context: RunContext,
  check: (path: string, results: readonly SumResult[]) => Promise<void> = async () => {},
): Promise<SumResult[]> {
  const { plan } = planned
  const results: SumResult[] = []
  // in the order of the file, so that one module's factors are held at a time
  const inOrder = [...planned.modules].sort((a, b) => compareUtf8(a.names.A, b.names.A))
  const indices = layersByModule(plan)
  const order = inOrder.flatMap(({ summed }) => indices.get(summed.module)!)
  const coming = factorsAt(plan, ranked, order, moments, context)
  const take = async (written: WrittenModule) => {
    const ofModule: SumResult[] = []
    for (const i of indices.get(written.summed.module)!) {
      const next = await coming.next()
      if (next.done) throw new RangeError(`${written.names.A}: its factors are asked for twice`)
      ofModule.push(next.value)
      results[i] = withoutFactors(next.value)
    }
    const factors = ofModule.map((one) => one.factors)
    return encodePacked(written.summed.module, factors, written.storedRank, plan.dtype)
  }
  const layout = layoutSafetensors(tensorsOf(planned, plan.dtype, lastOne(take)), planned.metadata)
  const chunks = async function* () {
    yield* safetensorsChunks(layout)
    for (const input of inputs) await assertUnchanged(input)
  }
  await writeFileAtomic(path, chunks(), { force, check: (written) => check(written, results) })
  return results
}

const withoutFactors = (result: SumResult): SumResult => {
  const { B, A } = result.factors
  const none = new Float32Array(0)
  return {
    ...result,
    factors: { B: { rows: B.rows, columns: 0, data: none }, A: { rows: 0, columns: A.columns, data: none } },
  }
}

function layersByModule({ layers }: CombinePlan): Map<AdapterModule, number[]> {
  const indices = new Map<AdapterModule, number[]>()
  for (const [i, { module }] of layers.entries()) indices.set(module, [...(indices.get(module) ?? []), i])
  return indices
}

/** Remembers the last result: the two tensors of a module follow each other in the file. */
function lastOne(compute: EncodedOf): EncodedOf {
  let last: { readonly key: WrittenModule; readonly value: ReturnType<EncodedOf> } | undefined
  return (key) => {
    if (last?.key !== key) last = { key, value: compute(key) }
    return last.value
  }
}

/** Reads the result as anyone would, and finds in it the very factors that were measured. Throws `system` where something else is there. */
async function assertWritten(
  path: string,
  planned: OutputPlan,
  results: readonly SumResult[],
): Promise<void> {
  const wrong = (name: string) =>
    new LoraSvdError('system', `${path}: ${name} is not what was written; run the same command again`, {
      file: path,
    })
  const adapter = await adapterOf(await openCheckpoint(path))
  if (adapter === undefined) throw wrong('the adapter')
  const { dtype } = planned.plan
  const stored = safetensorsDtypeOf(dtype)
  const isStored = ({ product }: AdapterModule) =>
    product.kind === 'lora' && product.A.dtype === stored && product.B.dtype === stored
  const byName = new Map(
    adapter.modules.flatMap((module) =>
      module.product.kind === 'lora' ? [[module.product.A.name, module] as const] : [],
    ),
  )
  const indices = layersByModule(planned.plan)
  for (const { summed, names, storedRank } of planned.modules) {
    const found = byName.get(names.A)
    // of a stack the file alone tells the rank of all experts together
    const isStack = summed.module.kind === 'experts' && found?.kind !== 'experts'
    const scale = isStack && found?.alpha !== undefined ? found.alpha / storedRank : found?.scale
    if (found === undefined || !isStored(found) || scale !== 1) throw wrong(names.A)
    // the base may have told how the weight lies, which the file alone can't
    const { kind, rows, columns, experts, isTransposed, shape } = summed.module
    const module = { ...found, kind, rows, columns, experts, isTransposed, shape, rank: storedRank }
    for (const [expert, i] of indices.get(summed.module)!.entries()) {
      const { rank, digest } = results[i]
      const read = await readStoredFactors(module, kind === 'experts' ? expert : undefined)
      if (!arePacked(read, rank, dtype, digest)) throw wrong(names.A)
    }
  }
}
