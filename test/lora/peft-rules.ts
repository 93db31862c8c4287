import { readFileSync } from 'node:fs'
import { join } from 'node:path'

/**
 * A reader of PEFT's LoRA adapters by PEFT's published rules alone (huggingface/peft: tuners/lora/layer.py,
 * tuners/tuners_utils.py, utils/other.py, utils/save_and_load.py), with nothing of src/: what a loader makes of a folder.
 */

export interface Tensor {
  readonly shape: readonly number[]
  readonly data: Float64Array
}

export interface PeftAdapter {
  // biome-ignore lint/suspicious/noExplicitAny: JSON as it is
  readonly config: any
  readonly tensors: ReadonlyMap<string, Tensor>
}

/** The class of a module, by which PEFT chooses its layer. */
export type ModuleClass =
  | 'Linear'
  | 'Conv1D'
  | 'Embedding'
  | 'ConvNd'
  /** nn.Conv1d and the like with as many groups as channels. */
  | 'DepthwiseConv'
  /** The out_proj of nn.MultiheadAttention, whose forward reads its weight and never calls it. */
  | 'NeverCalled'
  /** Any other class, or one that PEFT refuses by the model's type. */
  | 'other'

export interface MergeOptions {
  /** What the model's paths have before the names in `base`. */
  readonly prefix?: string
  /** The class of the module at a path. Without it: ConvNd above two dimensions, Linear at two. */
  readonly classOf?: (path: string, shape: readonly number[]) => ModuleClass
  /** The experts of the model say `is_transposed`. */
  readonly expertsAreTransposed?: boolean
}

export interface Merged {
  /** By the names in `base`. */
  readonly weights: ReadonlyMap<string, Tensor>
  /** Targeted modules without tensors: PEFT gives them fresh factors and warns. */
  readonly missing: readonly string[]
  /** Tensors of the file that no targeted module takes. */
  readonly unexpected: readonly string[]
}

const PREFIX = 'base_model.model.'

export function readSafetensorsFile(path: string): Map<string, Tensor> {
  const file = readFileSync(path)
  const length = Number(file.readBigUInt64LE(0))
  const header = JSON.parse(file.subarray(8, 8 + length).toString('utf8'))
  const tensors = new Map<string, Tensor>()
  for (const [name, entry] of Object.entries<{ dtype: string; shape: number[]; data_offsets: number[] }>(
    header,
  )) {
    if (name === '__metadata__') continue
    const [begin, end] = entry.data_offsets.map((offset) => 8 + length + offset)
    tensors.set(name, { shape: entry.shape, data: decoded(file.subarray(begin, end), entry.dtype) })
  }
  return tensors
}

function decoded(bytes: Buffer, dtype: string): Float64Array {
  switch (dtype) {
    case 'F64':
      return Float64Array.from({ length: bytes.length / 8 }, (_, i) => bytes.readDoubleLE(8 * i))
    case 'F32':
      return Float64Array.from({ length: bytes.length / 4 }, (_, i) => bytes.readFloatLE(4 * i))
    case 'BF16': {
      const wide = Buffer.alloc(4)
      return Float64Array.from({ length: bytes.length / 2 }, (_, i) => {
        wide.writeUInt16LE(bytes.readUInt16LE(2 * i), 2)
        return wide.readFloatLE(0)
      })
    }
    case 'F16':
      return Float64Array.from({ length: bytes.length / 2 }, (_, i) => binary16(bytes.readUInt16LE(2 * i)))
    default:
      throw new Error(`dtype ${dtype}`)
  }
}

function binary16(bits: number): number {
  const sign = bits >> 15 === 1 ? -1 : 1
  const [exponent, fraction] = [(bits >> 10) & 31, bits & 1023]
  if (exponent === 31) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN
  return exponent === 0 ? (sign * fraction) / 2 ** 24 : sign * (1 + fraction / 1024) * 2 ** (exponent - 15)
}

export const loadPeftAdapter = (folder: string): PeftAdapter => ({
  config: JSON.parse(readFileSync(join(folder, 'adapter_config.json'), 'utf8')),
  tensors: readSafetensorsFile(join(folder, 'adapter_model.safetensors')),
})

