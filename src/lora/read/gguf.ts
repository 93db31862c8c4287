import { partOf } from '../../checkpoint/matrices.ts'
import type { Checkpoint, StoredTensor } from '../../checkpoint/types.ts'
import { badInput, LoraSvdError } from '../../errors.ts'
import { encodeFloats } from '../../formats/dtype.ts'
import { readableFloatOf } from '../../formats/safetensors-dtype.ts'
import { matrix, transpose } from '../../linalg/matrix/matrix.ts'
import { counted, quoted, shapeText } from '../../text/quote.ts'
import { readFloats } from '../factors.ts'
import type { Adapter, AdapterModule, IgnoredTensor } from '../model.ts'
import { loraScale } from './peft-config.ts'
import { refusal } from './refusal.ts'

/**
 * A GGUF adapter, as llama.cpp takes it: llama_adapter_lora_init_impl of src/llama-adapter.cpp (@0650ea8c, 2026) for names and shapes,
 * llama_adapter_lora_weight::get_scale of src/llama-adapter.h for the scale. Modules have llama.cpp's names, and the rows of B its order;
 * `peftModule` of ../write/gguf-names.ts undoes both, given the base's config.
 */

const ALPHA = 'adapter.lora.alpha'
const TYPE = 'adapter.type'
const GENERAL_TYPE = 'general.type'
const FACTOR = /^(.+)\.lora_(a|b)$/
const EMBEDDING = 'token_embd.weight'

/** The two halves of a module's factors, as found. */
interface Pair {
  readonly a?: StoredTensor
  readonly b?: StoredTensor
}

/**
 * The adapter that a GGUF checkpoint is; undefined where it has no factors and doesn't call itself one. Reads the embedding's factor, which
 * GGUF stores the other way round, and nothing else. Throws `bad-input`, naming the tensors, on an adapter of another kind, on half a
 * pair, on factors that don't fit each other, and on an alpha that is no number.
 */
export async function ggufAdapterOf(
  { path, tensors, metadata }: Checkpoint,
  onDefect?: (defect: LoraSvdError) => void,
): Promise<Adapter | undefined> {
  const pairs = new Map<string, Pair>()
  const ignored: IgnoredTensor[] = []
  for (const tensor of tensors.values()) {
    const [, base, half] = FACTOR.exec(tensor.name) ?? []
    if (base !== undefined) pairs.set(base, { ...pairs.get(base), [half]: tensor })
    else ignored.push({ name: tensor.name, reason: reasonOf(tensor.name) })
  }
  if (metadata.get(GENERAL_TYPE) !== 'adapter' && pairs.size === 0) return undefined
  const type = metadata.get(TYPE)
  if (type !== undefined && type !== 'lora') {
    throw badInput(`${path}: is an adapter of the type ${quoted(type)}; only lora is read`, { file: path })
  }
  if (pairs.size === 0) throw badInput(`${path}: holds no LoRA tensors`, { file: path })
  const alpha = alphaOf(path, metadata.get(ALPHA))
  const modules: AdapterModule[] = []
  for (const [name, { a, b }] of pairs) {
    try {
      if (a === undefined || b === undefined) throw halfPair(path, name, (a ?? b)!)
      modules.push(...(await modulesOf(path, name, a, b, alpha)))
    } catch (error) {
      if (onDefect === undefined || !(error instanceof LoraSvdError)) throw error
      onDefect(error)
    }
  }
  return {
    ...{ format: 'gguf', path, modules, replaced: [], ignored },
    warnings: warningsOf(metadata, ignored),
  }
}

const reasonOf = (name: string) =>
  name.endsWith('_norm.weight')
    ? 'llama.cpp passes over norms of an adapter'
    : 'no factor: llama.cpp refuses a file with it'

/** Absent and 0 are the same to llama.cpp: no scale. */
function alphaOf(path: string, said: string | undefined): number | undefined {
  const alpha = Number(said ?? 0)
  if (!Number.isFinite(alpha)) {
    throw badInput(`${path}: ${ALPHA} is ${quoted(said!)}, which is no number; write it anew as f32`, {
      file: path,
    })
  }
  return alpha === 0 ? undefined : alpha
}

