import { isComputed } from '../../checkpoint/correspondence.ts'
import { matricesOf } from '../../checkpoint/matrices.ts'
import { pairModels } from '../../checkpoint/models.ts'
import { type OpenOptions, openCheckpoint } from '../../checkpoint/open.ts'
import { forEachChunk } from '../../checkpoint/read.ts'
import type { Checkpoint, MatrixPair, Skipped, StoredTensor, WeightMatrix } from '../../checkpoint/types.ts'
import { badInput, badUsage } from '../../errors.ts'
import { floatDtypeOf } from '../../formats/safetensors-dtype.ts'
import { firstNonFinite } from '../../linalg/matrix/norms.ts'
import type { LoaderScale } from '../../lora/loader-scales.ts'
import type { Adapter, AdapterModule } from '../../lora/model.ts'
import { adapterOf } from '../../lora/read/adapter.ts'
import { inNamesOf, refuseGgufBase } from '../../lora/read/gguf-base.ts'
import { modelTraits } from '../../lora/traits.ts'
import { matchMoments } from '../../moments/match.ts'
import { openMoments } from '../../moments/open.ts'
import type { LayerMoments, MomentFile } from '../../moments/types.ts'
import type { Matching } from '../../report/notes.ts'
import type { InspectSettings } from './options.ts'
import type { NonFinite } from './result.ts'

/** The NaN and infinite entries of what is no matrix: of norms and biases, for example; undefined where there are none. */
export async function nonFiniteOf({ path, tensor }: Other): Promise<NonFinite | undefined> {
  const entries = await nonFiniteEntriesOf(tensor)
  return entries && { name: tensor.name, file: path, ...entries }
}

async function nonFiniteEntriesOf(
  tensor: StoredTensor,
): Promise<Omit<NonFinite, 'name' | 'file'> | undefined> {
  let count = 0
  let first: NonFinite['first'] | undefined
  const columns = Math.max(1, tensor.shape.at(-1) ?? 1)
  await forEachChunk(tensor, (numbers, start) => {
    const at = firstNonFinite(numbers)
    if (at < 0) return
    first ??= {
      row: Math.floor((start + at) / columns) + 1,
      column: ((start + at) % columns) + 1,
      value: String(numbers[at]),
    }
    for (let i = at; i < numbers.length; i++) if (numbers[i] - numbers[i] !== 0) count++
  })
  return first === undefined ? undefined : { count, first }
}

/** One matrix to look at: of a checkpoint, of two, or a product of an adapter. Plain data. */
export type Subject =
  | { readonly kind: 'weights'; readonly name: string; readonly weight: WeightMatrix }
  | ({ readonly kind: 'delta' } & MatrixPair)
  | {
      readonly kind: 'adapter'
      readonly name: string
      readonly module: AdapterModule
      /** Which matrix of a stack of experts. */
      readonly expert?: number
      /** What it is added to, where a base was given. */
      readonly base?: WeightMatrix
    }

/** What was opened, and all there is to look at in it. Only headers have been read. */
export interface Subjects {
  readonly kind: Subject['kind']
  readonly subjects: readonly Subject[]
  readonly skipped: readonly Skipped[]
  readonly warnings: readonly string[]
  readonly adapter?: Adapter
  /** Of an adapter: what loaders multiply a module of it by. */
  readonly scalesOf?: (module: AdapterModule) => LoaderScale[]
  /** Of a delta: how many tensors have their counterpart, and how many not. */
  readonly matching?: Matching
  /** What is no matrix, or is alone: looked at for NaN and infinity only. */
  readonly others: readonly Other[]
  readonly inputs: readonly Checkpoint[]
  /** Of a delta: the moments of the inputs of each subject, where it has them. */
  readonly moments?: SubjectMoments
}

/** The moments of the inputs of each subject. */
export interface SubjectMoments {
  readonly file: MomentFile
  readonly ofLayers: readonly (LayerMoments | undefined)[]
}

/** A tensor, and the checkpoint that it is in as messages call it. */
export interface Other {
  readonly path: string
  readonly tensor: StoredTensor
}

/** Opens what the settings name. Throws `bad-input` where it isn't there, is broken, or holds no matrix that is asked for. */
export async function openSubjects(settings: InspectSettings, surroundings: OpenOptions): Promise<Subjects> {
  const opening = { ...surroundings, header: settings.header }
  const stored = await openCheckpoint(settings.path, opening)
  const storedBase = settings.base === undefined ? undefined : await openCheckpoint(settings.base, opening)
  const adapter = await adapterOf(stored, { alpha: settings.alpha, model: storedBase?.config })
  const { checkpoint, base } = await inOneLanguage(stored, storedBase, adapter)
  if (base !== undefined && (await adapterOf(base)) !== undefined) {
    throw badUsage(`--base ${settings.base} is an adapter; name the weights that it was trained on`)
  }
  const found =
    adapter !== undefined
      ? await ofAdapter(adapter, base, settings)
      : base === undefined
        ? ofWeights(checkpoint, settings)
        : await ofDelta(base, checkpoint, settings)
  if (found.subjects.length === 0) throw nothingToSee(settings, found.skipped)
  const inputs = base === undefined ? [checkpoint] : [checkpoint, base]
  const warnings = [
    ...inputs.flatMap((input) => input.warnings),
    ...found.warnings,
    ...unusedAlpha(settings, adapter),
  ]
  const moments = await momentsOf(settings.moments, found, base, checkpoint, opening)
  return { ...found, inputs, warnings, ...(moments !== undefined && { moments }) }
}

