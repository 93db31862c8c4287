import type { Checkpoint } from '../checkpoint/types.ts'
import type { FloatDtype } from '../formats/dtype.ts'
import type { GgufFloat } from '../formats/gguf-writer.ts'
import { transpose } from '../linalg/matrix/matrix.ts'
import { type GgufModuleToWrite, planGgufAdapter } from '../lora/write/gguf.ts'
import { ggufModel } from '../lora/write/gguf-names.ts'
import { foldedFactors, rememberingLast } from './factors.ts'
import type { Change, FormatPlan } from './target.ts'

/** llama.cpp's tensors of the changes. `pathOf` gives the path of a change's module as transformers has it. */
export function ggufPlan(
  changes: readonly Change[],
  base: Checkpoint,
  pathOf: (change: Change) => string,
  dtype: FloatDtype,
): Omit<FormatPlan, 'format' | 'dtype' | 'warnings' | 'differences'> {
  const heads = [...base.tensors.keys()].filter((name) =>
    /(?:^|\.)(?:lm_head|embed_out|output)\.weight$/.test(name),
  )
  const model = ggufModel(
    base.config,
    base.path,
    base.config?.tie_word_embeddings === true || heads.length === 0 ? undefined : false,
  )
  const labels = new Map<string, string>()
  const factorsOf = rememberingLast(foldedFactors)
  const modules: GgufModuleToWrite[] = []
  for (const change of changes) {
    const { module } = change
    const path = pathOf(change)
    labels.set(path, module.label)
    const { expert } = change
    const { rows, columns, isTransposed, kind } = module
    modules.push({
      path,
      ...(expert !== undefined && { expert }),
      isEmbedding: kind === 'embedding',
      rank: change.rank,
      out: isTransposed ? columns : rows,
      columns: isTransposed ? rows : columns,
      factors: async () => {
        const { B, A } = await factorsOf(change)
        return isTransposed ? { A: transpose(B).data, B: transpose(A).data } : { A: A.data, B: B.data }
      },
    })
  }
  const plan = planGgufAdapter(modules, model, { dtype: dtype as GgufFloat })
  const refused = plan.refused.map(({ path, reason }) => ({ name: labels.get(path) ?? path, reason }))
  return {
    ...{ pairs: [], wholes: [], metadata: {}, texts: new Map(), tensorFile: undefined, gguf: plan },
    dropped: refused,
    r: modules.reduce((most, { rank }) => Math.max(most, rank), 0),
  }
}
