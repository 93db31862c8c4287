import { bringNear } from '../../checkpoint/near.ts'
import { holdingOpen } from '../../checkpoint/read.ts'
import { LoraSvdError } from '../../errors.ts'
import { assertRoom, assertUnchanged, kindOf } from '../../io/files.ts'
import { digestOfJson } from '../../io/own-folder.ts'
import {
  namedOutput,
  placedByRun,
  type RunIdentity,
  runFolderOf,
  withRunFolder,
} from '../../io/run-folder.ts'
import { inContext, type RunContext } from '../../jobs/context.ts'
import { filesOf } from '../../lora/model.ts'
import { version } from '../../version.ts'
import { CARD_FILE, mergedCard } from './card.ts'
import { type Companions, companionsOf } from './companions.ts'
import { isSingleFile, type OutputFiles, outputFiles } from './files.ts'
import { type ApplyOptions, type ApplySettings, applySettings } from './options.ts'
import { assertFree, bytesToCome, place, takeBack } from './output.ts'
import { piecesOf } from './pieces.ts'
import { type ApplyPlan, planApply } from './plan.ts'
import type { ApplyPreview, ApplyResult } from './result.ts'
import { type ColumnFactors, columnFactorsOf, sampled } from './rounding.ts'
import { type ApplyRun, openApplyRun } from './run-folder.ts'
import { adviceText } from './sentences.ts'
import { expectedAdvice, previewOf, resultOf, type Sampled, totalsOf } from './summary.ts'
import {
  accountsOf,
  configTexts,
  finishFolder,
  prepareFiles,
  settle,
  soundPieces,
  writePieces,
} from './write.ts'

/**
 * Writes the merged checkpoint of a base and adapters: W + Σ weight·scale·B·A, summed in float64 and rounded once, with all that lies
 * beside the base's weights. What is done is kept in `<out>.partial`, from which the same call goes on after it was interrupted or
 * killed. Throws LoraSvdError: `bad-usage` and `bad-input` for what can't be done, `output-exists`, `not-finite` on NaN and infinity,
 * `system` where the machine fails, `interrupted`.
 */
export function apply(options: ApplyOptions & { readonly dryRun: true }): Promise<ApplyPreview>
export function apply(options: ApplyOptions & { readonly dryRun?: false | undefined }): Promise<ApplyResult>
export function apply(options: ApplyOptions): Promise<ApplyResult | ApplyPreview>
export async function apply(options: ApplyOptions): Promise<ApplyResult | ApplyPreview> {
  const settings = applySettings(options)
  return inContext({ ...options, memory: settings.memory }, (context) =>
    applied({ ...settings, output: namedOutput(settings.output) }, context),
  )
}

async function applied(settings: ApplySettings, context: RunContext): Promise<ApplyResult | ApplyPreview> {
  const start = performance.now()
  const plan = await planApply(settings, context)
  return holdingOpen(factorFiles(plan), () => carriedOut(plan, settings, context, start))
}

/** Tensors elsewhere of no more bytes are read at once: a request for each would take longer than its bytes. */
const SMALL = 2 ** 20

const factorFiles = ({ changes }: ApplyPlan) =>
  changes.flatMap(({ factors }) => factors.flatMap(({ module }) => filesOf(module.product)))

async function carriedOut(
  plan: ApplyPlan,
  settings: ApplySettings,
  context: RunContext,
  start: number,
): Promise<ApplyResult | ApplyPreview> {
  const { output, restart } = settings
  const placed = restart ? undefined : await placedByRun(output)
  const companions = await companionsOf(plan)
  await assertFree(plan, settings, companions, placed)
  const files = outputFiles(plan, settings.maxShardSize, output)
  const identity = identityOf(plan, settings)
  // before the numbers are looked at: a disk that is too full ends a dry run too
  await assertRoom(output, await bytesToCome(files, companions, `${runFolderOf(output)}/whole`))
  await bringNear([...plan.base.tensors.values()].filter(({ bytes }) => bytes <= SMALL))
  const columnFactors = await columnFactorsOf(plan.changes, context)
  const samples: Sampled = await sampled(plan, digestOfJson(identity), columnFactors, context)
  if (settings.dryRun) {
    const resumable = !restart && (await kindOf(runFolderOf(output))) === 'folder'
    return previewOf(plan, settings, files, companions, samples, resumable)
  }
  for (const advice of expectedAdvice(plan, samples)) {
    context.notice(`${adviceText(advice)} (told by a sample, before the write)`)
  }
  const pieces = piecesOf(files.files, `${runFolderOf(output)}/whole`)
  const run = await openApplyRun(output, identity, pieces.length, settings)
  try {
    const result = await written(
      plan,
      settings,
      { files, pieces, companions, samples, columnFactors, start },
      run,
      context,
    )
    await run.close()
    const left = await run.remove()
    if (left !== undefined) context.notice(left)
    return result
  } catch (error) {
    await run.close()
    if (!(await isUseless(error, plan, run))) throw withRunFolder(error, run.path)
    await run.remove()
    throw error
  } finally {
    run.release()
  }
}