/** One module, or one of each expert of a stack. */
async function modulesOf(
  path: string,
  name: string,
  a: StoredTensor,
  b: StoredTensor,
  alpha: number | undefined,
): Promise<AdapterModule[]> {
  for (const tensor of [a, b]) {
    if (readableFloatOf(tensor.dtype) === undefined) {
      throw refusal(
        path,
        [tensor],
        `is stored as ${tensor.dtype}; a factor is made of floats`,
        'factor-shapes',
      )
    }
  }
  const stem = name.replace(/\.weight$/, '')
  if (name === EMBEDDING) return [await embedding(path, stem, a, b, alpha)]
  const isStack = a.shape.length === 3 && b.shape.length === 3
  const [rank, columns] = a.shape.slice(-2)
  const [rows, other] = b.shape.slice(-2)
  const isPair = isStack ? a.shape[0] === b.shape[0] : a.shape.length === 2 && b.shape.length === 2
  if (!isPair || rank !== other || rank * rows * columns === 0)
    throw misfit(path, a, b, '[r, in] and [out, r]')
  if (!isStack) return [linear({ stem, a, b, alpha, suffix: '' })]
  return Array.from({ length: a.shape[0] }, (_, e) =>
    linear({ stem, a: expertOf(a, e), b: expertOf(b, e), alpha, suffix: `[${e}]` }),
  )
}

interface Factors {
  readonly stem: string
  readonly a: StoredTensor
  readonly b: StoredTensor
  readonly alpha: number | undefined
  /** Which of a stack it is, as matrices of stacks are named. */
  readonly suffix: string
}

function linear({ stem, a, b, alpha, suffix }: Factors): AdapterModule {
  const [rank, columns] = a.shape
  const [rows] = b.shape
  return {
    ...{ path: stem + suffix, label: stem + suffix, prefix: '', tensor: `${stem}.weight${suffix}` },
    ...{ kind: 'linear', shape: [rows, columns], rows, columns, experts: 1, isTransposed: false },
    ...{ product: { kind: 'lora', A: a, B: b }, productShape: [rows, columns], kernel: [] },
    ...scaled(rank, alpha),
  }
}

/** lora_a is [vocabulary, r] and lora_b [dim, r]: PEFT's lora_embedding_A transposed, and lora_embedding_B. */
async function embedding(
  path: string,
  stem: string,
  a: StoredTensor,
  b: StoredTensor,
  alpha: number | undefined,
): Promise<AdapterModule> {
  const [vocabulary, rank] = a.shape
  const [dim, other] = b.shape
  const isPair = a.shape.length === 2 && b.shape.length === 2 && rank === other
  if (!isPair || vocabulary * rank * dim === 0) throw misfit(path, a, b, '[vocabulary, r] and [dim, r]')
  const turned = transpose(matrix(vocabulary, rank, await readFloats(a)))
  const bytes = encodeFloats(turned.data, 'f32')
  const A: StoredTensor = {
    ...{ name: a.name, dtype: 'F32', shape: [rank, vocabulary], bytes: bytes.length },
    source: { kind: 'bytes', bytes },
  }
  return {
    ...{ path: stem, label: stem, prefix: '', tensor: `${stem}.weight` },
    ...{ kind: 'embedding', shape: [vocabulary, dim], rows: vocabulary, columns: dim, experts: 1 },
    ...{
      isTransposed: true,
      product: { kind: 'lora', A, B: b },
      productShape: [dim, vocabulary],
      kernel: [],
    },
    ...scaled(rank, alpha),
  }
}

const scaled = (rank: number, alpha: number | undefined) => ({
  ...{ rank, dim: rank, scale: alpha === undefined ? 1 : loraScale(alpha, rank, false) },
  ...(alpha !== undefined && { alpha }),
})

/** The part of a stack [experts, …] that is one expert's. */
function expertOf(tensor: StoredTensor, expert: number): StoredTensor {
  const bytes = tensor.bytes / tensor.shape[0]
  const source = partOf(tensor.source, expert * bytes, (expert + 1) * bytes)
  return { ...tensor, name: `${tensor.name}[${expert}]`, shape: tensor.shape.slice(1), bytes, source }
}

const halfPair = (path: string, module: string, { name }: StoredTensor) =>
  badInput(
    `${path}: ${quoted(module)} has the factor ${quoted(name)} and no other: the file is incomplete, and llama.cpp refuses it`,
    { file: path, tensor: name, rule: 'half-pair' },
  )

const misfit = (path: string, a: StoredTensor, b: StoredTensor, expected: string) =>
  refusal(
    path,
    [a, b],
    `of the shapes ${shapeText(a.shape)} and ${shapeText(b.shape)} are no pair: ${expected} are`,
    'factor-shapes',
  )

function warningsOf(metadata: ReadonlyMap<string, string>, ignored: readonly IgnoredTensor[]): string[] {
  const missing = [
    [GENERAL_TYPE, 'adapter'],
    [TYPE, 'lora'],
  ].filter(([key, value]) => metadata.get(key) !== value)
  const warnings = missing.map(
    ([key, value]) => `llama.cpp does not load this adapter: ${key} is not ${quoted(value)}`,
  )
  if (ignored.length > 0) {
    const [{ name, reason }] = ignored
    const more = ignored.length > 1 ? `, and ${counted(ignored.length - 1, 'tensor')} more` : ''
    warnings.push(`tensor ${quoted(name)} is left out: ${reason}${more}`)
  }
  return warnings
}