/** check_target_module_exists */
export function isTarget(config: PeftAdapter['config'], path: string): boolean {
  const { target_modules: targets, modules_to_save: saved, exclude_modules: excluded } = config
  const inList = (list: string[]) => list.some((item) => path === item || path.endsWith(`.${item}`))
  if (Array.isArray(excluded) && inList(excluded)) return false
  if (saved?.some((name: string) => new RegExp(`^(?:(^|.*\\.)${name}($|\\..*))`).test(path))) return false
  if (typeof targets === 'string') return new RegExp(`^(?:${targets})$`).test(path)
  return inList(targets ?? [])
}

/** get_pattern_key: the first key that matches the end of the path. */
function byPattern(patterns: Record<string, number> | undefined, path: string, otherwise: number): number {
  for (const [key, value] of Object.entries(patterns ?? {})) {
    if (new RegExp(`^(.*\\.)?(${key})$`).test(path)) return value
  }
  return otherwise
}

/** The rank of a module, and what B·A is multiplied by. */
export function rankAndScale(config: PeftAdapter['config'], path: string): { rank: number; scale: number } {
  const rank = byPattern(config.rank_pattern, path, config.r ?? 8)
  const alpha = byPattern(config.alpha_pattern, path, config.lora_alpha ?? 8)
  return { rank, scale: config.use_rslora === true ? alpha / Math.sqrt(rank) : alpha / rank }
}

/** The weights of the model with the adapter merged, in float64. Throws where PEFT's load would fail. */
export function mergePeft(
  base: ReadonlyMap<string, Tensor>,
  { config, tensors }: PeftAdapter,
  { prefix = '', classOf = defaultClass, expertsAreTransposed = false }: MergeOptions = {},
): Merged {
  if (config.peft_type !== 'LORA') throw new Error(`peft_type ${config.peft_type}`)
  const left = new Set(tensors.keys())
  const weights = new Map(base)
  const missing: string[] = []
  const take = (name: string) => {
    const key = [`${PREFIX}${name}`, `${PREFIX}${name.replace(/(lora_[AB])\b/, '$1.default')}`].find((one) =>
      tensors.has(one),
    )
    if (key !== undefined) left.delete(key)
    return key === undefined ? undefined : tensors.get(key)
  }
  const add = (stored: string, W: Tensor, delta: (i: number) => number) =>
    weights.set(stored, { shape: W.shape, data: W.data.map((value, i) => value + delta(i)) })

  for (const [stored, W] of base) {
    if (!stored.endsWith('.weight')) continue
    const path = `${prefix}${stored.slice(0, -'.weight'.length)}`
    if (!isTarget(config, path)) continue
    const { rank, scale } = rankAndScale(config, path)
    const kind = classOf(path, W.shape)
    if (kind === 'other') throw new Error(`${path}: target module is not supported`)
    if (kind === 'NeverCalled') throw new Error(`${path}: its factors would do nothing`)
    const isEmbedding = kind === 'Embedding'
    const A = take(isEmbedding ? `${path}.lora_embedding_A` : `${path}.lora_A.weight`)
    const B = take(isEmbedding ? `${path}.lora_embedding_B` : `${path}.lora_B.weight`)
    if (A === undefined || B === undefined) {
      missing.push(path)
      continue
    }
    const rows = W.shape[0]
    const columns = W.data.length / rows
    const isSwapped = isEmbedding || kind === 'Conv1D'
    const [size, features] = isSwapped ? [columns, rows] : [rows, columns]
    if (kind === 'DepthwiseConv') {
      assertShape(path, A, [rank, rows, ...W.shape.slice(2)])
      throw new Error(`${path}: depthwise factors are not merged here`)
    }
    if (kind === 'ConvNd') {
      assertShape(path, A, [rank, ...W.shape.slice(1)])
      assertShape(path, B, [rows, rank, ...W.shape.slice(2).map(() => 1)])
    } else {
      assertShape(path, A, [rank, features])
      assertShape(path, B, [size, rank])
    }
    const product = (o: number, i: number) => {
      let sum = 0
      for (let k = 0; k < rank; k++) sum += B.data[o * rank + k] * A.data[k * features + i]
      return scale * sum
    }
    add(stored, W, (at) => {
      const [row, column] = [Math.floor(at / columns), at % columns]
      return isSwapped ? product(column, row) : product(row, column)
    })
  }
  mergeParameters(base, config, { prefix, expertsAreTransposed }, take, missing, add)
  for (const name of base.keys()) {
    const path = `${prefix}${name}`
    const module = path.slice(0, path.lastIndexOf('.'))
    if (config.modules_to_save?.some((item: string) => module.endsWith(item))) {
      const tensor = take(path)
      if (tensor === undefined) throw new Error(`KeyError: ${path}`)
      weights.set(name, tensor)
    }
  }
  return { weights, missing, unexpected: [...left] }
}

