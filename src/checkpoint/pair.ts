import { basename } from 'node:path'
import { badInput } from '../errors.ts'
import { quoted, shapeText } from '../formats/quote.ts'
import { type NameFilter, nameFilter } from './filter.ts'
import { addTo } from './group.ts'
import { findPrefix, type NameMap } from './prefix.ts'
import { readable, scaledError, scalesOf } from './readable.ts'
import type { Checkpoint, MatrixPair, StoredTensor } from './types.ts'
import { matricesOfView, viewOf } from './view.ts'

export type UnmatchedReason =
  | 'missing-in-base'
  | 'missing-in-tuned'
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
  /** The head of the tuned checkpoint that is paired with the base's embedding, under its own name. */
  readonly tiedHead?: StoredTensor
}

type Named = Pick<Checkpoint, 'path' | 'tensors' | 'config'>

/** The names of embeddings and heads, whose rows are the words of a vocabulary. */
const VOCABULARY = /(embed|wte|lm_head|vocab|(^|\.)shared\.weight$|(^|\.)output\.weight$)/i

/** A head is the tied embedding's transpose in these places of the base. */
const HEAD = /(^|\.)lm_head\.weight$/
const INPUT_EMBEDDING = /(^|\.)(embed_tokens|wte|word_embeddings)\.weight$/

/**
 * Every tensor of two checkpoints that the filter lets through, paired by name where it is a matrix of one shape in both.
 * Where no name at all is in both, a prefix that one has and the other hasn't is looked for; where the base ties its head to
 * its embedding and the tuned one doesn't, the head's base is the embedding. Either gives a warning. Two matrices alone, of .npy
 * or text files, are a pair whatever their names. Throws `bad-input` where
 * the checkpoints have no name in common by any prefix, and as `matricesOf` does.
 */
export function pairMatrices(base: Named, tuned: Named, filter: NameFilter = {}): Pairing {
  const { toBase, warnings } = nameMap(base, tuned)
  const baseNames = new Map([...tuned.tensors.keys()].map((name) => [name, toBase(name)]))
  const taken = new Set(baseNames.values())
  const onlyBase = [...base.tensors.values()].filter(({ name }) => !taken.has(name))
  const names = [...tuned.tensors.keys(), ...onlyBase.map(({ name }) => name)]
  const wanted = nameFilter(filter, names, tuned.path)

  const pairs: MatrixPair[] = []
  const unmatched: Unmatched[] = []
  const head = tiedHead(base, tuned)
  const scales = { base: scalesOf(base.tensors), tuned: scalesOf(tuned.tensors) }
  for (const tensor of tuned.tensors.values()) {
    const { name } = tensor
    if (!wanted.isWanted(name)) continue
    const isTied = name === head?.name
    const other = isTied ? head.embedding : base.tensors.get(baseNames.get(name)!)
    if (isTied) warnings.push(head.warning)
    const isScale = scales.tuned.has(name) || scales.base.has(other?.name ?? '')
    const outcome = pairOf(base, other, tuned, tensor, isScale)
    if (Array.isArray(outcome)) pairs.push(...outcome)
    else unmatched.push(outcome)
  }
  for (const tensor of onlyBase) {
    const { name } = tensor
    if (!wanted.isWanted(name)) continue
    const detail = `only in ${base.path}, ${tensor.dtype} ${shapeText(tensor.shape)}`
    unmatched.push({ name, reason: 'missing-in-tuned', detail, base: tensor })
  }
  return {
    pairs,
    unmatched,
    warnings: [...warnings, ...wanted.warnings],
    ...(head !== undefined && { tiedHead: { ...head.embedding, name: head.name } }),
  }
}

/** What the base calls a tensor of the tuned checkpoint. */
function nameMap(base: Named, tuned: Named): { toBase: NameMap; warnings: string[] } {
  const same: NameMap = (name) => name
  const names = [...tuned.tensors.keys()]
  if (names.length === 0 || base.tensors.size === 0 || names.some((name) => base.tensors.has(name))) {
    return { toBase: same, warnings: [] }
  }
  const prefix = findPrefix([...base.tensors.keys()], names)
  if (prefix !== undefined) {
    const [longer, shorter] = prefix.isOnTuned ? [tuned, base] : [base, tuned]
    const warning = `the names in ${longer.path} begin with ${quoted(prefix.text)}, which those in ${shorter.path} lack: they are paired without it`
    return { toBase: prefix.toBase, warnings: [warning] }
  }
  const [first] = base.tensors.keys()
  if (isLoneArray(base) && isLoneArray(tuned)) return { toBase: () => first, warnings: [] }
  throw badInput(
    `${tuned.path}: has no tensor of the same name as ${base.path} (${quoted(names[0])} here, ${quoted(first)} there): are they the same architecture, in the same format?`,
    { file: tuned.path },
  )
}

