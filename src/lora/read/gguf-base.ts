import { plainName } from '../../checkpoint/correspondence.ts'
import { partOf } from '../../checkpoint/matrices.ts'
import type { Checkpoint, StoredTensor, TensorSource } from '../../checkpoint/types.ts'
import { badInput } from '../../errors.ts'
import { encodeFloats } from '../../formats/dtype.ts'
import { bitsPerElement, readableFloatOf } from '../../formats/safetensors-dtype.ts'
import { quoted } from '../../text/quote.ts'
import { readFloats } from '../factors.ts'
import type { Adapter } from '../model.ts'
import { GGUF_ARCHITECTURES } from '../write/gguf-architectures.ts'
import { type GgufModel, type GgufPart, ggufModel, ggufPlace } from '../write/gguf-names.ts'
import { isComputedByConverter, isPlusOne, normsOf } from './gguf-vectors.ts'

/**
 * A GGUF checkpoint as transformers' models are named and laid out, so that it can be set beside `tuned`, whose config.json tells the
 * architecture: names by its rule, rows of queries and keys in transformers' order, stacked experts apart, fused ones together, norms
 * less the 1 that some are stored with, and the config of `tuned` with it. Numbers stay where they lie and as they are; norms stored plus 1 alone are read. What has no
 * counterpart keeps llama.cpp's name. Throws `bad-input` for an architecture that isn't known, or isn't the file's.
 */
export async function inNamesOf(base: Checkpoint, tuned: Checkpoint): Promise<Checkpoint> {
  if (!base.isGguf) return base
  const model = modelOf(base, tuned)
  refuseOther(base, model)
  const tensors = new Map<string, StoredTensor>()
  const used = new Set<string>()
  const put = (name: string, tensor: StoredTensor, from: readonly string[]) => {
    tensors.set(name, { ...tensor, name })
    for (const one of from) used.add(one)
  }
  // wrappers' parts of names are seen through when the two are paired
  const byName = new Map([...tuned.tensors.values()].map((tensor) => [plainName(tensor.name), tensor]))
  for (const [name, { shape }] of byName) {
    const from = partsOf(name, shape, model, base)
    const found = from && joined(from)
    if (found !== undefined)
      put(
        name,
        found,
        from!.map(({ tensor }) => tensor.name),
      )
  }
  for (const tensor of base.tensors.values()) {
    if (used.has(tensor.name) || isComputedByConverter(tensor.name)) continue
    const names = normsOf(tensor.name, model.of.layers)
    const name = names.find((one) => byName.has(one)) ?? names[0] ?? tensor.name
    put(name, await lessOne(tensor, name, model, byName.get(name)), [tensor.name])
  }
  const { isGguf: _, ...rest } = base
  // of the tie the file itself tells
  return { ...rest, tensors, config: { ...tuned.config, tie_word_embeddings: model.isTied } }
}

/** Throws `bad-input` for a GGUF file where a fine-tune is asked for: its config.json has to tell what the names of a GGUF base mean. */
export function refuseGguf({ path, isGguf }: Checkpoint): void {
  if (!isGguf) return
  throw badInput(
    `${path}: is a GGUF file, whose names and order of rows are llama.cpp's; as the tuned model name the safetensors checkpoint that it was made from`,
    { file: path },
  )
}

/** Throws `bad-input` for a GGUF base of an adapter that has transformers' names: nothing beside either tells the architecture. */
export function refuseGgufBase({ path, isGguf }: Checkpoint, adapter: Adapter): void {
  if (!isGguf || adapter.format === 'gguf') return
  throw badInput(
    `${path}: is a GGUF file, whose names and order of rows are llama.cpp's, and ${adapter.path} has transformers'; name the safetensors checkpoint that it was made from`,
    { file: path },
  )
}

