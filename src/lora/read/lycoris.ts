import { elementCount } from '../../checkpoint/read.ts'
import type { StoredTensor } from '../../checkpoint/types.ts'
import { readableFloatOf } from '../../formats/safetensors-dtype.ts'
import { shapeText } from '../../text/quote.ts'
import type { LowRank, StoredProduct } from '../model.ts'
import { isLycoris, type LycorisRole, type Role } from '../names.ts'

/** A LoHa's or LoKr's tensors as a product, and what their shapes say. */
export interface LycorisProduct {
  readonly product: StoredProduct
  readonly out: number
  /** in·kernel. */
  readonly columns: number
  /** [] where the tensors are flat, as those of a convolution without a core are. */
  readonly kernel: readonly number[]
  /** Columns of the plain factors that are the same product. */
  readonly rank: number
  /** By which alpha is divided; undefined where both sides of a Kronecker product are whole. */
  readonly dim: number | undefined
}

/** Makes the error for what is wrong with tensors. */
type Refuse = (tensors: readonly StoredTensor[], problem: string) => Error

/** A matrix that tensors stand for: [out, columns], of rank at most `rank`. */
interface Side {
  readonly out: number
  readonly columns: number
  readonly kernel: readonly number[]
  readonly rank: number
}

const sizeOf = (kernel: readonly number[]) => kernel.reduce((product, n) => product * n, 1)

/**
 * What a module's tensors make under LyCORIS' names (KohakuBlueleaf/LyCORIS@2025-10-04: modules/loha.py, modules/lokr.py,
 * functional/general.py, rebuild_tucker; huggingface/peft@2026-08-21: tuners/loha/layer.py, tuners/lokr/layer.py have the same).
 * Throws what `refuse` makes where a part is missing, or parts don't fit each other.
 */
export function lycorisProduct(tensors: ReadonlyMap<Role, StoredTensor>, refuse: Refuse): LycorisProduct {
  const parts = [...tensors].flatMap(([role, tensor]) => (isLycoris(role) ? [tensor] : []))
  for (const tensor of parts) checkTensor(tensor, refuse)
  const isLoha = [...tensors.keys()].some((role) => role.startsWith('hada_'))
  const isLokr = [...tensors.keys()].some((role) => role.startsWith('lokr_'))
  if (isLoha && isLokr) throw refuse(parts, 'of one module: it is a LoHa or a LoKr, not both')
  const at = (role: LycorisRole) => tensors.get(role)
  const part = (role: LycorisRole) => {
    const tensor = at(role)
    if (tensor !== undefined) return tensor
    throw refuse(parts, `of a module without ${role}: the file is incomplete`)
  }
  return isLoha ? loha(at, part, refuse) : lokr(at, part, refuse)
}

type At = (role: LycorisRole) => StoredTensor | undefined
type Part = (role: LycorisRole) => StoredTensor

function loha(at: At, part: Part, refuse: Refuse): LycorisProduct {
  const w1 = lowRank(part('hada_w1_a'), part('hada_w1_b'), at('hada_t1'))
  const w2 = lowRank(part('hada_w2_a'), part('hada_w2_b'), at('hada_t2'))
  const [first, second] = [sideOf(w1, refuse), sideOf(w2, refuse)]
  if (first.out !== second.out || first.columns !== second.columns) {
    throw refuse([w1.a, w1.b, w2.a, w2.b], 'are no two matrices of one shape')
  }
  const { out, columns, kernel } = first
  return {
    product: { kind: 'loha', w1, w2 },
    out,
    columns,
    kernel,
    rank: Math.min(first.rank * second.rank, out, columns),
    dim: first.rank,
  }
}

/** Where both sides are factored LyCORIS takes the second's rank, as ComfyUI does (weight_adapter/lokr.py): files have one for both. */
function lokr(at: At, part: Part, refuse: Refuse): LycorisProduct {
  const whole1 = at('lokr_w1')
  const w1 = whole1 ?? lowRank(part('lokr_w1_a'), part('lokr_w1_b'))
  const whole2 = at('lokr_w2')
  const w2 = whole2 ?? lowRank(part('lokr_w2_a'), part('lokr_w2_b'), at('lokr_t2'))
  const [first, second] = [sideOf(w1, refuse), sideOf(w2, refuse)]
  if (first.kernel.length > 0)
    throw refuse([whole1!], 'has a kernel; the left side of a Kronecker product has none')
  return {
    product: { kind: 'lokr', w1, w2 },
    out: first.out * second.out,
    columns: first.columns * second.columns,
    kernel: second.kernel,
    rank: first.rank * second.rank,
    dim: whole2 === undefined ? second.rank : whole1 === undefined ? first.rank : undefined,
  }
}

const lowRank = (a: StoredTensor, b: StoredTensor, core?: StoredTensor): LowRank => ({
  a,
  b,
  ...(core !== undefined && { core }),
})

function sideOf(side: StoredTensor | LowRank, refuse: Refuse): Side {
  if (!('a' in side)) {
    const [out] = side.shape
    const columns = elementCount(side) / out
    return { out, columns, kernel: side.shape.slice(2), rank: Math.min(out, columns) }
  }
  const { a, b, core } = side
  const both = `of the shapes ${shapeText(a.shape)} and ${shapeText(b.shape)}`
  if (core === undefined) {
    const [out, rank] = a.shape
    if (a.shape.length !== 2 || b.shape[0] !== rank) throw refuse([a, b], `${both} are no pair`)
    return { out, columns: elementCount(b) / rank, kernel: b.shape.slice(2), rank }
  }
  const [outer, inner] = core.shape
  const isPair = a.shape.length === 2 && b.shape.length === 2
  if (!isPair || core.shape.length < 3 || a.shape[0] !== outer || b.shape[0] !== inner) {
    throw refuse([a, b, core], `${both} and ${shapeText(core.shape)} don't fit: a core is [r, r, …kernel]`)
  }
  const kernel = core.shape.slice(2)
  return { out: a.shape[1], columns: b.shape[1] * sizeOf(kernel), kernel, rank: outer }
}

function checkTensor(tensor: StoredTensor, refuse: Refuse): void {
  const { dtype, shape } = tensor
  if (readableFloatOf(dtype) === undefined)
    throw refuse([tensor], `is stored as ${dtype}; a factor is made of floats`)
  if (shape.length < 2 || shape.length > 5 || elementCount(tensor) === 0) {
    throw refuse(
      [tensor],
      `has the shape ${shapeText(shape)}; a factor has 2 to 5 dimensions, none of them 0`,
    )
  }
}