/** ParamWrapper: parameters of experts modules, the first registered wrapped innermost. */
function mergeParameters(
  base: ReadonlyMap<string, Tensor>,
  config: PeftAdapter['config'],
  { prefix, expertsAreTransposed }: { prefix: string; expertsAreTransposed: boolean },
  take: (name: string) => Tensor | undefined,
  missing: string[],
  add: (stored: string, W: Tensor, delta: (i: number) => number) => void,
): void {
  const targets: string[] = config.target_parameters ?? []
  const order = ['gate_up_proj', 'down_proj']
  const found = [...base.keys()].filter((stored) =>
    targets.some((item) => `${prefix}${stored}` === item || `${prefix}${stored}`.endsWith(`.${item}`)),
  )
  for (const stored of found) {
    const path = `${prefix}${stored}`
    const [owner, own] = [path.slice(0, path.lastIndexOf('.')), path.slice(path.lastIndexOf('.') + 1)]
    const outer = found.filter(
      (other) =>
        `${prefix}${other}`.startsWith(`${owner}.`) &&
        order.indexOf(other.slice(other.lastIndexOf('.') + 1)) > order.indexOf(own),
    ).length
    const at = `${owner}${'.base_layer'.repeat(outer)}`
    const [A, B] = [take(`${at}.lora_A.weight`), take(`${at}.lora_B.weight`)]
    if (A === undefined || B === undefined) {
      missing.push(path)
      continue
    }
    const W = base.get(stored)!
    const [E, d1, d2] = W.shape
    const { rank, scale } = rankAndScale(config, path)
    const [inside, outside] = expertsAreTransposed ? [d1, d2] : [d2, d1]
    assertShape(path, A, [E * rank, inside])
    assertShape(path, B, [outside, rank * E])
    add(stored, W, (index) => {
      const [e, x, y] = [Math.floor(index / (d1 * d2)), Math.floor(index / d2) % d1, index % d2]
      const [o, i] = expertsAreTransposed ? [y, x] : [x, y]
      let sum = 0
      for (let k = 0; k < rank; k++)
        sum += B.data[o * rank * E + k * E + e] * A.data[(e * rank + k) * inside + i]
      return scale * sum
    })
  }
}

const defaultClass = (_path: string, shape: readonly number[]): ModuleClass =>
  shape.length > 2 ? 'ConvNd' : shape.length === 2 ? 'Linear' : 'other'

function assertShape(path: string, { shape }: Tensor, expected: readonly number[]): void {
  if (shape.length !== expected.length || shape.some((n, i) => n !== expected[i])) {
    throw new Error(`size mismatch for ${path}: [${shape}] in the file, [${expected}] in the model`)
  }
}

/** What each loader multiplies B·A of a module by; `tensorRank` is the rank of the stored tensors. */
export const LOADER_SCALES: Record<
  string,
  (config: PeftAdapter['config'], path: string, tensorRank: number) => number
> = {
  PEFT: (config, path) => rankAndScale(config, path).scale,
  vLLM: ({ lora_alpha, r, use_rslora }) => lora_alpha / (use_rslora === true ? Math.sqrt(r) : r),
  SGLang: ({ lora_alpha, r }) => lora_alpha / r,
  'llama.cpp': ({ lora_alpha }, _path, tensorRank) => lora_alpha / tensorRank,
  'TensorRT-LLM': ({ lora_alpha, use_rslora }, _path, tensorRank) =>
    lora_alpha / (use_rslora === true ? Math.sqrt(tensorRank) : tensorRank),
}
