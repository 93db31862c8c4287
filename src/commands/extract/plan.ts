import { bringBeginningsNear, type ModelPairing, pairModels, sameNumbers } from '../../checkpoint/models.ts'
import { pairsByTensor, type Unmatched } from '../../checkpoint/pair.ts'
import { refuseNonFiniteNumbers, refuseNonFiniteTensor } from '../../checkpoint/read.ts'
import type { Checkpoint, MatrixPair, StoredTensor } from '../../checkpoint/types.ts'
import { badInput } from '../../errors.ts'
import type { FloatDtype } from '../../formats/dtype.ts'
import { readableFloatOf } from '../../formats/safetensors-dtype.ts'
import { readFloats } from '../../lora/factors.ts'
import type { NoModule } from '../../lora/kinds.ts'
import { peftModule } from '../../lora/kinds.ts'
import type { SavedModule, TargetModule } from '../../lora/model.ts'
import { type ModelTraits, modelTraits, ownerOfPath } from '../../lora/traits.ts'
import { savedModules } from '../../lora/write/targets.ts'
import { addTo, compareNatural, didYouMean } from '../../text/compare.ts'
import { quoted } from '../../text/quote.ts'
import { familyOf } from './card.ts'
import type { ExtractSettings } from './options.ts'
import type { LeftReason } from './result.ts'
import { leftText } from './sentences.ts'

/** One matrix whose change is to be factored. */
export interface PlannedLayer {
  readonly pair: MatrixPair
  readonly module: TargetModule
  /** Which of the module's matrices; 0 but for experts. */
  readonly expert: number
}

/** A tensor that changed, or may have, and that no factors carry. */
export interface LeftOut {
  /** As the tuned checkpoint calls it, or the base where that alone has it. */
  readonly name: string
  readonly because: LeftReason
  /** Why it can't be written whole either, where that was asked for. */
  readonly notWhole?: string
  readonly base?: StoredTensor
  readonly tuned?: StoredTensor
  /** It has no counterpart to compare it with, and no one asked to leave it out. */
  readonly isLost: boolean
}

/**
 * What is to be done, from names, shapes and equal bytes: no decomposition has been made. All lists go by names, so that the
 * adapter doesn't depend on how the checkpoints lay out their tensors.
 */
export interface ExtractionPlan {
  readonly base: Checkpoint
  /** With a head that is tied to the embedding under its own name, where the base's isn't tied. */
  readonly tuned: Checkpoint
  /** The tensors of the tuned model by the names that the base's model has for them. */
  readonly inModel: ReadonlyMap<string, StoredTensor>
  readonly traits: ModelTraits
  readonly layers: readonly PlannedLayer[]
  /** Written whole, by the names of `inModel`. */
  readonly saved: readonly SavedModule[]
  readonly unchanged: readonly string[]
  readonly notCarried: readonly LeftOut[]
  /** Tensors that both models have, or that are written whole; the others of those that were asked for. */
  readonly matched: number
  readonly unmatched: number
  /** dtype of the factors. */
  readonly dtype: Exclude<FloatDtype, 'f64'>
  readonly warnings: readonly string[]
}

/** The indices of each module's layers, in the order of their first. */
export function layersByModule({ layers }: Pick<ExtractionPlan, 'layers'>): Map<TargetModule, number[]> {
  const indices = new Map<TargetModule, number[]>()
  for (const [i, { module }] of layers.entries()) addTo(indices, module, i)
  return indices
}

/** Why a tensor that changed is not factored, where the user chose so. */
const LEFT_OUT = { kind: 'left-out' } as const

const moduleOrNone = (found: TargetModule | NoModule) =>
  'reason' in found ? ({ kind: 'no-module', ...found } as const) : found

/**
 * Decides what becomes of every tensor. Reads the data only to compare it, up to the first difference. Throws `bad-input`
 * where the two aren't one architecture, are equal, or nothing is left to factor, `not-finite` on NaN and infinity in what is
 * written whole.
 */
