import type { Checkpoint, StoredTensor } from '../../checkpoint/types.ts'
import { badInput } from '../../errors.ts'
import { readableFloatOf } from '../../formats/safetensors-dtype.ts'
import { biasOf } from '../../lora/base-names.ts'
import type { Rows } from '../../lora/families/types.ts'
import { placedRows } from '../../lora/fit.ts'
import { matchToBase } from '../../lora/match.ts'
import { type Adapter, type AdapterModule, blamed, type ReplacedTensor } from '../../lora/model.ts'
import { HEADS, type ModelTraits } from '../../lora/traits.ts'
import { quoted, shapeText } from '../../text/quote.ts'
import type { Change, DenseTerm, FactorTerm, Replacement } from '../../update/change.ts'
import { isOverlapping, rescaleOf } from '../../update/dora.ts'
import { assertRows, isSameLength, matrixOf, misfit, oneOf, replacing } from './replaced.ts'

/** An adapter and by what its change is multiplied. */
export interface WeightedAdapter {
  readonly adapter: Adapter
  readonly weight: number
}

export interface AskedDense extends DenseTerm {
  /** It is a difference of the weight itself. */
  readonly isExact: boolean
  /** The rows of the weight that it changes, where those are not all. */
  readonly rows?: Rows
}

/** What the adapters ask of one tensor, before it is known whether that can be. */
interface Asked {
  readonly name: string
  readonly base: StoredTensor | undefined
  readonly factors: FactorTerm[]
  readonly dense: AskedDense[]
  readonly replacements: Replacement[]
}

export interface Changes {
  readonly changes: readonly Change[]
  readonly warnings: readonly string[]
}

/**
 * What becomes of each tensor that the adapters change; `base` has the head too where it is tied. Throws `bad-input` where a module
 * matches no tensor, where what is asked of one tensor can't be told from one another, and where shapes don't fit.
 */
export async function changesOf(
  adapters: readonly WeightedAdapter[],
  base: Checkpoint,
  traits: ModelTraits,
  prefer: 'first' | 'last' | undefined,
): Promise<Changes> {
  const asked = new Map<string, Asked>()
  const warnings: string[] = []
  const of = (name: string): Asked => {
    const known = asked.get(name) ?? {
      ...{ name, base: base.tensors.get(name) },
      ...{ factors: [], dense: [], replacements: [] },
    }
    asked.set(name, known)
    return known
  }
  for (const { adapter, weight } of adapters) {
    const { path } = adapter
    const match = matchToBase(adapter, base, traits)
    warnings.push(...match.warnings)
    const [lost] = match.unmatched
    if (lost !== undefined) {
      const { module, reason } = lost
      throw refusal(
        path,
        `the module ${quoted(module.label)} can't be applied to ${base.path}: ${reason}`,
        module,
      )
    }
    for (const { module, base: tensor } of match.matched) {
      of(tensor.name).factors.push({ module, weight, path })
      addBias(module, tensor, { base, path, weight, of })
    }
    for (const { replaced, base: tensor } of match.replaced) {
      ask(of, replaced, tensor, { path, weight, base })
      if (tensor === undefined) warnings.push(newHead(path, replaced.name, base))
    }
  }
  const changes: Change[] = []
  for (const one of asked.values()) {
    const change = await settled(one, base, prefer, warnings)
    if (change !== undefined) changes.push(change)
  }
  return { changes, warnings }
}

interface Asking {
  readonly path: string
  readonly weight: number
  readonly base: Checkpoint
}

/** lora_B.bias changes the base's bias by scale·bias (PEFT, tuners/lora/layer.py, merge). */
function addBias(
  { bias, scale, label, fit }: AdapterModule,
  weight: StoredTensor,
  { base, path, weight: by, of }: Asking & { readonly of: (name: string) => Asked },
): void {
  if (bias === undefined) return
  const name = biasOf(weight.name)
  if (name === weight.name || !base.tensors.has(name)) {
    throw badInput(
      `${path}: the module ${quoted(label)} has a bias of its own, and ${base.path} has none that it could be added to`,
      { file: path, tensor: bias.name },
    )
  }
  of(name).dense.push(
    ...denseTerms(bias, fit, base.tensors.get(name)!, { factor: by * scale, path, isExact: false }),
  )
}

/** A tensor as it is added to one of the base, in pieces where it has other rows. */
const denseTerms = (
  tensor: StoredTensor,
  fit: AdapterModule['fit'],
  { shape }: StoredTensor,
  term: Pick<AskedDense, 'factor' | 'path' | 'isExact'>,
): AskedDense[] =>
  placedRows(tensor, fit).map(({ tensor: piece, row }) => ({
    ...{ ...term, tensor: piece, first: row * elementsOf(shape.slice(1)) },
    ...(fit !== undefined && { rows: [row, row + piece.shape[0]] as const }),
  }))

const elementsOf = (shape: readonly number[]) => shape.reduce((product, n) => product * n, 1)

