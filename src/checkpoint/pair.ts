import { basename } from 'node:path'
import { badInput } from '../errors.ts'
import { addTo } from '../text/compare.ts'
import { quoted, shapeText } from '../text/quote.ts'
import { asTied, type Correspondence, correspondence, isComputed, tiedHead } from './correspondence.ts'
import { type NameFilter, nameFilter } from './filter.ts'
import {
  isSameForm,
  matricesOfView,
  readable,
  refuseEmpty,
  scaledError,
  scalesOf,
  viewOf,
} from './matrices.ts'
import type { Checkpoint, MatrixPair, StoredTensor } from './types.ts'

export type UnmatchedReason =
  | 'missing-in-base'
  | 'missing-in-tuned'
  /** Only one has it, or of another shape, and it is a buffer that the model computes itself. */
  | 'computed'
  /** Both have it, of different shapes, and it is no vocabulary. */
  | 'shape'
  /** An embedding or head, with more or fewer rows in the tuned checkpoint and as many columns. */
  | 'grown-vocabulary'
  | 'shrunk-vocabulary'
  /** Of equal shapes, and a vector, a number, or empty: a norm or a bias, for example. */
  | 'not-a-matrix'
  /** Of equal shapes, and one of the two is stored in a dtype that isn't read, or is the scales of one. */
  | 'dtype'

/** A tensor that gives no pair of matrices. `base` and `tuned` are there where the checkpoints have it. */
export interface Unmatched {
  readonly name: string
  readonly reason: UnmatchedReason
  /** For a person: what differs, or why it is no matrix. */
  readonly detail: string
  readonly base?: StoredTensor
  readonly tuned?: StoredTensor
}

export interface Pairing {
  /** In the order of the tuned checkpoint; named as there. */
  readonly pairs: readonly MatrixPair[]
  /** In the order of the tuned checkpoint, and then what only the base has. */
  readonly unmatched: readonly Unmatched[]
  readonly warnings: readonly string[]
  /** The tuned checkpoint, with the head under its own name where it is tied to the embedding and the base's isn't. */
  readonly tuned: Pick<Checkpoint, 'path' | 'tensors'>
  /** The head of the tuned checkpoint that is paired with the base's embedding, under its own name. */
  readonly tiedHead?: StoredTensor
  /** Whether the filter lets a tensor through, by its name here. */
  readonly isWanted: (name: string) => boolean
  /** What the base calls, or would call, a tensor of the tuned checkpoint. */
  readonly nameInBase: (name: string) => string
}

type Named = Pick<Checkpoint, 'path' | 'tensors' | 'config'>

/** The names of embeddings and heads, whose rows are the words of a vocabulary. */
const VOCABULARY = /(embed|wte|lm_head|vocab|(^|\.)shared\.weight$|(^|\.)output\.weight$)/i

/** Whether a tensor is an embedding or a head, by its name. */
export const isVocabulary = (name: string) => VOCABULARY.test(name)

/**
 * Every tensor of two checkpoints that the filter lets through (all, with `keepsAll`), paired where it is a matrix of one shape in both: by its name,
 * or as `correspondence` finds names that differ by prefixes and wrappers. Where one of the two ties its head to its embedding
 * and the other doesn't, the one's embedding is its head. Each gives a warning. Two matrices alone, of .npy or text
 * files, are a pair whatever their names. Throws `bad-input` where the checkpoints have no tensor in common, where weights are
 * empty, and as `matricesOf` does.
 */
export function pairMatrices(
  base: Named,
  tunedAsStored: Named,
  filter: NameFilter = {},
  keepsAll = false,
): Pairing {
  const tied = asTied(base, tunedAsStored)
  const { tuned } = tied
  const { inBase, nameInBase, warnings } = correspondenceOf(base, tuned)
  const head = tiedHead(base, tuned, inBase)
  const taken = new Set([...inBase.values(), head?.embedding.name])
  const onlyBase = [...base.tensors.values()].filter(({ name }) => !taken.has(name))
  const names = [...tuned.tensors.keys(), ...onlyBase.map(({ name }) => name)]
  const wanted = nameFilter(filter, names, tuned.path)

  const pairs: MatrixPair[] = []
  const unmatched: Unmatched[] = []
  const all = [...tied.warnings, ...warnings]
  const scales = { base: scalesOf(base.tensors), tuned: scalesOf(tuned.tensors) }
  for (const tensor of tuned.tensors.values()) {
    const { name } = tensor
    const isWanted = wanted.isWanted(name)
    if (!isWanted && !keepsAll) continue
    const isTied = name === head?.name
    const other = isTied ? head.embedding : base.tensors.get(inBase.get(name) ?? '')
    if (isTied) all.push(head.warning)
    const isScale = scales.tuned.has(name) || scales.base.has(other?.name ?? '')
    const outcome = pairOf(base, other, tuned, tensor, { isScale, isWanted })
    if (Array.isArray(outcome)) pairs.push(...outcome)
    else unmatched.push(outcome)
  }
  for (const tensor of onlyBase) {
    const isWanted = wanted.isWanted(tensor.name)
    if (isWanted || keepsAll) unmatched.push(alone(tensor, base.path, 'missing-in-tuned', isWanted))
  }
  return {
    pairs,
    unmatched,
    warnings: [...all, ...wanted.warnings],
    tuned,
    isWanted: wanted.isWanted,
    ...(head !== undefined && { tiedHead: { ...head.embedding, name: head.name } }),
    nameInBase: (name) => (name === head?.name ? name : (inBase.get(name) ?? nameInBase(name))),
  }
}

