import type { Checkpoint } from '../../checkpoint/types.ts'
import type { LayerResult } from '../../compress/layer-result.ts'
import { plainSpectrum } from '../../compress/layer-result.ts'
import type { RunContext } from '../../jobs/context.ts'
import { errorAt } from '../../linalg/spectrum/measures.ts'
import type { Spectrum } from '../../linalg/spectrum/spectrum.ts'
import { comparable } from '../../moments/comparable.ts'
import { matchMoments } from '../../moments/match.ts'
import { openMoments } from '../../moments/open.ts'
import type { LayerMoments, MomentFile } from '../../moments/types.ts'
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
    ...(module.kind === 'experts' && { expert, experts: module.experts }),
  }))
  const model = { path: base.path, config: base.config ?? tuned.config }
  return { file, ofLayers: matchMoments(file, weighed, model) }
}

/** The spectra of all layers, such as can be added up. */
export const comparableSpectra = (
  results: readonly Pick<LayerResult, 'spectrum' | 'weighed'>[],
): readonly Spectrum[] =>
  comparable(
    results,
    (result) => result.weighed && { felt: result.spectrum.frobenius, plain: plainSpectrum(result).frobenius },
    (result, by) => ({ ...result, spectrum: scaled(result.spectrum, by) }),
  ).map(({ spectrum }) => spectrum)

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
