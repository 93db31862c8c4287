import { bringBeginningsNear, type ModelPairing, pairModels, sameNumbers } from '../../checkpoint/models.ts'
import { pairsByTensor, type Unmatched } from '../../checkpoint/pair.ts'
import { refuseNonFiniteNumbers, refuseNonFiniteTensor } from '../../checkpoint/read.ts'
import type { Checkpoint, MatrixPair, StoredTensor, WeightMatrix } from '../../checkpoint/types.ts'
import type { DraftedPair } from '../../convert/pairs.ts'
import { badInput } from '../../errors.ts'
import type { FloatDtype } from '../../formats/dtype.ts'
import { readableFloatOf } from '../../formats/safetensors-dtype.ts'
import { readFloats } from '../../lora/factors.ts'
import type { NoModule } from '../../lora/kinds.ts'
import { peftModule } from '../../lora/kinds.ts'
import type { SavedModule, TargetModule } from '../../lora/model.ts'
import { type ModelTraits, modelTraits } from '../../lora/traits.ts'
import { addTo, compareNatural } from '../../text/compare.ts'
import { quoted } from '../../text/quote.ts'
import { asideIn, type Destination, destinationOf, diffusionModule } from './destination.ts'
import { chooseExact, type ExactPart } from './exact.ts'
import type { PlannedMoments } from './moments.ts'
import type { ExtractSettings } from './options.ts'
import { placeLayers } from './placing.ts'
import type { LeftReason } from './result.ts'
import { chooseSaved, wholeTest } from './saved.ts'
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
  readonly destination: Destination
  /** The modules of the destination's format that the layers are; none for PEFT's, which go by the layers' own. */
  readonly drafts: readonly DraftedPair[]
  /** Differences that are added as they are, where the format is ComfyUI's. */
  readonly exact: readonly ExactPart[]
  /** What weighs the layers, where it was given. */
  readonly moments?: PlannedMoments
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
  destination: Destination = destinationOf(base, tunedAsStored, options),
): Promise<ExtractionPlan> {
  const pairing = withoutAside(
    await pairModels(base, tunedAsStored, { ...options, keepsAll: true }),
    destination,
    options,
  )
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
      const because =
        asideIn(destination, name, options) ??
        (!isWanted(name) || reason === 'shape' ? LEFT_OUT : { kind: reason })
      const sides = { ...(inBase && { base: inBase }), ...(inTuned && { tuned: inTuned }) }
      left.push({ name, because, ...sides, isLost: lost.has(one) })
    }
  }
  const isAskedWhole = wholeTest(options.saveFull, pairing)
  const moduleOf = (name: string, { view, storedShape }: WeightMatrix): TargetModule | LeftReason =>
    destination.layouts.length > 0
      ? diffusionModule(name, view, storedShape, options)
      : moduleOrNone(peftModule(name, view, storedShape, traits, options))
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
    const module =
      asideIn(destination, name, options) ??
      (isAskedWhole(inTuned.name)
        ? ({ kind: 'asked-whole' } as const)
        : isWanted(inTuned.name)
          ? moduleOf(name, first)
          : LEFT_OUT)
    if (!('rows' in module)) {
      left.push({ name: inTuned.name, because: module, base: inBase, tuned: inTuned, isLost: false })
    } else layers.push(...pairs.map((pair, expert) => ({ pair, module, expert })))
  }

  const placing =
    destination.format === 'peft' ? undefined : placeLayers(layers, destination, { base, traits })
  for (const { pair, module, expert } of layers) {
    const reason = placing?.refused.get(module.tensor)
    if (reason === undefined || expert > 0) continue
    const sides = { base: base.tensors.get(pair.base.tensor)!, tuned: tuned.tensors.get(pair.tuned.tensor)! }
    left.push({ name: sides.tuned.name, because: { kind: 'no-place', reason }, ...sides, isLost: false })
  }
  const placed = placing?.layers ?? layers
  const inModel = tensorsInModel(pairing)
  const carrying = { layers: placed, isAskedWhole, pairing, inModel, traits }
  const { saved, exact, notCarried } =
    placing === undefined
      ? { ...chooseSaved(byName(left), carrying, options), exact: [] }
      : { saved: [], ...chooseExact(byName(left), destination, carrying, options) }
  if (placed.length === 0 && saved.length + exact.length === 0) throw nothingToDo(base, tuned, left)
  for (const name of saved.flatMap(({ tensors }) => tensors)) {
    const tensor = inModel.get(name)!
    const isFloat = readableFloatOf(tensor.dtype) !== undefined
    if (isFloat) refuseNonFiniteNumbers(tuned.path, name, await readFloats(tensor))
  }
  for (const { base: before, tuned: after } of exact) {
    refuseNonFiniteNumbers(tuned.path, after.name, await readFloats(after))
    refuseNonFiniteNumbers(base.path, before.name, await readFloats(before))
  }
  return {
    base,
    tuned,
    inModel,
    traits,
    layers: placed,
    saved,
    unchanged: unchanged.sort(compareNatural),
    notCarried,
    ...matchingOf(pairing, notCarried),
    dtype: options.dtype ?? commonDtype(placed),
    destination,
    drafts: placing?.drafts ?? [],
    exact,
    warnings: [
      ...[...base.warnings, ...tuned.warnings, ...pairing.warnings],
      ...[...(placing?.warnings ?? []), ...destination.warnings],
    ],
  }
}

/** A pairing in which what has no place in adapters of diffusion models is no loss, be it in one of the two alone. */
function withoutAside(
  pairing: ModelPairing,
  destination: Destination,
  options: ExtractSettings,
): ModelPairing {
  const lost = new Set(
    [...pairing.lost].filter(({ name }) => asideIn(destination, name, options) === undefined),
  )
  return { ...pairing, lost, matched: pairing.matched + pairing.lost.size - lost.size }
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

/** bf16 or f16 where all tuned matrices are stored so, else f32. */
function commonDtype(layers: readonly PlannedLayer[]): ExtractionPlan['dtype'] {
  const dtypes = new Set(layers.map(({ pair }) => pair.tuned.dtype))
  const [only] = dtypes
  return dtypes.size === 1 && (only === 'bf16' || only === 'f16') ? only : 'f32'
}
