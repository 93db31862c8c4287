import { ADAPTER_FOLDER } from '../checkpoint/folder.ts'
import type { Checkpoint } from '../checkpoint/types.ts'
import { keptData } from '../combine/kept.ts'
import { assertResultFree } from '../combine/place.ts'
import { ggufChunks, layoutGguf } from '../formats/gguf-writer.ts'
import { safetensorsDtypeOf } from '../formats/safetensors-dtype.ts'
import { layoutSafetensors, safetensorsChunks, type TensorToWrite } from '../formats/safetensors-writer.ts'
import { assertRoom, assertUnchanged, sizesIn } from '../io/files.ts'
import { writeFolderAtomic } from '../io/new-folder.ts'
import { writeFileAtomic, writeTextAtomic } from '../io/write-atomic.ts'
import { doJobs, type RunContext } from '../jobs/context.ts'
import { assertHeld } from '../lora/write/encode.ts'
import { type DifferenceJob, WRITING } from './difference-jobs.ts'
import { pairFactors, rememberingLast } from './factors.ts'
import { kohyaHashes } from './metadata.ts'
import type { ConversionPlan } from './plan.ts'
import type { FormatPlan } from './target.ts'

export interface WriteRequest {
  readonly output: string
  readonly force: boolean
}

export interface WrittenFile {
  readonly name: string
  readonly bytes: number
}

/** Bytes of a hash as it is written. */
const HASHES = { sshs_model_hash: '0'.repeat(64), sshs_legacy_hash: '0'.repeat(8) }

const NOT_YET = () => Promise.reject(new Error('a layout asks for no data'))

/** The exact bytes of the result before anything is computed. */
export function plannedBytes(plan: FormatPlan): number {
  const texts = [...plan.texts.values()].reduce((sum, text) => sum + new TextEncoder().encode(text).length, 0)
  if (plan.gguf !== undefined) return layoutGguf(plan.gguf.tensors, plan.gguf.metadata).byteLength
  const metadata = plan.format === 'kohya' ? { ...plan.metadata, ...HASHES } : plan.metadata
  return layoutSafetensors(tensorsToWrite(plan, NOT_YET), metadata).byteLength + texts
}

/**
 * Writes what is planned: a folder where texts stand beside the tensors, else one file; whole or not at all. `check` reads it back, at the path
 * where it is then, and what it throws takes the result away again. Throws `bad-input` where an entry is out of the dtype's range.
 */
export async function writeConverted<T>(
  plan: ConversionPlan,
  inputs: readonly Checkpoint[],
  { output, force }: WriteRequest,
  check: (path: string) => Promise<T>,
  context: RunContext,
): Promise<{ readonly files: WrittenFile[]; readonly checked: T }> {
  await assertResultFree(plan.format, inputs, { output, force })
  await assertRoom(output, plannedBytes(plan))
  const { tensorFile } = plan
  if (tensorFile === undefined) {
    let checked: { readonly value: T } | undefined
    const bytes = await writeFileAtomic(output, chunksOf(plan, inputs, context), {
      force,
      check: async (path) => {
        checked = { value: await check(path) }
      },
    })
    return { checked: checked!.value, files: [{ name: output, bytes }] }
  }
  return writeFolderAtomic(output, ADAPTER_FOLDER, force, inputs, async (staging) => {
    await writeFileAtomic(`${staging}/${tensorFile}`, chunksOf(plan, inputs, context), { force: true })
    for (const [name, text] of plan.texts) await writeTextAtomic(`${staging}/${name}`, text, { force: true })
    return { checked: await check(staging), files: await sizesIn(staging) }
  })
}

/** The bytes of the file of the tensors, piece by piece; `differences` gives what is stored whole, in the order of the plan. */
export async function* formatChunks(
  plan: FormatPlan,
  differences?: AsyncIterator<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  if (plan.gguf !== undefined) {
    yield* ggufChunks(layoutGguf(plan.gguf.tensors, plan.gguf.metadata))
    return
  }
  // of one dtype the file has them in the order of their names, which is theirs
  const next = differences === undefined ? NOT_YET : async () => (await differences.next()).value!
  const tensors = tensorsToWrite(plan, next)
  const hashes = plan.format === 'kohya' ? await kohyaHashes(tensors, plan.metadata) : {}
  yield* safetensorsChunks(layoutSafetensors(tensors, { ...plan.metadata, ...hashes }))
}

async function* chunksOf(
  plan: ConversionPlan,
  inputs: readonly Checkpoint[],
  context: RunContext,
): AsyncGenerator<Uint8Array> {
  const differences = doJobs(differenceJobs(plan), WRITING, context)
  try {
    yield* formatChunks(plan, differences)
  } finally {
    await differences.return()
  }
  for (const input of inputs) await assertUnchanged(input)
}

function differenceJobs({ differences, dtype, base }: ConversionPlan): DifferenceJob[] {
  return differences.map(({ change, range }) => ({
    name: change.name,
    change,
    range,
    dtype,
    base: base!.path,
  }))
}

/** The tensors of the file, whose data is made when their turn comes. */
function tensorsToWrite(plan: FormatPlan, differenceData: () => Promise<Uint8Array>): TensorToWrite[] {
  const dtype = safetensorsDtypeOf(plan.dtype)
  const factorsOf = rememberingLast(pairFactors)
  const factors = plan.pairs.flatMap((pair): TensorToWrite[] => {
    const side = (side: 'A' | 'B'): TensorToWrite => ({
      name: pair.names[side],
      dtype,
      shape: pair.shapes[side],
      data: async () => {
        const { data } = (await factorsOf(pair))[side]
        if (pair.rank > 0)
          assertHeld(pair.module, side, data, plan.dtype, 'nothing that adapters are stored in holds it')
        return data
      },
    })
    // the scale lies in the factors: alpha is the rank
    const alpha = pair.names.alpha
    const scale =
      alpha === undefined
        ? []
        : [{ name: alpha, dtype: 'F32', shape: [], data: Float64Array.of(pair.storedRank) } as const]
    return [side('A'), side('B'), ...scale]
  })
  const wholes = plan.wholes.map(
    (one): TensorToWrite => ({
      name: one.name,
      dtype: one.dtype,
      shape: one.shape,
      data: () => keptData(one),
    }),
  )
  const differences = plan.differences.map(({ name, shape }) => ({
    name,
    dtype,
    shape,
    data: differenceData,
  }))
  return [...factors, ...differences, ...wholes]
}
