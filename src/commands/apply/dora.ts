import { elementCount } from '../../checkpoint/read.ts'
import type { StoredTensor } from '../../checkpoint/types.ts'
import { badInput } from '../../errors.ts'
import type { AdapterModule } from '../../lora/model.ts'
import { quoted, shapeText } from '../../text/quote.ts'
import type { FactorTerm, Rescale } from '../../update/change.ts'

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

/**
 * DoRA as the adapter's own implementation defines it. PEFT (tuners/lora/dora.py): W' = m∘V/‖V‖ along the outputs, and a weight scales
 * B·A alone. LyCORIS: along the outputs or the inputs, and a weight λ makes it V·(1 + λ(m/‖V‖ − 1)). Throws `bad-input` where others
 * change the tensor too: the norm is of the sum, so that it matters which comes first.
 */
export function rescaleOf(
  name: string,
  factors: readonly FactorTerm[],
  others: number,
  warnings: string[],
): Dora | undefined {
  const dora = factors.find(({ module }) => module.magnitude !== undefined)
  if (dora === undefined) return undefined
  const { module, path, weight } = dora
  const magnitude = module.magnitude!
  if (factors.length + others > 1) {
    throw badInput(
      `${path}: the module ${quoted(module.label)} is DoRA, and another change of ${quoted(name)} is asked for: it matters which comes first; apply them one after the other`,
      { file: path, tensor: magnitude.name },
    )
  }
  if (module.kind === 'experts') {
    throw badInput(
      `${path}: the module ${quoted(module.label)} is DoRA of stacked experts, which nothing defines`,
      {
        ...{ file: path, tensor: magnitude.name },
      },
    )
  }
  const isPeft = !magnitude.name.endsWith('dora_scale')
  const side = sideOf(magnitude, module, isPeft)
  if (side === undefined) throw misfit(path, magnitude, module)
  const { out, inputs } = sizesOf(module)
  if (!isPeft && magnitude.shape.length === 1 && out === inputs) {
    warnings.push(
      `${path}: ${quoted(magnitude.name)} has one number for each of ${out} rows or columns; rows are taken, as PEFT has it`,
    )
  }
  if (!isPeft && weight !== 1) {
    warnings.push(
      `${path}: DoRA at the weight ${weight} is as LyCORIS trains it; ComfyUI takes that share of the whole change, which is another`,
    )
  }
  const isRows = (side === 'out') !== module.isTransposed
  const rescale: Rescale = {
    ...{ magnitude, path, axis: isRows ? 'rows' : 'columns' },
    group: isRows ? 1 : kernelOf(module),
    epsilon: isPeft ? 0 : LYCORIS_EPSILON,
    share: isPeft ? 1 : weight,
  }
  return { rescale, factors: [isPeft ? dora : { ...dora, weight: 1 }] }
}

/** Whether there is a magnitude for each output or for each input, by its shape. */
function sideOf(magnitude: StoredTensor, module: AdapterModule, isPeft: boolean): 'out' | 'in' | undefined {
  const { out, inputs } = sizesOf(module)
  const { shape } = magnitude
  const count = elementCount(magnitude)
  if (isPeft) return count === out ? 'out' : undefined
  const isAlong = (axis: number, length: number) => shape.every((n, i) => n === (i === axis ? length : 1))
  if (shape.length === 1) return count === out ? 'out' : count === inputs ? 'in' : undefined
  if (isAlong(0, out)) return 'out'
  return isAlong(1, inputs) ? 'in' : undefined
}

/** Outputs and inputs of the layer, however its weight lies. */
function sizesOf(module: AdapterModule): { out: number; inputs: number } {
  const { rows, columns, isTransposed } = module
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