function ask(
  of: (name: string) => Asked,
  { name, tensor, how, rows, fit }: ReplacedTensor,
  base: StoredTensor | undefined,
  { path, weight, base: checkpoint }: Asking,
): void {
  if (readableFloatOf(tensor.dtype) === undefined && base?.dtype !== tensor.dtype) {
    throw badInput(
      `${path}: tensor ${quoted(tensor.name)} is stored as ${tensor.dtype}; weights are floats`,
      {
        ...{ file: path, tensor: tensor.name },
      },
    )
  }
  if (how === 'add') {
    if (base === undefined) throw nowhere(path, tensor, checkpoint)
    of(base.name).dense.push(...denseTerms(tensor, fit, base, { factor: weight, path, isExact: true }))
    return
  }
  if (base === undefined && !HEADS.test(name)) throw nowhere(path, tensor, checkpoint)
  if (weight !== 1) {
    throw badInput(
      `${path}: tensor ${quoted(tensor.name)} takes the place of the base's, which has no share of ${weight}; give this adapter the weight 1`,
      { file: path, tensor: tensor.name },
    )
  }
  if (rows !== undefined) assertRows(path, tensor, rows, base)
  of(base?.name ?? name).replacements.push({ tensor, path, ...(rows !== undefined && { rows }) })
}

const newHead = (path: string, name: string, base: Checkpoint) =>
  `${path}: brings ${quoted(name)}, a head that ${base.path} has not: it is written beside the rest; load the result as the class of model that the adapter was trained with`

const nowhere = (path: string, tensor: StoredTensor, base: Checkpoint) =>
  badInput(
    `${path}: the tensor ${quoted(tensor.name)} can't be applied to ${base.path}: no tensor of the base has this name, or several may be meant`,
    { file: path, tensor: tensor.name },
  )

async function settled(
  { name, base, factors, dense, replacements }: Asked,
  checkpoint: Checkpoint,
  prefer: 'first' | 'last' | undefined,
  warnings: string[],
): Promise<Change | undefined> {
  refuseMixed({ name, factors, dense, replacements })
  const replacement = await oneOf(name, replacements, prefer)
  if (replacement !== undefined) return replacing(name, base, replacement, checkpoint)
  const tensor = base!
  const form = formOf(tensor, factors)
  for (const added of dense) {
    const { rows: [from, to] = [0, tensor.shape[0]] } = added
    const own =
      tensor.shape.length === 0 ? tensor : { ...tensor, shape: [to - from, ...tensor.shape.slice(1)] }
    if (!isSameLength(added.tensor, own)) throw misfit(added.path, added.tensor, tensor)
  }
  const rescale = rescaleOf(name, factors, dense, warnings)
  const terms = (rescale?.factors ?? factors).filter(({ weight }) => weight !== 0)
  const added = dense.filter(({ factor }) => factor !== 0).map(({ isExact, rows, ...term }) => term)
  if (terms.length + added.length === 0 && rescale === undefined) return undefined
  return {
    ...{ name, base: tensor, shape: tensor.shape, ...form },
    factors: terms,
    dense: added,
    ...(rescale !== undefined && { rescale: rescale.rescale }),
  }
}

/** What can be asked of one tensor only one at a time. */
function refuseMixed({ name, factors, dense, replacements }: Omit<Asked, 'base'>): void {
  const [replacement] = replacements
  const [first] = [...factors, ...dense]
  if (replacement !== undefined && first !== undefined) {
    throw badInput(
      `${replacement.path}: ${quoted(replacement.tensor.name)} takes the place of ${quoted(name)}, which ${first.path === replacement.path ? 'it' : first.path} changes too: only one of the two can be meant`,
      { file: replacement.path, tensor: replacement.tensor.name },
    )
  }
  const isOfFactors = (one: AskedDense) =>
    factors.some(({ path, module }) => path === one.path && isOverlapping(module, one))
  const both = dense.find((one) => one.isExact && isOfFactors(one))
  if (both !== undefined) {
    throw badInput(
      `${both.path}: has factors and ${quoted(both.tensor.name)} for one weight, ${quoted(name)}: ComfyUI takes the latter alone, others add them; leave one out`,
      { file: both.path, tensor: both.tensor.name },
    )
  }
}

/** How the factors see the tensor. Throws where two adapters' see it differently. */
function formOf(tensor: StoredTensor, factors: readonly FactorTerm[]) {
  const [first, ...others] = factors
  if (first === undefined) return matrixOf(tensor.shape)
  const form = ({ module: { experts, rows, columns } }: FactorTerm) => ({ matrices: experts, rows, columns })
  const other = others.find((one) => JSON.stringify(form(one)) !== JSON.stringify(form(first)))
  if (other === undefined) return form(first)
  throw badInput(
    `${other.path}: takes ${quoted(tensor.name)} ${shapeText(tensor.shape)} for other matrices than ${first.path} does; apply them one after the other`,
    { file: other.path, tensor: tensor.name },
  )
}

const refusal = (path: string, problem: string, module: AdapterModule) =>
  badInput(`${path}: ${problem}`, { file: path, tensor: blamed(module, 'A').name })
