import { readBytes } from '../checkpoint/read.ts'
import type { StoredTensor } from '../checkpoint/types.ts'
import { badInput } from '../errors.ts'
import { isBlocked, type SafetensorsDtype } from '../formats/safetensors-dtype.ts'
import type { TensorData } from '../formats/safetensors-writer.ts'
import { readFloats } from '../lora/factors.ts'
import type { Adapter, AdapterModule, ReplacedTensor } from '../lora/model.ts'
import { PEFT_PREFIX } from '../lora/names.ts'
import { addTo } from '../text/compare.ts'
import { quoted, shapeText } from '../text/quote.ts'
import type { Summand } from './plan.ts'

/** A tensor of the result that is no factor: stored as it is, or a sum of stored ones. */
export interface KeptTensor {
  /** In the result. */
  readonly name: string
  readonly dtype: SafetensorsDtype
  readonly shape: readonly number[]
  readonly parts: readonly KeptPart[]
}

interface KeptPart {
  readonly tensor: StoredTensor
  readonly factor: number
  readonly path: string
}

/** Which of two adapters that replace one tensor in two ways holds. */
export type Prefer = 'first' | 'last'

interface Candidate extends KeptPart {
  readonly name: string
  readonly how: 'replace' | 'add'
  /** Two of one target are alternatives, or add up. */
  readonly target: string
}

/**
 * What the adapters hold besides factors: whole tensors and magnitudes, which stay as they are, and differences and biases, which add up.
 * Throws `bad-input` where two adapters replace a tensor in two ways and `prefer` doesn't say which holds, where a replacement has a
 * weight, and where what adds up is of two shapes.
 */
export async function keptTensors(
  summands: readonly Summand[],
  prefer: Prefer | undefined,
): Promise<KeptTensor[]> {
  const groups = new Map<string, Candidate[]>()
  for (const summand of summands) {
    for (const one of candidatesOf(summand)) addTo(groups, one.target, one)
  }
  const kept: KeptTensor[] = []
  for (const all of groups.values())
    kept.push(all[0].how === 'add' ? added(all) : await replaced(all, prefer))
  return kept
}

function candidatesOf({ adapter, weight }: Summand): Candidate[] {
  const { path } = adapter
  return [
    ...adapter.replaced.map((one): Candidate => {
      const { how, tensor, prefix, name, rows } = one
      if (how === 'replace' && weight !== 1) throw weighed(adapter, one)
      const target = `${prefix}${name}${rows === undefined ? '' : `[${rows.join()}]`}`
      const factor = how === 'add' ? weight : 1
      return { name: savedName(adapter, one), how, target, tensor, factor, path }
    }),
    ...adapter.modules.flatMap((module): Candidate[] => {
      const { bias, magnitude, scale, label } = module
      return [
        ...(bias === undefined
          ? []
          : [
              {
                name: sideName(module, 'lora_B.bias'),
                how: 'add',
                target: `${label} bias`,
                tensor: bias,
                factor: weight * scale,
                path,
              } as const,
            ]),
        ...(magnitude === undefined
          ? []
          : [
              {
                name: magnitudeName(adapter, module, magnitude),
                how: 'replace',
                target: `${label} magnitude`,
                tensor: magnitude,
                factor: 1,
                path,
              } as const,
            ]),
      ]
    }),
  ]
}

const sideName = ({ path }: AdapterModule, side: string) => `${PEFT_PREFIX}${path}.${side}`

const magnitudeName = ({ format }: Adapter, module: AdapterModule, { name }: StoredTensor) =>
  format === 'peft' ? sideName(module, 'lora_magnitude_vector') : name

/** The name under which PEFT saves a whole tensor; other formats' stay. */
function savedName({ format }: Adapter, { tensor, name, rows }: ReplacedTensor): string {
  if (format !== 'peft' || rows !== undefined || /\.base_layer\.bias$/.test(tensor.name)) return tensor.name
  return `${PEFT_PREFIX}${name}`
}

const weighed = ({ path }: Adapter, { tensor }: ReplacedTensor) =>
  badInput(
    `${path}: ${quoted(tensor.name)} takes the place of a whole tensor, which can't be weighed: only the weight 1 means something for it`,
    { file: path, tensor: tensor.name },
  )

async function replaced(all: readonly Candidate[], prefer: Prefer | undefined): Promise<KeptTensor> {
  const chosen = prefer === 'last' ? all[all.length - 1] : all[0]
  for (const other of prefer === undefined ? all.slice(1) : []) {
    if (!(await isSame(chosen.tensor, other.tensor))) {
      throw badInput(
        `${chosen.path} and ${other.path} both replace ${quoted(chosen.name)}, in two ways; say which holds with --prefer first or --prefer last`,
        { file: other.path, tensor: other.tensor.name },
      )
    }
  }
  return keptOf([chosen])
}

async function isSame(a: StoredTensor, b: StoredTensor): Promise<boolean> {
  if (a.dtype !== b.dtype || a.shape.join() !== b.shape.join()) return false
  return Buffer.compare(await readBytes(a), await readBytes(b)) === 0
}

function added(all: readonly Candidate[]): KeptTensor {
  const [first] = all
  for (const { tensor, path } of all) {
    if (tensor.shape.join() !== first.tensor.shape.join()) {
      throw badInput(
        `${path}: ${quoted(tensor.name)} has the shape ${shapeText(tensor.shape)}, in ${first.path} it has ${shapeText(first.tensor.shape)}`,
        { file: path, tensor: tensor.name },
      )
    }
  }
  return keptOf(all)
}

function keptOf(all: readonly Candidate[]): KeptTensor {
  const [{ name, tensor }] = all
  const { dtype, shape } = tensor
  const isOfOne = all.every((one) => one.tensor.dtype === dtype)
  return {
    name,
    dtype: isOfOne && !isBlocked(dtype) ? dtype : 'F32',
    shape,
    parts: all.map(({ tensor, factor, path }) => ({ tensor, factor, path })),
  }
}

/** The tensor's data: the stored bytes where it is one tensor as it is, else the sum in float64, which is rounded once when written. */
export async function keptData({ parts, dtype }: KeptTensor): Promise<TensorData> {
  const [first] = parts
  if (parts.length === 1 && first.factor === 1 && first.tensor.dtype === dtype) return readBytes(first.tensor)
  let sum: Float64Array | undefined
  for (const { tensor, factor } of parts) {
    const values = await readFloats(tensor)
    sum ??= new Float64Array(values.length)
    for (let i = 0; i < values.length; i++) sum[i] += factor * values[i]
  }
  return sum!
}
