import { resolve } from 'node:path'
import { adapterOf } from '../adapter/adapter.ts'
import { openCheckpoint } from '../checkpoint/open.ts'
import type { Checkpoint } from '../checkpoint/types.ts'
import { assertUnchanged } from '../checkpoint/unchanged.ts'
import type { EngineRequest } from '../engine/policy.ts'
import { badInput, ExitCode, exitCodeOf } from '../errors.ts'
import { writeJson } from '../report/json.ts'
import { noticesTo } from '../report/notice.ts'
import { whileInterruptible } from '../terminal/interrupt.ts'
import type { Terminal } from '../terminal/terminal.ts'
import { version } from '../version.ts'
import { buildAdapter } from './build.ts'
import { extractDocument } from './document.ts'
import type { ExtractOptions } from './options.ts'
import { assertOutputFree, assertRoom, putFolderInPlace } from './output-folder.ts'
import { type ExtractionPlan, planExtraction } from './plan.ts'
import { leastBytes, preview } from './preview.ts'
import { previewDocument } from './preview-document.ts'
import { previewTables } from './preview-tables.ts'
import { isPlacedByRun, openRunFolder, type RunIdentity, runFolderOf } from './run-folder.ts'
import { extractTables } from './tables.ts'

/** Plans, decomposes, chooses ranks, writes, measures what was written, and reports. Gives the exit code. */
export async function extract(
  asked: ExtractOptions,
  request: EngineRequest,
  output: { json: boolean; quiet: boolean },
  terminal: Terminal,
): Promise<number> {
  const start = performance.now()
  const options = { ...asked, output: namedOutput(asked.output) }
  const base = await openWeights(options.base)
  const tuned = await openWeights(options.tuned)
  const isReplaced = options.force || (isPlacedByRun(options.output) && !options.restart)
  await assertOutputFree(options.output, isReplaced, [base, tuned])
  const plan = await planExtraction(base, tuned, options)
  if (options.dryRun) {
    const shown = await preview(plan, options)
    if (output.json) await writeJson(terminal, previewDocument(shown))
    else if (!output.quiet) await terminal.out(previewTables(shown, terminal))
    return shown.totals.unmatched === 0 ? ExitCode.ok : ExitCode.checkFailed
  }
  await assertRoom(options.output, leastBytes(plan, options))

  const folder = await openRunFolder(options.output, identityOf(plan, options, request), options)
  const goOn = `interrupted; what is done is kept in ${runFolderOf(options.output)}: the same command goes on from there`
  try {
    if (folder.found > 0) {
      noticesTo(terminal, output.quiet)(`going on with an unfinished run: ${folder.found} layers are done`)
    }
    const result = await whileInterruptible(async (signal) => {
      const watch = { request, memory: options.memory, quiet: output.quiet, terminal, signal }
      const built = await buildAdapter(plan, options, folder, watch, start)
      for (const input of [base, tuned]) await assertUnchanged(input)
      await folder.markPlaced()
      await putFolderInPlace(folder.staging, options.output, folder.replaced)
      await folder.remove()
      return built
    }, goOn)
    if (output.json) await writeJson(terminal, extractDocument(result))
    else if (!output.quiet) await terminal.out(extractTables(result, terminal))
    return result.holds ? ExitCode.ok : ExitCode.checkFailed
  } catch (error) {
    // once the input or the options are mended it is another run
    if (exitCodeOf(error) === ExitCode.badInput) await folder.remove()
    throw error
  } finally {
    await folder.release()
  }
}

/** A path that ends in the output's own name, beside which the run folder can be. */
const namedOutput = (output: string) =>
  /(^|[/\\])\.{1,2}[/\\]*$/.test(output) ? resolve(output) : output.replace(/(?<=.)[/\\]+$/, '')

async function openWeights(path: string): Promise<Checkpoint> {
  const checkpoint = await openCheckpoint(path)
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