/** Whether there is one matrix alone, of a file that gives it no name: it is called as the file is. */
function isLoneArray({ tensors }: Named): boolean {
  const [{ name, source }] = tensors.values()
  const isCalledAsItsFile = 'file' in source ? name === basename(source.file) : source.kind === 'memory'
  return tensors.size === 1 && isCalledAsItsFile
}

/** The head of a tuned checkpoint whose base has none, because it uses its embedding as one. */
function tiedHead(base: Named, tuned: Named) {
  if (base.config?.tie_word_embeddings === false) return undefined
  if ([...base.tensors.keys()].some((name) => HEAD.test(name))) return undefined
  const tensor = [...tuned.tensors.values()].find(({ name }) => HEAD.test(name))
  if (tensor === undefined) return undefined
  const embeddings = [...base.tensors.values()].filter(
    ({ name, shape }) => INPUT_EMBEDDING.test(name) && sameShape(shape, tensor.shape),
  )
  if (embeddings.length !== 1) return undefined
  const [embedding] = embeddings
  const warning = `${base.path}: has no ${quoted(tensor.name)}, as its head is tied to its embedding: ${quoted(embedding.name)} is taken for it`
  return { name: tensor.name, embedding, warning }
}

function pairOf(
  base: Named,
  inBase: StoredTensor | undefined,
  tuned: Named,
  inTuned: StoredTensor,
  isScale: boolean,
): MatrixPair[] | Unmatched {
  const { name } = inTuned
  const unreadable = (path: string, { reason, scales }: { reason: string; scales?: string }) => {
    if (scales !== undefined) throw scaledError(path, name, reason)
    return { ...both, reason: 'dtype' as const, detail: `in ${path}: ${reason}` }
  }
  const described = (tensor: StoredTensor) => `${tensor.dtype} ${shapeText(tensor.shape)}`
  if (inBase === undefined) {
    const detail = `only in ${tuned.path}, ${described(inTuned)}`
    return { name, reason: 'missing-in-base', detail, tuned: inTuned }
  }
  const both = { name, base: inBase, tuned: inTuned }
  if (!sameShape(inBase.shape, inTuned.shape)) {
    const detail = `${shapeText(inBase.shape)} in ${base.path}, ${shapeText(inTuned.shape)} in ${tuned.path}`
    return { ...both, reason: reasonOfShapes(name, inBase.shape, inTuned.shape), detail }
  }
  const view = viewOf(name, inTuned.shape)
  if (view.kind === 'none')
    return { ...both, reason: 'not-a-matrix', detail: `${view.reason}, ${described(inTuned)}` }
  if (isScale) return { ...both, reason: 'dtype', detail: 'the scales of a quantised weight' }
  const [ofBase, ofTuned] = [readable(base.tensors, inBase, name), readable(tuned.tensors, inTuned)]
  if ('reason' in ofTuned) return unreadable(tuned.path, ofTuned)
  if ('reason' in ofBase) return unreadable(base.path, ofBase)
  const [baseMatrices, tunedMatrices] = [
    matricesOfView(inBase, view, ofBase.dtype),
    matricesOfView(inTuned, view, ofTuned.dtype),
  ]
  return tunedMatrices.map((matrix, i) => ({ name: matrix.name, base: baseMatrices[i], tuned: matrix }))
}

function reasonOfShapes(name: string, base: readonly number[], tuned: readonly number[]): UnmatchedReason {
  const isVocabulary =
    VOCABULARY.test(name) && base.length === 2 && tuned.length === 2 && base[1] === tuned[1]
  if (!isVocabulary) return 'shape'
  return tuned[0] > base[0] ? 'grown-vocabulary' : 'shrunk-vocabulary'
}

const sameShape = (a: readonly number[], b: readonly number[]) =>
  a.length === b.length && a.every((n, i) => n === b[i])

/** The pairs of each tensor together: one, but for stacked experts. */
export function pairsByTensor(pairs: readonly MatrixPair[]): MatrixPair[][] {
  const groups = new Map<string, MatrixPair[]>()
  for (const pair of pairs) addTo(groups, pair.tuned.tensor, pair)
  return [...groups.values()]
}
