import type { NoiseFloor } from '../rank/noise-floor.ts'
import { settledFloor } from '../rank/settled-floor.ts'
import { errorAt, rankAbove } from '../spectrum/measures.ts'
import type { IntegerRange, Spectrum } from '../spectrum/types.ts'
import type { NoiseFindings } from './result.ts'

/** The floor, and the rank above it as a range that holds what all singular values would give: lower bounds of them raise the floor. */
export function noiseFindings(
  spectrum: Spectrum,
  { floor, spread, changedShare, isSubUlp }: Omit<NoiseFloor, 'edge'>,
): NoiseFindings {
  const { rows, columns, frobenius } = spectrum
  const energy = frobenius ** 2
  const settledBy = (count: keyof IntegerRange, left: keyof IntegerRange) =>
    settledFloor(
      { floor, spread },
      {
        rows,
        columns,
        energy,
        above: (floor) => rankAbove(spectrum, floor)[count],
        tail: (r) => energy * errorAt(spectrum, r)[left] ** 2,
      },
    )
  const settled = settledBy('atLeast', 'atMost')
  const lowest = spectrum.complete ? settled : settledBy('atMost', 'atLeast')
  return {
    floor: settled,
    rankAbove: {
      atLeast: rankAbove(spectrum, settled).atLeast,
      atMost: rankAbove(spectrum, lowest).atMost,
    },
    changedShare,
    isSubUlp,
  }
}

/** Nothing is known to be noise where most entries did not move, and nothing stands out of what is left of the change. */
export const isNotUnderstood = ({ isSubUlp, rankAbove }: NoiseFindings): boolean =>
  isSubUlp && rankAbove.atMost === 0

/** The rank above the noise, where it says something of the change. */
export const ranksAboveNoise = (noise: NoiseFindings): IntegerRange | undefined =>
  isNotUnderstood(noise) ? undefined : noise.rankAbove
