import { badInput } from '../../errors.ts'
import type { RunContext } from '../../jobs/context.ts'
import type { Engine } from '../../linalg/engine.ts'
import type { Root } from '../../linalg/weighting/root.ts'
import { matchMoments } from '../../moments/match.ts'
import { openMoments } from '../../moments/open.ts'
import { rootOfMoments } from '../../moments/root.ts'
import type { LayerMoments, MomentFile } from '../../moments/types.ts'

/** The moments of the inputs of one matrix. */
export interface MatrixMoments {
  readonly file: MomentFile
  readonly moments: LayerMoments
  readonly root: Root
}

/**
 * Finds the moments of a matrix by its name; a file that holds those of one weight alone is of this one, whatever it is called. Throws as
 * `openMoments`, `matchMoments` and `rootOfMoments` do.
 */
export async function matrixMoments(
  path: string,
  name: string,
  { rows, columns }: { readonly rows: number; readonly columns: number },
  engine: Engine,
  { opening }: RunContext,
): Promise<MatrixMoments> {
  const file = await openMoments(path, opening)
  const [only] = file.entries.keys()
  const tensors = file.entries.size === 1 ? [only] : [name]
  const named = { ...file, naming: 'checkpoint' as const }
  const layer = { tensors, rows, columns, isTransposed: false }
  const [moments] = matchMoments(named, [layer], { path })
  if (moments === undefined) {
    throw badInput(`${path}: no input was counted for ${name}: nothing can be weighed by it`, { file: path })
  }
  return { file, moments, root: await rootOfMoments(moments, engine) }
}
