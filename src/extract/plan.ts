import { readFloats } from '../adapter/read-stored.ts'
import { type ModelTraits, modelTraits } from '../adapter/write/model-traits.ts'
import { peftModule } from '../adapter/write/module.ts'
import { savedModules } from '../adapter/write/saved-modules.ts'
import type { PeftModule, SavedModule } from '../adapter/write/types.ts'
import { pairMatrices, pairsByTensor, type Unmatched, type UnmatchedReason } from '../checkpoint/pair.ts'
import { sameNumbers } from '../checkpoint/same.ts'
import type { Checkpoint, MatrixPair, StoredTensor } from '../checkpoint/types.ts'
import { badInput } from '../errors.ts'
import type { FloatDtype } from '../formats/dtype.ts'
import { compareNatural } from '../formats/natural-order.ts'
import { quoted } from '../formats/quote.ts'
import { readableFloatOf } from '../formats/safetensors-dtype.ts'
import { didYouMean } from '../formats/suggest.ts'
import { refuseNonFiniteNumbers } from '../verify/non-finite.ts'
import { familyOf } from './card.ts'
import type { ExtractOptions } from './options.ts'

/** One matrix whose change is to be factored. */
export interface PlannedLayer {
  readonly pair: MatrixPair
  readonly module: PeftModule
  /** Which of the module's matrices; 0 but for experts. */
  readonly expert: number
}

/** A tensor that changed, or may have, and that no factors carry. */
export interface LeftOut {
  /** As the tuned checkpoint calls it, or the base where that alone has it. */
  readonly name: string
  readonly reason: string
  readonly base?: StoredTensor
  readonly tuned?: StoredTensor
}

/**
 * What is to be done, from names, shapes and equal bytes: no decomposition has been made. All lists go by names, so that the
 * adapter doesn't depend on how the checkpoints lay out their tensors.
 */
export interface ExtractionPlan {
  readonly base: Checkpoint
  readonly tuned: Checkpoint
  readonly traits: ModelTraits
  readonly layers: readonly PlannedLayer[]
  /** Written whole. */
  readonly saved: readonly SavedModule[]
  readonly unchanged: readonly string[]
  readonly notCarried: readonly LeftOut[]
  /** Of the factors. */
  readonly dtype: Exclude<FloatDtype, 'f64'>
  readonly warnings: readonly string[]
}

const IN_WORDS: Record<Exclude<UnmatchedReason, 'shape'>, string> = {
  'missing-in-base': 'only in the tuned model',
  'missing-in-tuned': 'only in the base',
  'grown-vocabulary': 'the vocabulary has grown',
  'shrunk-vocabulary': 'the vocabulary has shrunk',
  'not-a-matrix': 'not a matrix: a norm, a bias or a number',
  dtype: 'stored in a dtype that is not read',
}

/**
 * Decides what becomes of every tensor. Reads the data only to compare it, up to the first difference. Throws `bad-input`
 * where the two aren't one architecture, are equal, or nothing is left to factor, `not-finite` on NaN and infinity in what is
 * written whole.
 */
export async function planExtraction(
  base: Checkpoint,
  tuned: Checkpoint,
  options: ExtractOptions,
): Promise<ExtractionPlan> {
  refuseDiffusion(base, tuned, options)
  const { include, exclude } = options
  const pairing = pairMatrices(base, tuned, { include, exclude })
  refuseOtherShapes(pairing.unmatched, tuned)
  const traits = modelTraits(base.config ?? tuned.config, base.tensors)

  const unchanged: string[] = []
  const left: LeftOut[] = []
  const layers: PlannedLayer[] = []
  for (const { name, reason, base: inBase, tuned: inTuned } of byName(pairing.unmatched)) {
    const isSame = inBase !== undefined && inTuned !== undefined && (await sameNumbers(inBase, inTuned))
    if (isSame) unchanged.push(name)
    else {
      const words = reason === 'shape' ? reason : IN_WORDS[reason]
      left.push({ name, reason: words, ...(inBase && { base: inBase }), ...(inTuned && { tuned: inTuned }) })
    }
  }
  const isAskedWhole = wholeTest(options.saveFull, [...tuned.tensors.keys()], tuned.path)
  // experts of one tensor stay in their order
  for (const pairs of pairsByTensor(byName(pairing.pairs))) {
    const [{ base: first, tuned: weight }] = pairs
    const inBase = base.tensors.get(first.tensor)!
    const inTuned = tuned.tensors.get(weight.tensor)!
    if (await sameNumbers(inBase, inTuned)) {
      unchanged.push(inTuned.name)
      continue
    }
    const name = nameInModel(inBase.name, inTuned.name)
    const module = isAskedWhole(inTuned.name)
      ? { reason: 'asked to be written whole' }
      : peftModule(name, weight.view, weight.storedShape, traits, options)
    if ('reason' in module) {
      left.push({ name: inTuned.name, reason: module.reason, base: inBase, tuned: inTuned })
    } else layers.push(...pairs.map((pair, expert) => ({ pair, module, expert })))
  }

  const { saved, notCarried } = chooseSaved(byName(left), layers, isAskedWhole, tuned, traits, options)
  if (layers.length === 0 && saved.length === 0) throw nothingToDo(base, tuned, left)
  for (const name of saved.flatMap(({ tensors }) => tensors)) {
    const tensor = tuned.tensors.get(name)!
    const isFloat = readableFloatOf(tensor.dtype) !== undefined
    if (isFloat) refuseNonFiniteNumbers(tuned.path, name, await readFloats(tensor))
  }
  return {
    base,
    tuned,
    traits,
    layers,
    saved,
    unchanged: unchanged.sort(compareNatural),
    notCarried,
    dtype: options.dtype ?? commonDtype(layers),
    warnings: [...base.warnings, ...tuned.warnings, ...pairing.warnings],
  }
}