export async function planExtraction(
  base: Checkpoint,
  tunedAsStored: Checkpoint,
  options: ExtractSettings,
  signal?: AbortSignal,
): Promise<ExtractionPlan> {
  refuseDiffusion(base, tunedAsStored, options)
  const pairing = await pairModels(base, tunedAsStored, { ...options, keepsAll: true })
  const { isWanted, lost } = pairing
  const tuned = { ...tunedAsStored, tensors: pairing.tuned.tensors }
  refuseOtherShapes(
    pairing.unmatched.filter(({ name }) => isWanted(name)),
    tuned,
  )
  const traits = modelTraits(base.config ?? tuned.config, base.tensors)
  await bringBeginningsNear([...base.tensors.values(), ...tuned.tensors.values()])

  const unchanged: string[] = []
  const left: LeftOut[] = []
  const layers: PlannedLayer[] = []
  for (const one of byName(pairing.unmatched)) {
    signal?.throwIfAborted()
    const { name, reason, base: inBase, tuned: inTuned } = one
    const isSame = inBase !== undefined && inTuned !== undefined && (await sameNumbers(inBase, inTuned))
    if (isSame) unchanged.push(name)
    else {
      if (reason !== 'computed' && isWanted(name)) {
        await refuseNonFiniteTensor(tuned.path, inTuned)
        await refuseNonFiniteTensor(base.path, inBase)
      }
      // of another shape is refused above, but for what is left out
      const because = !isWanted(name) || reason === 'shape' ? LEFT_OUT : { kind: reason }
      const sides = { ...(inBase && { base: inBase }), ...(inTuned && { tuned: inTuned }) }
      left.push({ name, because, ...sides, isLost: lost.has(one) })
    }
  }
  const isAskedWhole = wholeTest(options.saveFull, pairing)
  // experts of one tensor stay in their order
  for (const pairs of pairsByTensor(byName(pairing.pairs))) {
    signal?.throwIfAborted()
    const [{ base: first, tuned: weight }] = pairs
    const inBase = base.tensors.get(first.tensor)!
    const inTuned = tuned.tensors.get(weight.tensor)!
    if (await sameNumbers(inBase, inTuned)) {
      unchanged.push(inTuned.name)
      continue
    }
    const name = pairing.nameInBase(inTuned.name)
    const module = isAskedWhole(inTuned.name)
      ? ({ kind: 'asked-whole' } as const)
      : isWanted(inTuned.name)
        ? moduleOrNone(peftModule(name, first.view, first.storedShape, traits, options))
        : LEFT_OUT
    if (!('rows' in module)) {
      left.push({ name: inTuned.name, because: module, base: inBase, tuned: inTuned, isLost: false })
    } else layers.push(...pairs.map((pair, expert) => ({ pair, module, expert })))
  }

  const inModel = tensorsInModel(pairing)
  const carrying = { layers, isAskedWhole, pairing, inModel, traits }
  const { saved, notCarried } = chooseSaved(byName(left), carrying, options)
  if (layers.length === 0 && saved.length === 0) throw nothingToDo(base, tuned, left)
  for (const name of saved.flatMap(({ tensors }) => tensors)) {
    const tensor = inModel.get(name)!
    const isFloat = readableFloatOf(tensor.dtype) !== undefined
    if (isFloat) refuseNonFiniteNumbers(tuned.path, name, await readFloats(tensor))
  }
  return {
    base,
    tuned,
    inModel,
    traits,
    layers,
    saved,
    unchanged: unchanged.sort(compareNatural),
    notCarried,
    ...matchingOf(pairing, notCarried),
    dtype: options.dtype ?? commonDtype(layers),
    warnings: [...base.warnings, ...tuned.warnings, ...pairing.warnings],
  }
}

/** Tools for diffusion models read none of PEFT's folders, so that one is made only where it is asked for by name. */
function refuseDiffusion(base: Checkpoint, tuned: Checkpoint, { format }: ExtractSettings): void {
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
  const [first] = left
  return badInput(
    `${tuned.path}: nothing that changed can be factored: ${quoted(first.name)}: ${leftText(first)}${left.length > 1 ? `, and ${left.length - 1} more` : ''}; --carry-rest stores it whole, --embeddings factors embeddings`,
    { file },
  )
}

/** The tuned model's tensors by the names that the base's model has for them. */
function tensorsInModel({ tuned, nameInBase }: ModelPairing): Map<string, StoredTensor> {
  return new Map([...tuned.tensors].map(([name, tensor]) => [nameInBase(name), tensor]))
}

/** How many tensors have their counterpart or are carried all the same, and how many neither. */
function matchingOf({ matched, lost }: ModelPairing, notCarried: readonly LeftOut[]) {
  const unmatched = notCarried.filter(({ isLost }) => isLost).length
  return { matched: matched + lost.size - unmatched, unmatched }
}

/** Whether a tensor belongs to a module that --save-full names: by its path or the end of it, in either model's words. */
function wholeTest(
  saveFull: readonly string[],
  { tuned: { path, tensors }, nameInBase }: ModelPairing,
): (tensor: string) => boolean {
  const ends = (path: string, module: string) => path === module || path.endsWith(`.${module}`)
  const isOf = (module: string) => (tensor: string) =>
    ends(ownerOfPath(tensor), module) || ends(ownerOfPath(nameInBase(tensor)), module)
  const names = [...tensors.keys()]
  for (const module of saveFull) {
    if (!names.some(isOf(module))) {
      const owners = new Set(names.map(ownerOfPath))
      throw badInput(
        `${path}: --save-full ${quoted(module)}: there is no such module${didYouMean(module, owners)}`,
        { file: path },
      )
    }
  }
  return (tensor) => saveFull.some((module) => isOf(module)(tensor))
}

interface Carrying {
  readonly layers: readonly PlannedLayer[]
  readonly isAskedWhole: (tensor: string) => boolean
  readonly pairing: ModelPairing
  readonly inModel: ReadonlyMap<string, StoredTensor>
  readonly traits: ModelTraits
}

function chooseSaved(
  left: readonly LeftOut[],
  { layers, isAskedWhole, pairing: { nameInBase }, inModel, traits }: Carrying,
  { carryRest }: ExtractSettings,
) {
  const wanted = left.filter(
    ({ name, tuned: inTuned }) => inTuned !== undefined && (carryRest || isAskedWhole(name)),
  )
  const factored = new Set(layers.map(({ module }) => module.path))
  const { saved, notCarried } = savedModules(
    wanted.map(({ name }) => nameInBase(name)),
    [...inModel.keys()].sort(compareNatural),
    factored,
    traits,
  )
  const carried = new Set(saved.flatMap(({ tensors }) => tensors).map((name) => inModel.get(name)!.name))
  const refused = new Map(notCarried.map(({ name, reason }) => [inModel.get(name)!.name, reason]))
  return {
    saved,
    notCarried: left
      .filter(({ name, tuned: inTuned }) => inTuned === undefined || !carried.has(name))
      .map((one) => (refused.has(one.name) ? { ...one, notWhole: refused.get(one.name)! } : one)),
  }
}

/** bf16 or f16 where all tuned matrices are stored so, else f32. */
function commonDtype(layers: readonly PlannedLayer[]): ExtractionPlan['dtype'] {
  const dtypes = new Set(layers.map(({ pair }) => pair.tuned.dtype))
  const [only] = dtypes
  return dtypes.size === 1 && (only === 'bf16' || only === 'f16') ? only : 'f32'
}
