import { basename, dirname, join, resolve } from 'node:path'
import { moveTo, putFileInPlace } from '../../io/copy-files.ts'
import { assertHoldsNone, assertNotRead, kindOf, makeFolder, sizeIfAny } from '../../io/files.ts'
import { assertOutputFree, type FolderKind, putFolderInPlace } from '../../io/place-folder.ts'
import { syncFolder } from '../../io/sized-file.ts'
import { assertWritable } from '../../io/write-atomic.ts'
import type { Companions } from './companions.ts'
import { isSingleFile, type OutputFiles } from './files.ts'
import type { ApplySettings } from './options.ts'
import type { ApplyPlan } from './plan.ts'
import type { ApplyRun } from './run-folder.ts'

/** Where the merged checkpoint goes: that nothing stands in its way, and how it gets there. */

/** What a model's folder may hold besides what is copied from the base's. */
const OF_A_MODEL =
  /^(\.|README\.md$|LICENSE|NOTICE|(generation_|preprocessor_|processor_)?config\.json$|model_index\.json$|(tokenizer|special_tokens|added_tokens|vocab|merges|chat_template)|.*\.safetensors(\.index\.json)?$)/

/** A folder that may be replaced: it holds weights, and nothing that is no model's. */
const modelFolder = ({ copied }: Companions): FolderKind => {
  const ours = new Set(copied.map(({ path }) => path.split('/')[0]))
  return {
    noun: 'model',
    mark: /\.safetensors(\.index\.json)?$|^model_index\.json$/,
    mayHold: { test: (name) => OF_A_MODEL.test(name) || ours.has(name) },
  }
}

/** Gives what is whole its final name. */
export async function place(
  plan: ApplyPlan,
  { output, force }: ApplySettings,
  run: ApplyRun,
  { files }: OutputFiles,
  companions: Companions,
): Promise<void> {
  const { staging, replaced } = run
  if (isSingleFile(plan.base)) {
    const path = join(staging, files[0].name)
    await run.markPlaced(path)
    await putFileInPlace(path, output, { force })
  } else {
    await run.markPlaced()
    await putFolderInPlace({
      staging,
      output,
      replaced,
      kind: modelFolder(companions),
      force,
      placed: undefined,
    })
  }
  await syncFolder(dirname(resolve(output)))
}

/** What an earlier run of this placed before it was killed goes back to where it was made: it is checked as all else is. */
export async function takeBack(
  { base }: ApplyPlan,
  { staging, placed }: ApplyRun,
  output: string,
): Promise<void> {
  if (placed === undefined) return
  if (!isSingleFile(base)) return moveTo(output, staging)
  if ((await kindOf(staging)) === 'missing') await makeFolder(staging)
  await moveTo(output, join(staging, basename(output)))
}

/** Throws where the output can't be written, or is, holds or lies in one of the inputs. */
export async function assertFree(
  plan: ApplyPlan,
  { output, force }: ApplySettings,
  companions: Companions,
  placed: string | undefined,
): Promise<void> {
  const inputs = plan.inputs
  const files = inputs.flatMap((input) => input.files)
  const mayReplace = force || placed !== undefined
  if (isSingleFile(plan.base)) {
    await assertNotRead({ '--out': output }, files)
    await assertWritable(output, { force: mayReplace, onlyFile: true })
    return
  }
  await assertHoldsNone(output, files)
  await assertOutputFree(output, modelFolder(companions), mayReplace, inputs)
}

/** Bytes that are still to be written, as far as files that are there tell. */
export async function bytesToCome(
  { files }: OutputFiles,
  { copied }: Companions,
  staging: string,
): Promise<number> {
  let bytes = copied.reduce((sum, one) => sum + one.bytes, 0)
  for (const { name, byteLength } of files) {
    bytes += (await sizeIfAny(join(staging, name))) === byteLength ? 0 : byteLength
  }
  return bytes
}