/** Tools for diffusion models read none of PEFT's folders, so that one is made only where it is asked for by name. */
function refuseDiffusion(base: Checkpoint, tuned: Checkpoint, { format }: ExtractOptions): void {
  const family = format === undefined ? familyOf({ base, tuned }) : undefined
  if (family === undefined) return
  throw badInput(
    `${base.path}: is a diffusion model (${family}): ComfyUI, diffusers and kohya's tools would find nothing in a PEFT adapter, and no other is written yet; --format peft writes one all the same, for PeftModel on the denoiser itself`,
    { file: base.path },
  )
}

const byName = <T extends { readonly name: string }>(all: readonly T[]): T[] =>
  [...all].sort((a, b) => compareNatural(a.name, b.name))

function refuseOtherShapes(unmatched: readonly Unmatched[], tuned: Checkpoint): void {
  const wrong = unmatched.filter(({ reason }) => reason === 'shape')
  if (wrong.length === 0) return
  const [{ name, detail }] = wrong
  const more = wrong.length > 1 ? `, and so are ${wrong.length - 1} more` : ''
  throw badInput(
    `${tuned.path}: tensor ${quoted(name)} is of another shape: ${detail}${more}; are the two of one architecture? --exclude leaves a tensor out`,
    { file: tuned.path, tensor: name },
  )
}

function nothingToDo(base: Checkpoint, tuned: Checkpoint, left: readonly LeftOut[]) {
  const file = tuned.path
  if (left.length === 0) {
    return badInput(
      `${tuned.path}: every tensor is equal to that of ${base.path}: there is nothing to extract; are they the right two?`,
      { file },
    )
  }
  const [{ name, reason }] = left
  return badInput(
    `${tuned.path}: nothing that changed can be factored: ${quoted(name)}: ${reason}${left.length > 1 ? `, and ${left.length - 1} more` : ''}; --carry-rest stores it whole, --embeddings factors embeddings`,
    { file },
  )
}

/** The base's name, as the adapter is put on the base; the head's own where a tied base has only the embedding. */
const nameInModel = (inBase: string, inTuned: string) =>
  inBase.endsWith(inTuned) || inTuned.endsWith(inBase) ? inBase : inTuned

/** Whether a tensor belongs to a module that --save-full names: by its path or the end of it. */
function wholeTest(
  saveFull: readonly string[],
  names: readonly string[],
  where: string,
): (tensor: string) => boolean {
  const owner = (tensor: string) => tensor.slice(0, Math.max(0, tensor.lastIndexOf('.')))
  const isOf = (module: string) => (tensor: string) =>
    owner(tensor) === module || owner(tensor).endsWith(`.${module}`)
  for (const module of saveFull) {
    if (!names.some(isOf(module))) {
      const owners = new Set(names.map(owner))
      throw badInput(
        `${where}: --save-full ${quoted(module)}: there is no such module${didYouMean(module, owners)}`,
        { file: where },
      )
    }
  }
  return (tensor) => saveFull.some((module) => isOf(module)(tensor))
}

function chooseSaved(
  left: readonly LeftOut[],
  layers: readonly PlannedLayer[],
  isAskedWhole: (tensor: string) => boolean,
  tuned: Checkpoint,
  traits: ModelTraits,
  { carryRest }: ExtractOptions,
) {
  const wanted = left.filter(
    ({ name, base: inBase, tuned: inTuned }) =>
      inBase !== undefined && inTuned !== undefined && (carryRest || isAskedWhole(name)),
  )
  const factored = new Set(layers.map(({ module }) => module.path))
  const { saved, notCarried } = savedModules(
    wanted.map(({ name }) => name),
    [...tuned.tensors.keys()].sort(compareNatural),
    factored,
    traits,
  )
  const carried = new Set(saved.flatMap(({ tensors }) => tensors))
  const refused = new Map(notCarried.map(({ name, reason }) => [name, reason]))
  return {
    saved,
    notCarried: left
      .filter(({ name }) => !carried.has(name))
      .map((one) =>
        refused.has(one.name) ? { ...one, reason: `${one.reason}; ${refused.get(one.name)}` } : one,
      ),
  }
}

/** bf16 or f16 where all tuned matrices are stored so, else f32. */
function commonDtype(layers: readonly PlannedLayer[]): ExtractionPlan['dtype'] {
  const dtypes = new Set(layers.map(({ pair }) => pair.tuned.dtype))
  const [only] = dtypes
  return dtypes.size === 1 && (only === 'bf16' || only === 'f16') ? only : 'f32'
}
