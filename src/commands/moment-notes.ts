import type { Interval } from '../linalg/spectrum/spectrum.ts'
import type { LayerMoments, MomentFile } from '../moments/types.ts'
import { someTensors } from '../text/names.ts'
import { counted } from '../text/quote.ts'

/**
 * A plain error of more than so many times the plain optimum at the same rank says that the factors fit what the calibration held rather than the
 * change. On a fine-tune of a small Llama it is at most 1.5 times, at ranks 1 to 16 and with moments of 65 inputs as of 16,640.
 */
export const OVERFITTED_FROM = 2

/** What is measured of a layer, in the plain norm and perhaps in that of its inputs. */
interface NotedLayer {
  readonly name: string
  readonly relativeError: number
  readonly optimalError: Interval
  readonly output?: unknown
}

/** What to know of the moments that weighed layers. */
export function momentNotes(
  { file, ofLayers }: { readonly file: MomentFile; readonly ofLayers: readonly (LayerMoments | undefined)[] },
  names: readonly string[],
  layers: readonly NotedLayer[],
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
          `${file.path} has no moments of ${counted(unweighed.length, 'layer')}, which the plain norm weighs: ${someTensors(unweighed)}`,
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