function correspondenceOf(base: Named, tuned: Named): Correspondence {
  const found = correspondence(base, tuned)
  if (found.inBase.size > 0 || base.tensors.size === 0 || tuned.tensors.size === 0) return found
  const [[first], [name]] = [[...base.tensors.keys()], [...tuned.tensors.keys()]]
  if (isLoneArray(base) && isLoneArray(tuned)) return { ...found, inBase: new Map([[name, first]]) }
  throw badInput(
    `${tuned.path}: has no tensor of the same name as ${base.path} (${quoted(name)} here, ${quoted(first)} there): are they the same architecture, in the same format?`,
    { file: tuned.path },
  )
}

/** Whether there is one matrix alone, of a file that gives it no name: it is called as the file is. */
function isLoneArray({ tensors }: Named): boolean {
  const [{ name, source }] = tensors.values()
  const isCalledAsItsFile = 'file' in source ? name === basename(source.file) : source.kind === 'memory'
  return tensors.size === 1 && isCalledAsItsFile
}

const described = (tensor: StoredTensor) => `${tensor.dtype} ${shapeText(tensor.shape)}`

function alone(
  tensor: StoredTensor,
  path: string,
  reason: 'missing-in-base' | 'missing-in-tuned',
  isWanted: boolean,
): Unmatched {
  if (isWanted) refuseEmpty(path, tensor)
  const side = reason === 'missing-in-base' ? { tuned: tensor } : { base: tensor }
  const detail = `only in ${path}, ${described(tensor)}`
  return isComputed(tensor)
    ? { name: tensor.name, reason: 'computed', detail: `${detail}; ${COMPUTED}`, ...side }
    : { name: tensor.name, reason, detail, ...side }
}

const COMPUTED = 'the model computes it itself'

function pairOf(
  base: Named,
  inBase: StoredTensor | undefined,
  tuned: Named,
  inTuned: StoredTensor,
  { isScale, isWanted }: { readonly isScale: boolean; readonly isWanted: boolean },
): MatrixPair[] | Unmatched {
  const { name } = inTuned
  const unreadable = (path: string, { reason, scales }: { reason: string; scales?: string }) => {
    if (scales !== undefined && isWanted) throw scaledError(path, name, reason)
    return { ...both, reason: 'dtype' as const, detail: `in ${path}: ${reason}` }
  }
  if (inBase === undefined) return alone(inTuned, tuned.path, 'missing-in-base', isWanted)
  const both = { name, base: inBase, tuned: inTuned }
  if (isWanted) {
    refuseEmpty(base.path, inBase)
    refuseEmpty(tuned.path, inTuned)
  }
  if (!isSameForm(inBase.shape, inTuned.shape)) {
    const detail = `${shapeText(inBase.shape)} in ${base.path}, ${shapeText(inTuned.shape)} in ${tuned.path}`
    return isComputed(inTuned)
      ? { ...both, reason: 'computed', detail: `${detail}; ${COMPUTED}` }
      : { ...both, reason: reasonOfShapes(name, inBase.shape, inTuned.shape), detail }
  }
  const view = viewOf(name, inTuned.shape)
  if (view.kind === 'none')
    return { ...both, reason: 'not-a-matrix', detail: `${view.reason}, ${described(inTuned)}` }
  if (isScale) return { ...both, reason: 'dtype', detail: 'the scales of a quantised weight' }
  const [ofBase, ofTuned] = [readable(base.tensors, inBase, name), readable(tuned.tensors, inTuned)]
  if ('reason' in ofTuned) return unreadable(tuned.path, ofTuned)
  if ('reason' in ofBase) return unreadable(base.path, ofBase)
  const [baseMatrices, tunedMatrices] = [
    matricesOfView(inBase, viewOf(name, inBase.shape), ofBase.dtype),
    matricesOfView(inTuned, view, ofTuned.dtype),
  ]
  return tunedMatrices.map((matrix, i) => ({ name: matrix.name, base: baseMatrices[i], tuned: matrix }))
}

function reasonOfShapes(name: string, base: readonly number[], tuned: readonly number[]): UnmatchedReason {
  const isOfWords = isVocabulary(name) && base.length === 2 && tuned.length === 2 && base[1] === tuned[1]
  if (!isOfWords) return 'shape'
  return tuned[0] > base[0] ? 'grown-vocabulary' : 'shrunk-vocabulary'
}

/** The pairs of each tensor together: one, but for stacked experts. */
export function pairsByTensor(pairs: readonly MatrixPair[]): MatrixPair[][] {
  const groups = new Map<string, MatrixPair[]>()
  for (const pair of pairs) addTo(groups, pair.tuned.tensor, pair)
  return [...groups.values()]
}
