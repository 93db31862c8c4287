import { quantisationOf } from '../checkpoint/quantised.ts'
import { isStoredInBytes } from '../checkpoint/read.ts'
import type { Checkpoint, StoredTensor } from '../checkpoint/types.ts'
import type { KeptTensor } from '../combine/kept.ts'
import type { SharedModule, Summand } from '../combine/modules.ts'
import { badInput } from '../errors.ts'
import { readableFloatOf } from '../formats/safetensors-dtype.ts'
import type { Layout } from '../lora/families/layout.ts'
import { type ModuleName, moduleNames } from '../lora/families/modules.ts'
import type { Family, Gap } from '../lora/families/types.ts'
import { overlap, rowsReached } from '../lora/fit.ts'
import { compareUtf8 } from '../text/compare.ts'
import { quoted } from '../text/quote.ts'
import type { Change as WeightChange } from '../update/change.ts'
import { rescaleOf } from '../update/dora.ts'
import type { Difference, Dropped } from './target.ts'
import { keptBias } from './wholes.ts'

/** What of an adapter ComfyUI is given whole, and what is left to be factors. */
export interface Apart {
  /** In the order in which a file has them. */
  readonly differences: readonly Difference[]
  /** The adapter without the modules of those weights. */
  readonly rest: Summand
  /** Changes of biases that belong to those modules. */
  readonly biases: readonly KeptTensor[]
  readonly dropped: readonly Dropped[]
  readonly warnings: readonly string[]
}

/** Whether DoRA is among what changes a weight. */
export const hasDora = ({ terms }: Pick<SharedModule, 'terms'>): boolean =>
  terms.some(({ module }) => module.magnitude !== undefined)

/**
 * The weights that DoRA changes, each with all of its change as one difference W' − W: ComfyUI adds a `.diff` times the strength, and in its
 * place alone where a file has factors of the same weight too (Comfy-Org/ComfyUI: comfy/lora.py, load_lora and calculate_weight @2025-10-12).
 * Of DoRA's own tensors it makes another weight: it divides by the norms of W, not by those of W + Δ (#15458). `source` has been matched
 * to the base, and `modules` are its by weight. Throws `bad-input` where the base's weights are no numbers that something could be added to.
 */
export function doraApart(
  source: Summand,
  modules: readonly SharedModule[],
  base: Checkpoint,
  layout: Layout,
): Apart {
  const doras = modules.filter(hasDora)
  const differences: Difference[] = []
  const biases: KeptTensor[] = []
  const dropped: Dropped[] = []
  const warnings: string[] = []
  if (doras.length > 0) refuseQuantised(base)
  for (const shared of doras) {
    const { module, terms } = shared
    const tensor = readable(base, module.tensor)
    const names = namesOf(shared, layout)
    if ('reason' in names) {
      for (const term of terms) dropped.push({ name: term.module.label, reason: names.reason })
      continue
    }
    const change = changeOf(shared, tensor, source, warnings)
    for (const { name, gaps, rows: [from, to] = [0, module.rows] } of names.found) {
      differences.push({
        name: `${name}.diff`,
        ...{ module: name, label: module.label, change, gaps },
        shape: [to - from, ...tensor.shape.slice(1)],
        range: { matrix: 0, first: from, count: to - from },
        rank: terms.reduce((sum, term) => sum + term.module.rank, 0),
      })
    }
    const [{ name, rows }, ...others] = names.found
    const isWhole = rows === undefined && others.length === 0
    for (const term of terms) {
      const bias = isWhole && term.module.fit === undefined ? `${name}.diff_b` : undefined
      const kept = keptBias(term.module, bias, 'comfyui', term.path)
      if (kept === undefined) continue
      if ('reason' in kept) dropped.push(kept)
      else biases.push(kept)
    }
  }
  return {
    differences: differences.sort((a, b) => compareUtf8(a.name, b.name)),
    ...{ biases, dropped, warnings },
    rest: without(source, new Set(doras.map(({ module }) => module.tensor))),
  }
}

