import type { Checkpoint } from '../../checkpoint/types.ts'
import type { LayerResult } from '../../compress/layer-result.ts'
import { plainSpectrum } from '../../compress/layer-result.ts'
import type { RunContext } from '../../jobs/context.ts'
import { ratioOfNorms } from '../../linalg/matrix/norms.ts'
import { errorAt } from '../../linalg/spectrum/measures.ts'
import type { Spectrum } from '../../linalg/spectrum/spectrum.ts'
import { matchMoments } from '../../moments/match.ts'
import { openMoments } from '../../moments/open.ts'
import type { LayerMoments, MomentFile } from '../../moments/types.ts'
import { someTensors } from '../../text/names.ts'
import { counted } from '../../text/quote.ts'
import type { PlannedLayer } from './plan.ts'
import type { ExtractedLayer } from './result.ts'

/** The moments that weigh the layers of an extraction. */
export interface PlannedMoments {
  readonly file: MomentFile
  /** Of each layer; undefined where the file has none of it. */
  readonly ofLayers: readonly (LayerMoments | undefined)[]
}

/** Finds the moments of the layers, where a file of them is given. Throws as `openMoments` and `matchMoments` do. */
export async function plannedMoments(
  path: string | undefined,
  layers: readonly PlannedLayer[],
  base: Checkpoint,
  tuned: Checkpoint,
  { opening }: RunContext,
): Promise<PlannedMoments | undefined> {
  if (path === undefined) return undefined
  const file = await openMoments(path, opening)
  const weighed = layers.map(({ pair, module, expert }) => ({
    tensors: [pair.base.tensor, pair.tuned.tensor],
    ...{ rows: module.rows, columns: module.columns, isTransposed: module.isTransposed },
    ...(module.experts > 1 && { expert }),
  }))
  const model = { path: base.path, config: base.config ?? tuned.config }
  return { file, ofLayers: matchMoments(file, weighed, model) }
}

/**
 * Spectra that can be added up: a layer without moments counts as if its inputs were as large as those of the others are on average.
 */
export function comparable(
  results: readonly Pick<LayerResult, 'spectrum' | 'weighed'>[],
): readonly Spectrum[] {
  const weighed = results.filter((result) => result.weighed !== undefined)
  if (weighed.length === 0 || weighed.length === results.length)
    return results.map(({ spectrum }) => spectrum)
  const size = ratioOfNorms(
    weighed.map(({ spectrum }) => spectrum.frobenius),
    weighed.map((result) => plainSpectrum(result).frobenius),
  )
  return results.map((result) =>
    result.weighed === undefined ? scaled(result.spectrum, size) : result.spectrum,
  )
}

const scaled = (spectrum: Spectrum, by: number): Spectrum => ({
  ...spectrum,
  frobenius: spectrum.frobenius * by,
  singularValues: spectrum.singularValues.map((s) => s * by),
  ...(spectrum.upper !== undefined && { upper: spectrum.upper.map((s) => s * by) }),
  next: { atLeast: spectrum.next.atLeast * by, atMost: spectrum.next.atMost * by },
})

/** What of a layer is in the norm of its inputs. */
export function outputOf(
  { spectrum, weighed }: LayerResult,
  rank: number,
  relativeError: number | undefined,
): Pick<ExtractedLayer, 'output'> {
  if (weighed === undefined || relativeError === undefined) return {}
  const { kind, samples, floored } = weighed
  return {
    output: {
      ...{
        moments: kind,
        frobenius: spectrum.frobenius,
        relativeError,
        optimalError: errorAt(spectrum, rank),
      },
      ...{ floored, ...(samples !== undefined && { samples }) },
    },
  }
}

/**
 * A plain error of more than so many times the plain optimum at the same rank says that the moments have told the factors what only the calibration
 * knows. On a fine-tune of a small Llama moments of enough samples stay below 1.5 at ranks 1 to 8, and those of fewer samples than columns are above 2.
 */
export const OVERFITTED_FROM = 2

/** What to know of the moments that weighed an extraction. */
export function momentWarnings(
  { file, ofLayers }: PlannedMoments,
  names: readonly string[],
  layers: readonly ExtractedLayer[],
): string[] {
  const unweighed = names.filter((_, i) => ofLayers[i] === undefined)
  const few = ofLayers.flatMap((one, i) =>
    one?.kind === 'full' && one.samples !== undefined && one.samples < one.inputs
      ? [{ name: names[i], samples: one.samples, inputs: one.inputs }]
      : [],
  )
  const overfitted = layers.filter(
    ({ relativeError, optimalError, output }) =>
      output !== undefined && relativeError > OVERFITTED_FROM * optimalError.atMost,
  )
  return [
    ...file.warnings,
    ...(unweighed.length === 0
      ? []
      : [
          `${file.path} has no moments of ${counted(unweighed.length, 'layer')}, extracted in the plain norm: ${someTensors(unweighed)}`,
        ]),
    ...(few.length === 0
      ? []
      : [
          `the moments of ${counted(few.length, 'layer')} are of fewer inputs than the layer has columns (${few[0].samples} of ${few[0].inputs}): what they leave out counts for almost nothing; calibrate on more text: ${someTensors(few.map(({ name }) => name))}`,
        ]),
    ...(overfitted.length === 0
      ? []
      : [
          `in ${counted(overfitted.length, 'layer')} the plain error is more than ${OVERFITTED_FROM} times the best at that rank: the factors fit the calibration rather than the change; calibrate on more text, or take a higher rank: ${someTensors(overfitted.map(({ name }) => name))}`,
        ]),
  ]
}
