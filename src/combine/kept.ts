import { readBytes } from '../checkpoint/read.ts'
import type { StoredTensor } from '../checkpoint/types.ts'
import { badInput } from '../errors.ts'
import { isSafetensorsDtype, type SafetensorsDtype } from '../formats/safetensors-dtype.ts'
import type { TensorData } from '../formats/safetensors-writer.ts'
import { readFloats } from '../lora/factors.ts'
import type { Adapter, AdapterFormat, AdapterModule, ReplacedTensor } from '../lora/model.ts'
import { PEFT_PREFIX } from '../lora/names.ts'
import { addTo } from '../text/compare.ts'
import { quoted, shapeText } from '../text/quote.ts'
import type { Summand } from './modules.ts'
import { NAMES } from './spelling.ts'

/** A tensor of the result that is no factor: stored as it is, or a sum of stored ones. */
export interface KeptTensor {
  /** In the result. */
  readonly name: string
  readonly dtype: SafetensorsDtype
  readonly shape: readonly number[]
  readonly parts: readonly KeptPart[]
  /** The tensor of the base whose place it takes, whole. */
  readonly replaces?: string
  /** The rows of it that it takes alone. */
  readonly rows?: TokenRows
}

/** Rows of an embedding, which adapter_config.json has to name. */
export interface TokenRows {
  readonly module: string
  readonly rows: readonly number[]
}

interface KeptPart {
  readonly tensor: StoredTensor
  readonly factor: number
  readonly path: string
}

/** Which of two adapters that replace one tensor in two ways holds. */
export type Prefer = 'first' | 'last'

export interface Candidate extends KeptPart {
  readonly name: string
  readonly how: 'replace' | 'add'
  /** Two of one target are alternatives, or add up. */
  readonly target: string
  readonly replaces?: string
  readonly rows?: TokenRows
}

/**
 * What the adapters hold besides factors: whole tensors and magnitudes, which stay as they are, and differences and biases, which add up.
 * Throws `bad-input` where two adapters replace a tensor in two ways and `prefer` doesn't say which holds, where a replacement has a
 * weight, where what adds up is of two shapes, and where the result's names have no place for it. `named` gives the result's module
 * for one of an adapter.
 */
export async function keptTensors(
  summands: readonly Summand[],
  named: ReadonlyMap<AdapterModule, AdapterModule>,
  prefer: Prefer | undefined,
): Promise<KeptTensor[]> {
  const groups = new Map<string, Candidate[]>()
  const [{ adapter: first }] = summands
  for (const summand of summands) {
    for (const one of candidatesOf(summand, first.format, named)) {
      if (summand.adapter.format !== first.format) throw foreign(summand.adapter, one, first)
      addTo(groups, one.target, one)
    }
  }
  const kept: KeptTensor[] = []
  for (const all of groups.values()) {
    const other = all.find(({ how }) => how !== all[0].how)
    if (other !== undefined) throw mixed(all[0], other)
    kept.push(all[0].how === 'add' ? added(all) : await replaced(all, prefer))
  }
  return kept
}

const foreign = ({ path, format }: Adapter, { tensor }: Candidate, first: Adapter) =>
  badInput(
    `${path}: ${quoted(tensor.name)} is no factor, and names of ${NAMES[first.format]}, which the result has as ${first.path} does, have no place for one of ${NAMES[format]}; name ${path} first`,
    { file: path, tensor: tensor.name },
  )

const mixed = (one: Candidate, other: Candidate) =>
  badInput(
    `${other.path}: ${quoted(other.tensor.name)} ${other.how === 'add' ? 'is added to' : 'takes the place of'} the weight that ${quoted(one.tensor.name)} of ${one.path} ${one.how === 'add' ? 'is added to' : 'takes the place of'}: no adapter does both`,
    { file: other.path, tensor: other.tensor.name },
  )

function candidatesOf(
  { adapter, asRead = adapter, weight }: Summand,
  format: AdapterFormat,
  named: ReadonlyMap<AdapterModule, AdapterModule>,
): Candidate[] {
  const { path } = adapter
  return [
    ...adapter.replaced.map((one, i): Candidate => {
      const { how, tensor, prefix, name, rows } = one
      if (how === 'replace' && weight !== 1) throw weighed(adapter, one)
      const target = format === 'peft' ? name : `${prefix}${name}`
      const factor = how === 'add' ? weight : 1
      // the base's name is another where something stands before it that PEFT's has or lacks
      const own = asRead.replaced[i]
      return {
        name: savedName(adapter, own),
        how,
        target,
        tensor,
        factor,
        path,
        ...(how === 'replace' && rows === undefined && { replaces: name }),
        ...(rows !== undefined && { rows: { module: own.name.replace(/\.weight$/, ''), rows } }),
      }
    }),
    ...adapter.modules.flatMap((module): Candidate[] => {
      const { bias, magnitude, scale } = module
      const output = named.get(module) ?? module
      const target = output.prefix + output.path
      return [
        ...(bias === undefined
          ? []
          : [
              {
                name: format === 'peft' ? sideName(output, 'lora_B.bias') : bias.name,
                how: 'add',
                target: `${target} bias`,
                tensor: bias,
                factor: weight * scale,
                path,
              } as const,
            ]),
        ...(magnitude === undefined
          ? []
          : [
              {
                name: format === 'peft' ? sideName(output, 'lora_magnitude_vector') : magnitude.name,
                how: 'replace',
                target: `${target} magnitude`,
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
    const isOfSameRows = chosen.rows?.rows.join() === other.rows?.rows.join()
    if (!isOfSameRows || !(await isSame(chosen.tensor, other.tensor))) {
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

/** One tensor of what is of one target. */
export function keptOf(all: readonly Candidate[]): KeptTensor {
  const [{ name, tensor, replaces, rows }] = all
  const { dtype, shape } = tensor
  const isOfOne = all.every((one) => one.tensor.dtype === dtype)
  return {
    name,
    dtype: isOfOne && isSafetensorsDtype(dtype) ? dtype : 'F32',
    shape,
    parts: all.map(({ tensor, factor, path }) => ({ tensor, factor, path })),
    ...(replaces !== undefined && { replaces }),
    ...(rows !== undefined && { rows }),
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