function modelOf(base: Checkpoint, { config, path }: Checkpoint): GgufModel {
  const [architecture] = Array.isArray(config?.architectures) ? config.architectures : []
  if (typeof architecture !== 'string') {
    throw badInput(
      `${path}: has no config.json that tells its architecture, on which the names of ${base.path} hang; name the model's folder`,
      { file: path },
    )
  }
  if (!Object.hasOwn(GGUF_ARCHITECTURES, architecture)) {
    throw badInput(
      `${path}: the architecture ${quoted(architecture)} is none of those whose names and order of rows in GGUF are known; give the base as a safetensors checkpoint`,
      { file: path },
    )
  }
  return ggufModel(config, path, !base.tensors.has('output.weight'))
}

/** Conv1D stores [in, out], and llama.cpp the transpose, whose blocks are no rows of it. */
const TRANSPOSED: ReadonlySet<string> = new Set(['gpt2'])

function refuseOther({ path, metadata }: Checkpoint, { of, architecture }: GgufModel): void {
  const found = metadata.get('general.architecture')
  if (found !== of.name) {
    throw badInput(
      `${path}: is a model of the architecture ${quoted(found ?? '')}, and the tuned one is ${architecture}, which llama.cpp calls ${quoted(of.name)}: are they of one model?`,
      { file: path },
    )
  }
  if (TRANSPOSED.has(of.name)) {
    throw badInput(
      `${path}: GGUF holds the weights of ${architecture} transposed, and blocks can't be turned; use the safetensors checkpoint`,
      { file: path },
    )
  }
}

/** A tensor of the GGUF, or one expert of it, with the rows of transformers' that its rows are; absent where they are the same. */
interface Part {
  readonly tensor: StoredTensor
  readonly rows?: Uint32Array
  readonly expert?: number
}

/** What a tensor of transformers' is made of; undefined where the GGUF has nothing of it. */
function partsOf(
  name: string,
  shape: readonly number[],
  model: GgufModel,
  { tensors }: Checkpoint,
): readonly Part[] | undefined {
  if (shape.includes(0)) return undefined
  const stack = stackParts(name, shape, model)
  if (stack !== undefined) return found(stack, 'weight', tensors)
  const [, path, what] = /^(.+)\.(weight|bias)$/.exec(name) ?? []
  if (path === undefined) return undefined
  const { of } = model
  if (path === of.embedding) return found([{ tensor: 'token_embd.weight' }], what, tensors)
  if (path === of.head) return found([{ tensor: 'output.weight' }], what, tensors)
  const place = ggufPlace(path, shape[0], model)
  return 'refusal' in place ? undefined : found(place.parts, what, tensors)
}

/** `experts.gate_up_proj` [e, 2·d, k] and `experts.down_proj` [e, d, k] of transformers 5, by the names of the single experts. */
function stackParts(name: string, shape: readonly number[], model: GgufModel): GgufPart[] | undefined {
  const [, experts, kind] = /^(.+\.experts)\.(gate_up_proj|down_proj)$/.exec(name) ?? []
  if (experts === undefined || shape.length !== 3) return undefined
  const [count, rows] = shape
  const place = (projection: string) => {
    const one = ggufPlace(`${experts}.0.${projection}`, rows, model)
    return 'refusal' in one || one.parts.length !== 1 ? undefined : one.parts[0].tensor
  }
  if (kind === 'down_proj') {
    const down = place('down_proj')
    return down === undefined ? undefined : [{ tensor: down }]
  }
  const [gate, up] = [place('gate_proj'), place('up_proj')]
  if (gate === undefined || up === undefined || rows % 2 !== 0) return undefined
  const half = rows / 2
  const rowsAt = (from: number) =>
    Uint32Array.from({ length: count * half }, (_, i) => Math.floor(i / half) * rows + from + (i % half))
  return [
    { tensor: gate, rows: rowsAt(0) },
    { tensor: up, rows: rowsAt(half) },
  ]
}

function found(
  parts: readonly GgufPart[],
  what: string,
  tensors: Checkpoint['tensors'],
): readonly Part[] | undefined {
  const all = parts.flatMap(({ tensor, rows, expert }): Part[] => {
    const stored = tensors.get(tensor.replace(/weight$/, what))
    return stored === undefined
      ? []
      : [{ tensor: stored, ...(rows && { rows }), ...(expert !== undefined && { expert }) }]
  })
  return all.length === parts.length ? all : undefined
}

