import { basename } from 'node:path'
import { isHead, isInputEmbedding } from '../../checkpoint/correspondence.ts'
import { openCheckpoint } from '../../checkpoint/open.ts'
import { quantisationOf } from '../../checkpoint/quantised.ts'
import type { Checkpoint, StoredTensor } from '../../checkpoint/types.ts'
import type { Summand } from '../../combine/modules.ts'
import { openSummands } from '../../combine/open.ts'
import { badInput } from '../../errors.ts'
import type { FloatDtype } from '../../formats/dtype.ts'
import {
  floatDtypeOf,
  readableFloatOf,
  type SafetensorsDtype,
  safetensorsDtypeOf,
  storableDtype,
} from '../../formats/safetensors-dtype.ts'
import { isAddress } from '../../io/remote/address.ts'
import type { RunContext } from '../../jobs/context.ts'
import { notLoaded, notLoadedText } from '../../lora/found-by-loaders.ts'
import { matchToBase } from '../../lora/match.ts'
import type { Adapter, IgnoredTensor } from '../../lora/model.ts'
import { refuseActivated } from '../../lora/other-sums.ts'
import { adapterOf } from '../../lora/read/adapter.ts'
import { COPY_OF_BASE } from '../../lora/read/peft.ts'
import { HEADS, type ModelTraits, modelTraits } from '../../lora/traits.ts'
import { counted, quoted } from '../../text/quote.ts'
import type { Change } from '../../update/change.ts'
import { changesOf, type WeightedAdapter } from './changes.ts'
import type { ApplySettings } from './options.ts'
import { tieOf, type Untied, withTiedHead } from './tie.ts'

/** A tensor of the merged checkpoint. */
export interface OutputTensor {
  readonly name: string
  readonly dtype: SafetensorsDtype
  readonly shape: readonly number[]
  /** The base's file that it is in, or would be, by its name, of a pipeline's with the component's folder before it. */
  readonly home: string
  readonly content:
    | { readonly kind: 'same'; readonly tensor: StoredTensor }
    | { readonly kind: 'convert'; readonly tensor: StoredTensor; readonly dtype: FloatDtype }
    | { readonly kind: 'change'; readonly change: Change; readonly dtype: FloatDtype }
}

/** What is to be done, from headers and configs alone. */
export interface ApplyPlan {
  readonly base: Checkpoint
  readonly adapters: readonly (WeightedAdapter & { readonly checkpoint: Checkpoint })[]
  /** All that was opened, the base first. */
  readonly inputs: readonly Checkpoint[]
  readonly changes: readonly Change[]
  /** In the order of the base. */
  readonly tensors: readonly OutputTensor[]
  readonly untied: Untied | undefined
  /** The words of a vocabulary whose length is another now. */
  readonly vocabulary: number | undefined
  /** What the adapters hold and nothing reads. */
  readonly ignored: readonly (IgnoredTensor & { readonly adapter: string })[]
  readonly warnings: readonly string[]
}

/** Opens base and adapters and decides what becomes of each tensor. Throws `bad-input` for what can't be applied, saying why. */
export async function planApply(settings: ApplySettings, context: RunContext): Promise<ApplyPlan> {
  const base = await openCheckpoint(settings.base, context.opening)
  await refuseBase(base)
  const { alpha, alphaZero, init } = settings
  const { summands: adapters, inputs } = await openSummands(
    settings.adapters,
    { alpha, alphaZero, init, config: base.config },
    context,
  )
  for (const { adapter } of adapters) refuseActivated(adapter)
  const { base: withHead, tied } = withTiedHead(base)
  const traits = modelTraits(base.config, base.tensors)
  const { changes: asked, warnings } = await changesOf(
    adapters.flatMap(withBeginning),
    withHead,
    traits,
    settings.prefer,
  )
  const { changes, untied, isUnknown } = await tieOf(asked, tied)
  const tensors = outputTensors(base, changes, untied, traits, settings)
  return {
    ...{ base, adapters, inputs: [base, ...inputs], changes, tensors, untied },
    vocabulary: vocabularyOf(base, tensors),
    ignored: adapters.flatMap(({ adapter: { path, ignored } }) =>
      ignored.filter(({ reason }) => reason !== COPY_OF_BASE).map((one) => ({ ...one, adapter: path })),
    ),
    warnings: [
      ...base.warnings,
      ...adapters.flatMap(({ adapter, checkpoint }) => [
        ...checkpoint.warnings,
        ...adapter.warnings.filter((line) => !SAID_OTHERWISE.test(line)),
        ...notTaken(adapter, withHead, traits),
      ]),
      ...warnings,
      ...(isUnknown
        ? [
            `${base.path}: there is no config.json that tells whether its head is tied to its embedding, which is changed: if so, the head changes with it`,
          ]
        : []),
    ],
  }
}

/** What the plan says in its own words, or has done: DoRA, what is left out, what the training began with. */
const SAID_OTHERWISE = / (?:is|are) DoRA: |^tensor .* is left out: |^init_lora_weights is |^kasa_config is /

/** Modules that the adapter's own loaders would take for nothing, though they are applied here. */
const notTaken = (adapter: Adapter, base: Checkpoint, traits: ModelTraits): string[] =>
  notLoaded(adapter, matchToBase(adapter, base, traits).matched, traits).map(
    (one) =>
      `${adapter.path}: ${notLoadedText(one)} (${counted(one.modules.length, 'module')}, as ${quoted(one.modules[0])}); applied here all the same`,
  )