function without(source: Summand, weights: ReadonlySet<string>): Summand {
  const left = ({ tensor }: { readonly tensor: string }) => !weights.has(tensor)
  const { adapter, initial } = source
  return {
    ...source,
    adapter: { ...adapter, modules: adapter.modules.filter(left) },
    ...(initial !== undefined && { initial: { ...initial, modules: initial.modules.filter(left) } }),
  }
}

function refuseQuantised(base: Checkpoint): void {
  const quantised = quantisationOf(base)
  if (quantised === undefined) return
  throw badInput(
    `${base.path}: is quantised with ${quantised.method}, as ${quoted(quantised.tensor)} shows, and what DoRA makes of a weight hangs on its numbers; give the model that it was made from as --base`,
    { file: base.path, tensor: quantised.tensor },
  )
}

function readable(base: Checkpoint, name: string): StoredTensor {
  const tensor = base.tensors.get(name)!
  if (isStoredInBytes(tensor) && readableFloatOf(tensor.dtype) !== undefined) return tensor
  throw badInput(
    `${base.path}: tensor ${quoted(name)} is stored as ${tensor.dtype}, and what DoRA makes of a weight hangs on its numbers; give a base of safetensors floats as --base`,
    { file: base.path, tensor: name },
  )
}

/** As `apply` makes it of the same adapter. */
function changeOf(
  { module, terms }: SharedModule,
  tensor: StoredTensor,
  { adapter }: Summand,
  warnings: string[],
): WeightChange {
  const beside = adapter.replaced.filter(({ name }) => name === tensor.name).map(() => ({}))
  const factors = terms.map(({ module, weight, path }) => ({ module, weight, path }))
  const dora = rescaleOf(tensor.name, factors, beside, warnings)!
  return {
    ...{ name: tensor.name, base: tensor, shape: tensor.shape },
    ...{ matrices: 1, rows: module.rows, columns: module.columns, dense: [], ...dora },
  }
}

/** ComfyUI's names of a weight, or of its rows that are changed, each a whole weight there. */
function namesOf(
  { module, terms }: SharedModule,
  layout: Layout,
): { readonly found: readonly ModuleName[] } | { readonly reason: string } {
  const names = moduleNames(layout, 'comfyui')(module.tensor) ?? []
  const part = names.find(({ moduleRows, swapHalves }) => moduleRows !== undefined || swapHalves)
  if (part !== undefined) {
    return {
      reason: `is DoRA, and ComfyUI has ${quoted(module.tensor)} as a part of ${quoted(part.name)}, of which a difference has to be whole; give the model in its original layout as --base`,
    }
  }
  if (names.some(({ isTransposed }) => isTransposed))
    return { reason: 'is DoRA of a weight that ComfyUI has the other way round' }
  const reached = terms.flatMap((term) => rowsReached(term.module.fit, module.rows))
  const found = names.filter(({ rows }) => rows === undefined || overlap(reached, [rows]))
  if (found.length === 0)
    return { reason: 'is DoRA of a weight for whose difference names of ComfyUI have no place' }
  return { found: found.map((name) => ({ ...name, gaps: gapsOf(name, layout.family) })) }
}

/** What other loaders make of a `.diff` under such a name: what they make of the name, and what diffusers makes of any. */
function gapsOf({ gaps }: ModuleName, { loaders, component }: Family): readonly Gap[] {
  if (!loaders.includes('diffusers')) return gaps
  if (component === 'unet') return [...gaps, OTHER_NAMES]
  return gaps.some(({ loader }) => loader === 'diffusers') ? gaps : [...gaps, WHOLE]
}

const OTHER_NAMES: Gap = {
  ...{ loader: 'diffusers', naming: 'comfyui', effect: 'dropped' },
  reason:
    'diffusers reads a file of a U-Net where all names are kohya’s, and passes over the rest of this one too',
  source: 'huggingface/diffusers: src/diffusers/loaders/lora_pipeline.py @2026-08-23',
}

const WHOLE: Gap = {
  ...{ loader: 'diffusers', naming: 'comfyui', effect: 'dropped' },
  reason: 'diffusers passes over differences of whole weights',
  source: 'huggingface/diffusers: src/diffusers/loaders/lora_conversion_utils.py @2026-08-23',
}
