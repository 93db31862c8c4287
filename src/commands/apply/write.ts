import { dirname, join } from 'node:path'
import { LoraSvdError } from '../../errors.ts'
import { copyInto, syncFolders } from '../../io/copy-files.ts'
import { kindOf, makeFolder } from '../../io/files.ts'
import { makeSized, syncFile, withSizedFile } from '../../io/sized-file.ts'
import { readTextFile } from '../../io/source.ts'
import { removeLeftovers } from '../../io/temporary.ts'
import { writeFileAtomic } from '../../io/write-atomic.ts'
import { doJobsAsDone, type RunContext } from '../../jobs/context.ts'
import { editedJson, type JsonEdits } from '../../text/edit-json.ts'
import { quoted } from '../../text/quote.ts'
import { JsonError, parseObject } from '../../text/strict-json.ts'
import { joinAccounts, type RoundingAccount } from '../../update/account.ts'
import type { Piece, WrittenPiece } from '../../update/piece.ts'
import { jobKind } from './apply-jobs.ts'
import type { Companion } from './companions.ts'
import { CONFIG_FILE, configEdits } from './config.ts'
import type { OutputFile } from './files.ts'
import type { ApplySettings } from './options.ts'
import type { ApplyPlan } from './plan.ts'
import type { ColumnFactors } from './rounding.ts'
import type { ApplyRun } from './run-folder.ts'

/** Makes the files at their full length, with their headers; what an earlier run has put into them stays. */
export async function prepareFiles(folder: string, files: readonly OutputFile[]): Promise<void> {
  if ((await kindOf(folder)) === 'missing') await makeFolder(folder)
  for (const { name, header, byteLength } of files) {
    const path = join(folder, name)
    if ((await kindOf(dirname(path))) === 'missing') await makeFolder(dirname(path))
    await makeSized(path, byteLength)
    await withSizedFile(path, (file) => file.write(header, 0))
  }
}

/** Of the pieces that an earlier run has noted those that lie on the disk as they were computed. */
export async function soundPieces(
  pieces: readonly Piece[],
  { noted }: Pick<ApplyRun, 'noted'>,
  context: RunContext,
): Promise<Map<number, WrittenPiece>> {
  const indices = [...noted.keys()]
  const jobs = indices.map((index) => checkJob(pieces[index], noted.get(index)!))
  const sound = new Map<number, WrittenPiece>()
  for await (const { index: at, result } of doJobsAsDone(jobs, jobKind('check'), context)) {
    if (result) sound.set(indices[at], noted.get(indices[at])!)
  }
  return sound
}

const checkJob = ({ name, to }: Piece, { checksum }: WrittenPiece) => ({
  job: 'check' as const,
  name,
  to,
  checksum,
})

/** Writes all pieces that aren't done, and notes each. Gives what is known of all of them. */
export async function writePieces(
  pieces: readonly Piece[],
  done: ReadonlyMap<number, WrittenPiece>,
  plan: ApplyPlan,
  run: ApplyRun,
  columnFactors: ColumnFactors,
  context: RunContext,
): Promise<Map<number, WrittenPiece>> {
  const written = new Map(done)
  const indices = pieces.flatMap((_, index) => (done.has(index) ? [] : [index]))
  const jobs = indices.map((index) => {
    const piece = pieces[index]
    const factors = piece.work.kind === 'change' ? columnFactors.get(piece.work.change.name) : undefined
    return {
      ...{ job: 'write' as const, piece, run: run.run, base: plan.base.path },
      ...(factors !== undefined && { columnFactors: factors }),
    }
  })
  for await (const { index: at, result } of doJobsAsDone(jobs, jobKind('write'), context)) {
    await run.note(indices[at], result)
    written.set(indices[at], result)
  }
  return written
}

/** Reads everything back. Throws `system` where the disk holds something else than was computed. */
async function readBack(
  pieces: readonly Piece[],
  written: ReadonlyMap<number, WrittenPiece>,
  context: RunContext,
): Promise<void> {
  const jobs = pieces.map((piece, index) => checkJob(piece, written.get(index)!))
  for await (const { index, result } of doJobsAsDone(jobs, jobKind('check'), context)) {
    if (result) continue
    const { name, to } = pieces[index]
    throw new LoraSvdError(
      'system',
      `${to.file}: holds something else than was written there (tensor ${quoted(name)}, byte ${to.begin}): the disk or the memory of this machine is damaged, or another program writes there; run the same command again`,
      { file: to.file, tensor: name },
    )
  }
}