/** The moments of a delta's matrices, where a file of them is given. Throws `bad-usage` for an adapter, and as `matchMoments` does. */
async function momentsOf(
  path: string | undefined,
  { kind, subjects }: Found,
  base: Checkpoint | undefined,
  tuned: Checkpoint,
  opening: OpenOptions,
): Promise<SubjectMoments | undefined> {
  if (path === undefined) return undefined
  if (kind !== 'delta' || base === undefined) {
    throw badUsage(
      '--moments is for the change between two models; of an adapter verify and resize tell what inputs feel',
    )
  }
  const file = await openMoments(path, opening)
  const config = base.config ?? tuned.config
  const traits = modelTraits(config, base.tensors)
  const layers = subjects.flatMap((subject) => {
    if (subject.kind !== 'delta') return []
    const { base: before, tuned: after } = subject
    const expert = /\[(\d+)\]$/.exec(after.view === 'expert' ? after.name : '')?.[1]
    const experts = expert === undefined ? undefined : tuned.tensors.get(after.tensor)?.shape[0]
    return [
      {
        tensors: [before.tensor, after.tensor],
        ...{ rows: after.rows, columns: after.columns },
        isTransposed:
          expert === undefined
            ? traits.isConv1d(before.tensor.replace(/\.weight$/, '')) === true
            : traits.expertsInOut,
        ...(expert !== undefined && { expert: Number(expert) }),
        ...(experts !== undefined && { experts }),
      },
    ]
  })
  return { file, ofLayers: matchMoments(file, layers, { path: base.path, config }) }
}

/** Weights and base under the same names: of a GGUF file and another checkpoint, those of the latter. */
async function inOneLanguage(
  checkpoint: Checkpoint,
  base: Checkpoint | undefined,
  adapter: Adapter | undefined,
): Promise<{ checkpoint: Checkpoint; base: Checkpoint | undefined }> {
  if (base === undefined || checkpoint.isGguf === base.isGguf) return { checkpoint, base }
  if (adapter !== undefined) {
    refuseGgufBase(base, adapter)
    return { checkpoint, base }
  }
  return base.isGguf
    ? { checkpoint, base: await inNamesOf(base, checkpoint) }
    : { checkpoint: await inNamesOf(checkpoint, base), base }
}

/** An --alpha that was of no use. */
function unusedAlpha({ path, alpha }: InspectSettings, adapter: Adapter | undefined): string[] {
  if (alpha === undefined || adapter?.modules.some((module) => module.alpha === alpha)) return []
  const why = adapter === undefined ? `${path} is no adapter` : `${path} says its own`
  return [`--alpha ${alpha} is left aside: ${why}`]
}

type Found = Omit<Subjects, 'inputs'>

function ofWeights(checkpoint: Checkpoint, filter: InspectSettings): Found {
  const { matrices, skipped, warnings } = matricesOf(checkpoint, filter)
  const subjects = matrices.map((weight) => ({ kind: 'weights' as const, name: weight.name, weight }))
  const names = new Set(skipped.map(({ name }) => name))
  const tensors = [...checkpoint.tensors.values()].filter(({ name }) => names.has(name))
  return { kind: 'weights', subjects, skipped, warnings, others: othersOf(checkpoint.path, tensors) }
}

async function ofDelta(base: Checkpoint, tuned: Checkpoint, settings: InspectSettings): Promise<Found> {
  const { pairs, unmatched, warnings, matched, lost } = await pairModels(base, tuned, settings)
  return {
    kind: 'delta',
    subjects: pairs.map((pair) => ({ kind: 'delta', ...pair })),
    skipped: unmatched.map(({ name, detail }) => ({ name, reason: detail })),
    warnings,
    matching: { matched, unmatched: lost.size },
    others: [
      ...othersOf(
        base.path,
        unmatched.flatMap((one) => one.base ?? []),
      ),
      ...othersOf(
        tuned.path,
        unmatched.flatMap((one) => one.tuned ?? []),
      ),
    ],
  }
}

/** Those of numbers that a model was trained to; masks of it may hold −∞. */
const othersOf = (path: string, tensors: readonly StoredTensor[]): Other[] =>
  tensors
    .filter((tensor) => floatDtypeOf(tensor.dtype) !== undefined && !isComputed(tensor))
    .map((tensor) => ({ path, tensor }))

/** What there is to tell of adapters, of their loaders too, is loaded when there is one. */
async function ofAdapter(
  adapter: Adapter,
  base: Checkpoint | undefined,
  settings: InspectSettings,
): Promise<Found> {
  const { adapterSubjects } = await import('./adapter-subjects.ts')
  const replaced = adapter.replaced.map(({ tensor }) => tensor)
  const others = othersOf(adapter.path, replaced)
  return { kind: 'adapter', adapter, others, ...adapterSubjects(adapter, base, settings) }
}

function nothingToSee({ path, include, exclude }: InspectSettings, skipped: readonly Skipped[]) {
  const isFiltered = include.length > 0 || exclude.length > 0
  const [first] = skipped
  const why = first === undefined ? '' : `: ${first.name}: ${first.reason}`
  return badInput(
    `${path}: holds no matrix${isFiltered ? ' that --include and --exclude let through' : ''} to look at${why}`,
    { file: path },
  )
}