interface Work {
  readonly files: OutputFiles
  readonly pieces: ReturnType<typeof piecesOf>
  readonly companions: Companions
  readonly samples: Sampled
  readonly columnFactors: ColumnFactors
  readonly start: number
}

/** Fills the run folder and gives what is whole its final name. */
async function written(
  plan: ApplyPlan,
  settings: ApplySettings,
  { files, pieces, companions, samples, columnFactors, start }: Work,
  run: ApplyRun,
  context: RunContext,
): Promise<ApplyResult> {
  const { output } = settings
  const { staging, placed } = run
  // while the folder was another's, that may have put its checkpoint there
  await assertFree(plan, settings, companions, placed)
  await takeBack(plan, run, output)
  await assertRoom(output, await bytesToCome(files, companions, staging))
  await prepareFiles(staging, files.files)
  const sound = await soundPieces(pieces, run, context)
  if (run.noted.size > 0) {
    context.notice(`going on with an unfinished run: ${sound.size} of ${pieces.length} pieces are done`)
  }
  if (sound.size < run.noted.size) {
    context.notice(
      `${run.path}: ${run.noted.size - sound.size} pieces are not what a run of this wrote, computed again`,
    )
  }
  const done = await writePieces(pieces, sound, plan, run, columnFactors, context)
  await settle(staging, files.files, pieces, done, context)
  const accounts = accountsOf(pieces, done)
  const totals = totalsOf(plan, samples, accounts)
  const configs = await configTexts(plan, settings, companions.copied)
  const isFile = isSingleFile(plan.base)
  await finishFolder(
    staging,
    {
      weights: files.files.map(({ name }) => name),
      companions: companions.copied,
      texts: isFile
        ? []
        : [...files.indices, ...configs, { name: CARD_FILE, text: mergedCard(plan, settings, { totals }) }],
    },
    context,
  )
  const result = await resultOf(plan, settings, {
    ...{ samples, accounts, companions, totals, staging, resumed: sound.size },
    seconds: () => (performance.now() - start) / 1000,
  })
  for (const input of plan.inputs) await assertUnchanged(input)
  await assertUnchanged({ files: companions.copied.flatMap(({ identity }) => identity) })
  await run.assertHeld()
  await place(plan, settings, run, files, companions)
  return result
}

/** Whether nothing can go on from here: no piece is done, or the numbers of the inputs themselves are refused. */
async function isUseless(error: unknown, plan: ApplyPlan, run: ApplyRun): Promise<boolean> {
  if (error instanceof LoraSvdError && error.code === 'interrupted') return false
  // what stood under the output's name is in the folder by now
  if (run.placed !== undefined) return false
  if (await run.isEmpty()) return true
  if (!isOfNumbers(error)) return false
  const areSame = Promise.all(plan.inputs.map((input) => assertUnchanged(input)))
  return areSame.then(
    () =>
      run.assertHeld().then(
        () => true,
        () => false,
      ),
    () => false,
  )
}

/** NaN in a tensor, or an entry that the type can't hold: the same inputs and options end so each time. */
const isOfNumbers = (error: unknown): boolean =>
  error instanceof LoraSvdError &&
  (error.code === 'not-finite' || (error.code === 'bad-input' && error.tensor !== undefined))

/** All that the output's bytes depend on. */
function identityOf(plan: ApplyPlan, settings: ApplySettings): RunIdentity {
  const { memory, dryRun, restart, force, output, ...options } = settings
  return {
    inputs: plan.inputs.map(({ files }) => files),
    options: { version, ...options },
  }
}