/** The account of each change, by its name: those of its pieces together, in their order. */
export function accountsOf(
  pieces: readonly Piece[],
  written: ReadonlyMap<number, WrittenPiece>,
): Map<string, RoundingAccount> {
  const parts = new Map<string, RoundingAccount[]>()
  pieces.forEach(({ work }, index) => {
    const account = written.get(index)?.account
    if (work.kind !== 'change' || account === undefined) return
    parts.set(work.change.name, [...(parts.get(work.change.name) ?? []), account])
  })
  return new Map([...parts].map(([name, accounts]) => [name, joinAccounts(accounts)]))
}

/** What is written beside the weights: copies, and what has to say something else than the base's. */
export interface Beside {
  /** The paths of the weights. */
  readonly weights: readonly string[]
  readonly companions: readonly Companion[]
  readonly texts: readonly { readonly name: string; readonly text: string }[]
}

/** config.json with its changes, where there is one and it needs some; of a pipeline those of its components. */
export async function configTexts(
  plan: ApplyPlan,
  { dtype }: ApplySettings,
  companions: readonly Companion[],
): Promise<Beside['texts']> {
  const texts: { name: string; text: string }[] = []
  for (const { name, edits } of await configsToEdit(plan, dtype, companions)) {
    const { text } = await readTextFile(companions.find(({ path }) => path === name)!.from, CONFIG_LIMIT)
    texts.push({ name, text: editedJson(text, edits) })
  }
  return texts
}

const CONFIG_LIMIT = Number.MAX_SAFE_INTEGER

async function configsToEdit(
  plan: ApplyPlan,
  dtype: ApplySettings['dtype'],
  companions: readonly Companion[],
) {
  const { components } = plan.base
  if (components === undefined) {
    const edits = configEdits(plan, dtype)
    const isThere = companions.some(({ path }) => path === CONFIG_FILE)
    return edits !== undefined && isThere ? [{ name: CONFIG_FILE, edits }] : []
  }
  const found: { name: string; edits: JsonEdits }[] = []
  for (const { name: component } of components) {
    const name = `${component}/${CONFIG_FILE}`
    const from = companions.find(({ path }) => path === name)?.from
    if (dtype === 'as-base' || from === undefined) continue
    const config = objectIn((await readTextFile(from, CONFIG_LIMIT)).text)
    // transformers' name the type, diffusers' don't know such a key
    if (!Object.hasOwn(config, 'torch_dtype') && !Object.hasOwn(config, 'dtype')) continue
    const edits = configEdits(
      { base: { ...plan.base, config }, untied: undefined, vocabulary: undefined },
      dtype,
    )
    if (edits !== undefined) found.push({ name, edits })
  }
  return found
}

/** The object that a text is; an empty one for any other, which stays as it is. */
function objectIn(text: string): Readonly<Record<string, unknown>> {
  try {
    return parseObject(text)
  } catch (error) {
    if (error instanceof JsonError) return {}
    throw error
  }
}

/** Reads everything back while the disk takes it up: the one waits for the processor, the other for the disk. Throws as both do. */
export async function settle(
  folder: string,
  files: readonly OutputFile[],
  pieces: readonly Piece[],
  written: ReadonlyMap<number, WrittenPiece>,
  context: RunContext,
): Promise<void> {
  const outcomes = await Promise.allSettled([
    readBack(pieces, written, context),
    syncFiles(files.map(({ name }) => join(folder, name))),
  ])
  for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason
}

/** One after the other: a checkpoint may have more shards than a process may have files open. */
async function syncFiles(paths: readonly string[]): Promise<void> {
  for (const path of paths) await syncFile(path)
}

/** Writes what lies beside the weights, and flushes it to the disk. */
export async function finishFolder(
  folder: string,
  { weights, companions, texts }: Beside,
  { signal }: RunContext,
): Promise<void> {
  const own = new Set(texts.map(({ name }) => name))
  for (const { from, path } of companions) {
    signal?.throwIfAborted()
    if (!own.has(path)) await copyInto(from, folder, path)
  }
  for (const { name, text } of texts) {
    await writeFileAtomic(join(folder, name), [new TextEncoder().encode(text)], { force: true })
  }
  const paths = [...weights, ...texts.map(({ name }) => name), ...companions.map(({ path }) => path)]
  for (const inner of new Set(paths.map((path) => dirname(join(folder, path))))) await removeLeftovers(inner)
  await syncFolders(folder, paths)
}