async function refuseBase(base: Checkpoint): Promise<void> {
  const { path, folder } = base
  if (folder !== undefined && isAddress(folder) && !folder.startsWith('hf://')) {
    throw badInput(
      `${path}: apply copies the files beside the weights, and no list of them can be had over https; name the model on the Hub (hf://org/name), or download it and name its folder`,
      { file: path },
    )
  }
  const quantised = quantisationOf(base)
  if (quantised !== undefined) {
    throw badInput(
      `${path}: is quantised with ${quantised.method}, as ${quoted(quantised.tensor)} shows: its weights are no numbers that something could be added to; apply to the model that it was made from`,
      { file: path, tensor: quantised.tensor },
    )
  }
  if (base.isGguf) {
    throw badInput(
      `${path}: is a GGUF file, and merged checkpoints are safetensors: name the model that it was made from, and convert the result`,
      { file: path },
    )
  }
  const foreign = [...base.tensors.values()].find(({ source }) => source.kind !== 'range')
  if (foreign !== undefined || base.tensors.size === 0) {
    throw badInput(`${path}: is no safetensors checkpoint; convert it to one first`, { file: path })
  }
  if ((await adapterOf(base)) !== undefined) {
    throw badInput(
      `${path}: is an adapter; name the weights that it goes into first, and then the adapters`,
      {
        file: path,
      },
    )
  }
}

/** What an adapter adds: less what it began with, where its training changed the base by that (PiSSA, OLoRA …). */
function withBeginning({ adapter, weight, initial }: Summand): WeightedAdapter[] {
  if (initial === undefined) return [{ adapter, weight }]
  const factorsAlone = { ...initial, replaced: [] }
  return [
    { adapter, weight },
    { adapter: factorsAlone, weight: -weight },
  ]
}

/** All tensors that are written, in the order of the base: what is changed, converted, or as it was. */
function outputTensors(
  base: Checkpoint,
  changes: readonly Change[],
  untied: Untied | undefined,
  traits: ModelTraits,
  { dtype }: ApplySettings,
): OutputTensor[] {
  const byName = new Map(changes.map((change) => [change.name, change]))
  // beside a head of its own the body has the name that it has in the whole model
  const nameOf = (name: string) =>
    untied === undefined || HEADS.test(name) || name.startsWith(traits.prefix) ? name : traits.prefix + name
  const outputOf = (tensor: StoredTensor, change: Change | undefined): OutputTensor => {
    const own = change?.base === undefined && change?.replacement ? change.replacement.tensor : tensor
    const written = writtenAs(own, dtype)
    const place = { name: nameOf(change?.name ?? tensor.name), home: homeOf(tensor, base) }
    const whole = change?.replacement?.tensor
    if (whole !== undefined && whole.dtype === tensor.dtype && readableFloatOf(whole.dtype) === undefined) {
      // counters and the like
      const kept = storableDtype(whole.dtype, whole.name)
      return { ...place, shape: whole.shape, dtype: kept, content: { kind: 'same', tensor: whole } }
    }
    if (change !== undefined) {
      if (written === undefined) throw eightBits(base, tensor)
      return {
        ...{ ...place, shape: change.shape, dtype: safetensorsDtypeOf(written) },
        content: { kind: 'change', change, dtype: written },
      }
    }
    const isSame = written === undefined || floatDtypeOf(tensor.dtype) === written
    return {
      ...{ ...place, shape: tensor.shape },
      dtype: isSame ? storableDtype(tensor.dtype, tensor.name) : safetensorsDtypeOf(written),
      content: isSame ? { kind: 'same', tensor } : { kind: 'convert', tensor, dtype: written },
    }
  }
  const own = [...base.tensors.values()].map((tensor) => outputOf(tensor, byName.get(tensor.name)))
  const added = changes
    .filter(({ name }) => !base.tensors.has(name))
    .map((change) => outputOf(change.base ?? lastOf(base), change))
  return [...own, ...added, ...(untied?.copied ? [outputOf(untied.copied, undefined)] : [])]
}

/** The type of the floats that a tensor is written in; undefined of one that stays as it is. */
function writtenAs({ dtype }: StoredTensor, asked: ApplySettings['dtype']): FloatDtype | undefined {
  if (asked === 'as-base') return floatDtypeOf(dtype)
  return readableFloatOf(dtype) === undefined ? undefined : asked
}

const eightBits = (base: Checkpoint, { name, dtype }: StoredTensor) =>
  badInput(
    `${base.path}: tensor ${quoted(name)} is stored as ${dtype}, in which most of a change would be lost; write it wider, with --dtype bf16, f16 or f32`,
    { file: base.path, tensor: name },
  )

function homeOf({ name, source }: StoredTensor, { components }: Checkpoint): string {
  const file = basename('file' in source ? source.file : '')
  return components === undefined ? file : `${name.slice(0, name.indexOf('.'))}/${file}`
}

const lastOf = ({ tensors }: Checkpoint): StoredTensor => [...tensors.values()].at(-1)!

/** How many words embedding and head have, where that is another number now. Throws where the two disagree. */
function vocabularyOf(base: Checkpoint, tensors: readonly OutputTensor[]): number | undefined {
  const words = tensors.filter(
    ({ name, shape }) => shape.length === 2 && (isHead(name) || isInputEmbedding(name)),
  )
  const isResized = ({ content, shape }: OutputTensor) =>
    content.kind === 'change' &&
    content.change.base !== undefined &&
    content.change.base.shape[0] !== shape[0]
  const resized = words.find(isResized)
  if (resized === undefined) return undefined
  const other = words.find(({ shape }) => shape[0] !== resized.shape[0])
  if (other !== undefined) {
    throw badInput(
      `${base.path}: with the adapter ${quoted(resized.name)} has ${resized.shape[0]} rows and ${quoted(other.name)} has ${other.shape[0]}: an adapter to a vocabulary of another length has to bring both`,
      { file: base.path, tensor: other.name },
    )
  }
  return resized.shape[0]
}