/** One tensor of the parts; undefined where they don't fit each other. */
function joined(parts: readonly Part[]): StoredTensor | undefined {
  const [{ tensor, rows, expert }] = parts
  if (parts.length === 1 && rows === undefined) {
    return expert === undefined ? tensor : expertOf(tensor, expert)
  }
  const { dtype, shape } = tensor
  const within = shape.slice(1)
  const isOne = parts.every((part) => part.tensor.dtype === dtype && part.expert === undefined)
  if (!isOne) return undefined
  const columns = within.at(-1) ?? 1
  const rowBytes = (columns * bitsPerElement(dtype)) / 8
  const counts = parts.map((part) => part.tensor.bytes / rowBytes)
  const count = counts.reduce((sum, n) => sum + n, 0)
  const order = new Uint32Array(count).fill(count)
  let at = 0
  for (const [i, part] of parts.entries()) {
    if (part.rows !== undefined && part.rows.length !== counts[i]) return undefined
    for (let row = 0; row < counts[i]; row++) order[part.rows?.[row] ?? row] = at + row
    at += counts[i]
  }
  if (order.includes(count)) return undefined
  const source = inOrder(parts, rowBytes, order)
  if (source === undefined) return undefined
  const bytes = count * rowBytes
  if (shape.length < 3) return { ...tensor, shape: [count, ...within], bytes, source }
  return { ...tensor, shape: [shape[0], count / shape[0], columns], bytes, source }
}

/** The rows of the parts in this order: where they lie, or, of what was read already, themselves. */
function inOrder(parts: readonly Part[], rowBytes: number, order: Uint32Array): TensorSource | undefined {
  const sources = parts.map(({ tensor: { source } }) => source)
  const ranges = sources.filter((source) => source.kind === 'range')
  if (ranges.length === parts.length) return { kind: 'rows', ranges, rowBytes, order }
  const read = sources.flatMap((source) => (source.kind === 'bytes' ? [source.bytes] : []))
  if (read.length < parts.length) return undefined
  const all = Buffer.concat(read)
  const bytes = new Uint8Array(order.length * rowBytes)
  for (const [i, row] of order.entries())
    bytes.set(all.subarray(row * rowBytes, (row + 1) * rowBytes), i * rowBytes)
  return { kind: 'bytes', bytes }
}

function expertOf(tensor: StoredTensor, expert: number): StoredTensor | undefined {
  const [count, ...shape] = tensor.shape
  if (tensor.shape.length !== 3 || expert >= count) return undefined
  const bytes = tensor.bytes / count
  return { ...tensor, shape, bytes, source: partOf(tensor.source, expert * bytes, (expert + 1) * bytes) }
}

const isVector = ({ dtype, shape }: StoredTensor) =>
  shape.length === 1 && readableFloatOf(dtype) !== undefined

/**
 * A norm as transformers stores it. The 1 was added in float32, which loses bits of small weights: where the tuned model's numbers plus 1 are
 * what is stored, they are the base's.
 */
async function lessOne(
  tensor: StoredTensor,
  name: string,
  { of }: GgufModel,
  inTuned: StoredTensor | undefined,
): Promise<StoredTensor> {
  if (!isPlusOne(of.name, name) || !isVector(tensor)) return tensor
  const stored = await readFloats(tensor)
  if (inTuned !== undefined && isVector(inTuned)) {
    const own = await readFloats(inTuned)
    if (own.length === stored.length && own.every((x, i) => Math.fround(x + 1) === stored[i])) return inTuned
  }
  const bytes = encodeFloats(
    Float32Array.from(stored, (x) => x - 1),
    'f32',
  )
  return { ...tensor, dtype: 'F32', bytes: bytes.length, source: { kind: 'bytes', bytes } }
}
