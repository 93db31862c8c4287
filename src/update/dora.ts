import { elementCount } from '../checkpoint/read.ts'
import type { StoredTensor } from '../checkpoint/types.ts'
import { badInput } from '../errors.ts'
import type { Rows } from '../lora/families/types.ts'
import { overlap, placedRows, rowsReached } from '../lora/fit.ts'
import type { AdapterModule } from '../lora/model.ts'
import { quoted, shapeText } from '../text/quote.ts'
import type { FactorTerm, Rescale } from './change.ts'

/**
 * What LyCORIS adds to each norm (modules/locon.py, apply_weight_decompose): the machine epsilon of the type it computes in, which is
 * float32 in training whatever the file has.
 */
const LYCORIS_EPSILON = 2 ** -23

/** The sum that is rescaled, and how. */
export interface Dora {
  readonly rescale: Rescale
  readonly factors: readonly FactorTerm[]
}

/** Whether a module changes rows of its weight that a difference changes too. */
export const isOverlapping = ({ fit, rows }: AdapterModule, other: { readonly rows?: Rows }): boolean =>
  overlap(rowsReached(fit, rows), [other.rows ?? [0, rows]])

/**
 * DoRA as the adapter's own implementation defines it. PEFT (tuners/lora/dora.py): W' = m∘V/‖V‖ along the outputs, and a weight scales
 * B·A alone. LyCORIS: along the outputs or the inputs, and a weight λ makes it V·(1 + λ(m/‖V‖ − 1)). Modules of other rows of the
 * tensor change nothing of that along the outputs. Throws `bad-input` where others change the same rows: the norm is of the sum,
 * so that it matters which comes first.
 */
export function rescaleOf(
  name: string,
  factors: readonly FactorTerm[],
  dense: readonly { readonly rows?: Rows }[],
  warnings: string[],
): Dora | undefined {
  const doras = factors.filter(({ module }) => module.magnitude !== undefined)
  const [first] = doras
  if (first === undefined) return undefined
  for (const dora of doras) refuseBesides(name, dora, factors, dense)
  const rescales = doras.map((dora) => ownRescale(dora, warnings))
  return {
    rescale: { ...rescales[0], magnitudes: rescales.flatMap(({ magnitudes }) => magnitudes) },
    // LyCORIS' weight is in the share
    factors: factors.map((one) => (isLycoris(one.module) ? { ...one, weight: 1 } : one)),
  }
}

const isLycoris = ({ magnitude }: AdapterModule) => magnitude?.name.endsWith('dora_scale') === true

function refuseBesides(
  name: string,
  { module, path }: FactorTerm,
  factors: readonly FactorTerm[],
  dense: readonly { readonly rows?: Rows }[],
): void {
  const own = rowsReached(module.fit, module.rows)
  const isBeside =
    dense.some((other) => isOverlapping(module, other)) ||
    factors.some((other) => {
      const { fit, rows, magnitude } = other.module
      // two of one adapter are told apart by their rows, of two adapters each rescales in its own way
      const isOtherDora = other.path !== path && magnitude !== undefined
      return other.module !== module && (isOtherDora || overlap(own, rowsReached(fit, rows)))
    })
  if (!isBeside) return
  throw badInput(
    `${path}: the module ${quoted(module.label)} is DoRA, and another change of ${quoted(name)} is asked for: it matters which comes first; apply them one after the other`,
    { file: path, tensor: module.magnitude!.name },
  )
}

/** The rescaling of one module. */
function ownRescale({ module, path, weight }: FactorTerm, warnings: string[]): Rescale {
  const magnitude = module.magnitude!
  if (module.kind === 'experts') {
    throw badInput(
      `${path}: the module ${quoted(module.label)} is DoRA of stacked experts, which nothing defines`,
      {
        ...{ file: path, tensor: magnitude.name },
      },
    )
  }
  const side = sideOf(magnitude, module)
  if (side === undefined) throw misfit(path, magnitude, module)
  if (side === 'in' && module.fit !== undefined) {
    throw badInput(
      `${path}: tensor ${quoted(magnitude.name)} has a magnitude for each input of a module that the base stores with others or in parts, as ${quoted(module.tensor)}: what its norms are of is no whole weight there; apply it to a base that has the weight as the adapter names it`,
      { file: path, tensor: magnitude.name },
    )
  }
  const { out, inputs } = sizesOf(module)
  if (isLycoris(module) && magnitude.shape.length === 1 && out === inputs) {
    warnings.push(
      `${path}: ${quoted(magnitude.name)} has one number for each of ${out} rows or columns; rows are taken, as PEFT has it`,
    )
  }
  if (isLycoris(module) && weight !== 1) {
    warnings.push(
      `${path}: DoRA at the weight ${weight} is as LyCORIS trains it; ComfyUI takes that share of the whole change, which is another`,
    )
  }
  const isRows = (side === 'out') !== module.isTransposed
  return {
    ...{ magnitudes: placedRows(magnitude, module.fit), path, axis: isRows ? 'rows' : 'columns' },
    group: isRows ? 1 : kernelOf(module),
    epsilon: isLycoris(module) ? LYCORIS_EPSILON : 0,
    share: isLycoris(module) ? weight : 1,
  }
}

/** Whether there is a magnitude for each output or for each input, by its shape. */
function sideOf(magnitude: StoredTensor, module: AdapterModule): 'out' | 'in' | undefined {
  const { out, inputs } = sizesOf(module)
  const { shape } = magnitude
  const count = elementCount(magnitude)
  if (!isLycoris(module)) return count === out ? 'out' : undefined
  const isAlong = (axis: number, length: number) => shape.every((n, i) => n === (i === axis ? length : 1))
  if (shape.length === 1) return count === out ? 'out' : count === inputs ? 'in' : undefined
  if (isAlong(0, out)) return 'out'
  return isAlong(1, inputs) ? 'in' : undefined
}

/** Outputs and inputs of the layer, however its weight lies. */
function sizesOf(module: AdapterModule): { out: number; inputs: number } {
  const { rows, columns, isTransposed, fit, productShape } = module
  if (fit !== undefined) return { out: productShape[0], inputs: columns / kernelOf(module) }
  return isTransposed ? { out: columns, inputs: rows } : { out: rows, inputs: columns / kernelOf(module) }
}

/** The entries of a kernel: what lies beside each other for one input. */
const kernelOf = ({ shape, kind }: AdapterModule) =>
  kind === 'convolution' ? shape.slice(2).reduce((product, n) => product * n, 1) : 1

const misfit = (path: string, magnitude: StoredTensor, module: AdapterModule) =>
  badInput(
    `${path}: tensor ${quoted(magnitude.name)} ${shapeText(magnitude.shape)} is no magnitude of the module ${quoted(module.label)} ${shapeText(module.shape)}`,
    { file: path, tensor: magnitude.name },
  )
