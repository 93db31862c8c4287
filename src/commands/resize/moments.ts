import type { Checkpoint } from '../../checkpoint/types.ts'
import type { CombinePlan } from '../../combine/plan.ts'
import type { CombinedLayer } from '../../combine/result.ts'
import type { RunContext } from '../../jobs/context.ts'
import { matchMoments } from '../../moments/match.ts'
import { openMoments } from '../../moments/open.ts'
import type { LayerMoments, MomentFile } from '../../moments/types.ts'
import { momentNotes } from '../moment-notes.ts'

/** The moments that weigh the layers of an adapter. */
export interface SumMoments {
  readonly file: MomentFile
  readonly ofLayers: readonly (LayerMoments | undefined)[]
}

/** Finds the moments of the layers, where a file of them is given. Throws as `openMoments` and `matchMoments` do. */
export async function sumMoments(
  path: string | undefined,
  { layers }: CombinePlan,
  base: Checkpoint | undefined,
  adapter: string,
  { opening }: RunContext,
): Promise<SumMoments | undefined> {
  if (path === undefined) return undefined
  const file = await openMoments(path, opening)
  const weighed = layers.map(({ module, expert }) => ({
    tensors: [module.tensor],
    ...{ rows: module.rows, columns: module.columns, isTransposed: module.isTransposed },
    ...(expert !== undefined && { expert, experts: module.experts }),
  }))
  return {
    file,
    ofLayers: matchMoments(file, weighed, { path: base?.path ?? adapter, config: base?.config }),
  }
}

/** What to know of the moments that weighed a result. */
export const sumMomentWarnings = (
  { file, ofLayers }: SumMoments,
  layers: readonly CombinedLayer[],
): string[] =>
  momentNotes(
    { file, ofLayers },
    layers.map(({ name }) => name),
    layers,
  )
