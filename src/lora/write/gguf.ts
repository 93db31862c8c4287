import type { GgufArray, GgufScalar } from '../../formats/gguf-types.ts'
import type { GgufFloat, GgufMetadata, GgufTensorToWrite } from '../../formats/gguf-writer.ts'
import { type FloatArray, matrix, transpose } from '../../linalg/matrix/matrix.ts'
import { addTo } from '../../text/compare.ts'
import { type GgufModel, type GgufPart, ggufPlace, ggufStackPlace } from './gguf-names.ts'
import { takeRows } from './gguf-rows.ts'

/** A module of an adapter, with its factors as PEFT lays them out and its scale within them: ΔW = B·A. */
export interface GgufModuleToWrite {
  /** PEFT's path, without `base_model.model.`. */
  readonly path: string
  readonly isEmbedding: boolean
  /** Which of a stack of experts it is, of which `path` is the parameter. */
  readonly expert?: number
  readonly rank: number
  /** Rows of B. */
  readonly out: number
  /** Columns of A. */
  readonly columns: number
  /** A [rank, columns] and B [out, rank], by rows. */
  readonly factors: () => FactorData | Promise<FactorData>
}

export interface FactorData {
  readonly A: FloatArray
  readonly B: FloatArray
}

export interface GgufAdapterPlan {
  readonly tensors: readonly GgufTensorToWrite[]
  readonly metadata: GgufMetadata
  /** What llama.cpp has no place for, with the reason. */
  readonly refused: readonly { readonly path: string; readonly reason: string }[]
}

export interface GgufAdapterOptions {
  readonly dtype: GgufFloat
  /** `general.name`. */
  readonly name?: string
}

/** A module and one tensor that it changes. */
interface Placed {
  readonly module: GgufModuleToWrite
  readonly part: GgufPart
}

/**
 * The tensors and keys of an adapter for llama.cpp. It multiplies by alpha over the rank of each tensor, and by 1 without an alpha
 * (llama_adapter_lora_weight::get_scale, src/llama-adapter.h): alpha is the rank where there is one, and left out where ranks differ, so
 * that the factors count as they are. Experts become stacks of all, with zeros for what has less rank or no factors: the same sum.
 */
export function planGgufAdapter(
  modules: readonly GgufModuleToWrite[],
  model: GgufModel,
  { dtype, name }: GgufAdapterOptions,
): GgufAdapterPlan {
  // the experts of a stack all have one path and one reason
  const refused = new Map<string, string>()
  const byTensor = new Map<string, Placed[]>()
  for (const module of modules) {
    const place = placeOf(module, model)
    if ('refusal' in place) refused.set(module.path, place.refusal)
    else if (!place.parts.every((part) => isInStack(part, model)))
      refused.set(module.path, unstackable(model))
    else for (const part of place.parts) addTo(byTensor, part.tensor, { module, part })
  }
  const ranks = new Set<number>()
  const tensors = [...byTensor].flatMap(([tensor, placed]) => {
    ranks.add(rankOf(placed))
    return pairOf(tensor, placed, model.experts ?? 0, dtype)
  })
  return {
    tensors,
    metadata: metadataOf(model, name, ranks),
    refused: [...refused].map(([path, reason]) => ({ path, reason })),
  }
}

const placeOf = ({ path, out, isEmbedding, expert }: GgufModuleToWrite, model: GgufModel) =>
  expert === undefined ? ggufPlace(path, out, model, isEmbedding) : ggufStackPlace(path, out, expert, model)

const isInStack = ({ expert }: GgufPart, { experts }: GgufModel) =>
  expert === undefined || (experts !== undefined && expert < experts)

const unstackable = ({ experts }: GgufModel) =>
  experts === undefined
    ? 'is one of several experts, which llama.cpp stacks, and config.json does not say how many there are'
    : `is past the ${experts} experts that config.json speaks of`

const rankOf = (placed: readonly Placed[]) =>
  placed.reduce((most, { module }) => Math.max(most, module.rank), 0)

/** lora_a and lora_b of one tensor. They are made when their turn comes, each from factors that are asked for again. */
function pairOf(
  tensor: string,
  placed: readonly Placed[],
  experts: number,
  dtype: GgufFloat,
): GgufTensorToWrite[] {
  const [{ module, part }] = placed
  const rank = rankOf(placed)
  const out = part.rows?.length ?? module.out
  const pair = (
    a: readonly number[],
    b: readonly number[],
    dataOf: (side: 'A' | 'B') => Promise<FloatArray>,
  ) => [
    { name: `${tensor}.lora_a`, dtype, shape: a, data: () => dataOf('A') },
    { name: `${tensor}.lora_b`, dtype, shape: b, data: () => dataOf('B') },
  ]
  if (part.isEmbedding) {
    return pair([module.columns, rank], [out, rank], async (side) => {
      const { A, B } = await module.factors()
      return side === 'B' ? B : transpose(matrix(rank, module.columns, A)).data
    })
  }
  if (part.expert === undefined) {
    return pair([rank, module.columns], [out, rank], async (side) => sideOf(placed[0], side))
  }
  const shapes = { A: [rank, module.columns], B: [out, rank] } as const
  return pair([experts, ...shapes.A], [experts, ...shapes.B], async (side) => {
    const [rows, columns] = shapes[side]
    const stack = new Float64Array(experts * rows * columns)
    for (const one of placed) {
      const own = await sideOf(one, side)
      const width = side === 'A' ? columns : one.module.rank
      const at = one.part.expert! * rows * columns
      for (let row = 0; row * width < own.length; row++) {
        stack.set(own.subarray(row * width, (row + 1) * width), at + row * columns)
      }
    }
    return stack
  })
}

async function sideOf({ module, part }: Placed, side: 'A' | 'B'): Promise<FloatArray> {
  const { A, B } = await module.factors()
  if (side === 'A') return A
  return part.rows === undefined ? B : takeRows(B, module.rank, part.rows)
}

/** The keys that llama.cpp's converter writes, in its order and under its types (convert_lora_to_gguf.py at v0.5.0, goldens/ggufnames.json). */
function metadataOf(
  { of }: GgufModel,
  name: string | undefined,
  ranks: ReadonlySet<number>,
): Map<string, GgufScalar | GgufArray> {
  const [rank] = ranks
  return new Map<string, GgufScalar | GgufArray>([
    ['general.architecture', { type: 'string', value: of.name }],
    ['general.type', { type: 'string', value: 'adapter' }],
    ['adapter.type', { type: 'string', value: 'lora' }],
    ...(name === undefined ? [] : ([['general.name', { type: 'string', value: name }]] as const)),
    ...(ranks.size === 1 ? ([['adapter.lora.alpha', { type: 'f32', value: rank }]] as const) : []),
    ['general.quantization_version', { type: 'u32', value: 2 }],
  ])
}
