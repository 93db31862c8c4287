import { resolve } from 'node:path'
import { ADAPTER_FOLDER } from '../../checkpoint/folder.ts'
import { openCheckpoint } from '../../checkpoint/open.ts'
import type { Checkpoint } from '../../checkpoint/types.ts'
import type { EngineRequest } from '../../engine/open.ts'
import { badInput, ExitCode, LoraSvdError } from '../../errors.ts'
import { assertRoom, assertUnchanged, existsNow } from '../../io/files.ts'
import { assertOutputFree, putFolderInPlace } from '../../io/place-folder.ts'
import { adapterOf } from '../../lora/read/adapter.ts'
import { writeJson } from '../../report/json.ts'
import { noticesTo } from '../../report/watched-jobs.ts'
import type { Terminal } from '../../terminal/terminal.ts'
import { version } from '../../version.ts'
import { buildAdapter } from './build.ts'
import { extractDocument, previewDocument } from './document.ts'
import type { ExtractOptions } from './options.ts'
import { type ExtractionPlan, planExtraction } from './plan.ts'
import { leastBytes, preview } from './preview.ts'
import { previewTables } from './preview-text.ts'
import type { ExtractResult } from './result.ts'
import { bytesDone, openRunFolder, placedByRun, type RunFolder, type RunIdentity } from './run-folder.ts'
import { extractTables } from './text.ts'

/** Plans, decomposes, chooses ranks, writes, measures what was written, and reports. Gives the exit code. */
export async function extract(
  asked: ExtractOptions,
  request: EngineRequest,
  output: { json: boolean; quiet: boolean },
  terminal: Terminal,
): Promise<number> {
  const start = performance.now()
  const options = { ...asked, output: namedOutput(asked.output) }
  const base = await openWeights(options.base, terminal)
  const tuned = await openWeights(options.tuned, terminal)
  const placed = options.restart ? undefined : await placedByRun(options.output)
  await assertOutputFree(options.output, ADAPTER_FOLDER, options.force || placed !== undefined, [base, tuned])
  const plan = await planExtraction(base, tuned, options)
  if (options.dryRun) {
    const shown = await preview(plan, options)
    if (output.json) await writeJson(terminal, previewDocument(shown))
    else if (!output.quiet) await terminal.out(previewTables(shown, terminal))
    return shown.totals.unmatched === 0 ? ExitCode.ok : ExitCode.checkFailed
  }

  const notice = noticesTo(terminal, output.quiet)
  const result = await terminal.interruptible(async (signal) => {
    const folder = await openRunFolder(
      options.output,
      identityOf(plan, options, request),
      plan.layers.map(({ pair }) => ({
        name: pair.name,
        rows: pair.tuned.rows,
        columns: pair.tuned.columns,
      })),
      options,
    )
    try {
      const watch = { request, memory: options.memory, quiet: output.quiet, terminal, signal }
      const built = await run(plan, options, folder, notice, () =>
        buildAdapter(plan, options, folder, watch, start),
      )
      const left = await folder.remove()
      if (left !== undefined) notice(left)
      return built
    } catch (error) {
      if (!(await isUseless(error, plan, folder))) throw explained(error, folder)
      await folder.remove()
      throw error
    } finally {
      folder.release()
    }
  })
  if (output.json) await writeJson(terminal, extractDocument(result))
  else if (!output.quiet) await terminal.out(extractTables(result, terminal))
  return result.holds ? ExitCode.ok : ExitCode.checkFailed
}

/** Builds the adapter in the run folder and gives it its final name. */
async function run(
  plan: ExtractionPlan,
  options: ExtractOptions,
  folder: RunFolder,
  notice: (line: string) => void,
  build: () => Promise<ExtractResult>,
): Promise<ExtractResult> {
  const { base, tuned } = plan
  const { output, force } = options
  const { staging, replaced, placed, found, damaged } = folder
  // while the folder was another's, that may have put its adapter there
  await assertOutputFree(output, ADAPTER_FOLDER, force || placed !== undefined, [base, tuned])
  const { kept, adapter } = leastBytes(plan, options)
  await assertRoom(output, Math.max(0, kept - (await bytesDone(output))) + adapter)
  if (found > 0) notice(`going on with an unfinished run: ${found} layers are done`)
  if (damaged.length > 0) {
    const more = damaged.length > 1 ? ` and ${damaged.length - 1} more` : ''
    notice(`${folder.path}: ${damaged[0]}${more}: not what a run of this wrote, computed again`)
  }
  const built = await build()
  for (const input of [base, tuned]) await assertUnchanged(input)
  await folder.assertHeld()
  await folder.markPlaced()
  await putFolderInPlace({ staging, output, replaced, kind: ADAPTER_FOLDER, force, placed })
  return built
}

/** Whether nothing can go on from here: no layer is done, or the numbers of the inputs themselves are refused. */
async function isUseless(error: unknown, { base, tuned }: ExtractionPlan, folder: RunFolder) {
  if (error instanceof LoraSvdError && error.code === 'interrupted') return false
  if (await folder.isEmpty()) return true
  if (!isOfNumbers(error)) return false
  // of a file that is just being written they may be others the next time
  const areSame = Promise.all([base, tuned].map((input) => assertUnchanged(input)))
  return areSame.then(
    () => true,
    () => false,
  )
}

/** NaN in a tensor, or an entry that the dtype asked for can't hold: the same inputs and options end so each time. */
const isOfNumbers = (error: unknown): boolean =>
  error instanceof LoraSvdError &&
  (error.code === 'not-finite' || (error.code === 'bad-input' && error.tensor !== undefined))

/** What happened to the run folder, or is kept in it, belongs into the error. */
function explained(error: unknown, { path }: RunFolder): unknown {
  if (!existsNow(path)) {
    const message = `${path}: was removed while the run worked in it; run the same command again`
    return new LoraSvdError('system', message, { file: path, cause: error })
  }
  if (!(error instanceof LoraSvdError)) return error
  if (error.code === 'interrupted') {
    const message = `interrupted; what is done is kept in ${path}: the same command goes on from there`
    return new LoraSvdError('interrupted', message, { cause: error.cause })
  }
  if (error.code !== 'output-exists') return error
  const message = `${error.message}, or move it away: what is done is kept in ${path}, and the same command goes on from there`
  return new LoraSvdError(error.code, message, { ...(error.file !== undefined && { file: error.file }) })
}

/** A path that ends in the output's own name, beside which the run folder can be. */
const namedOutput = (output: string) =>
  /(^|[/\\])\.{1,2}[/\\]*$/.test(output) ? resolve(output) : output.replace(/(?<=.)[/\\]+$/, '')

async function openWeights(path: string, { env }: Pick<Terminal, 'env'>): Promise<Checkpoint> {
  const checkpoint = await openCheckpoint(path, { env })
  if ((await adapterOf(checkpoint)) === undefined) return checkpoint
  throw badInput(`${path}: is an adapter; name the weights that it was put into, or those it came from`, {
    file: path,
  })
}

/** All that the adapter's bytes depend on. */
function identityOf(
  { base, tuned, layers }: ExtractionPlan,
  options: ExtractOptions,
  { engine }: EngineRequest,
): RunIdentity {
  const { seed, memory, dryRun, restart, force, output, base: basePath, tuned: tunedPath, ...rest } = options
  return {
    inputs: [base.files, tuned.files],
    options: {
      version,
      ...rest,
      base: basePath,
      tuned: tunedPath,
      seed: String(seed),
      engine,
      layers: layers.map(({ pair }) => pair.name),
    },
  }
}
