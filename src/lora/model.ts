import type { StoredTensor } from '../checkpoint/types.ts'
import type { MlxTargets } from './read/mlx-config.ts'
import type { PeftConfig } from './read/peft-config.ts'

export type JsonObject = Readonly<Record<string, unknown>>

/** Whose names the tensors have. */
export type AdapterFormat = 'peft' | 'kohya' | 'comfyui' | 'diffusers' | 'gguf' | 'mlx'

/**
 * How a weight W lies to the product B·A of the factors that formats store.
 * `linear`: W is [out, in] as B·A is. `conv1d`: transformers' Conv1D, a linear layer stored [in, out], so that W is (B·A)ᵀ.
 * `embedding`: a table of rows, of which W is (B·A)ᵀ too. `convolution`: W is [out, in, …kernel], and B·A its [out, in·kernel]
 * view. `experts`: W is a stack of matrices, each with factors of its own.
 */
export type ModuleKind = 'linear' | 'conv1d' | 'embedding' | 'convolution' | 'experts'

/** A weight of a model that an adapter changes, and the matrices that it is seen as. Readers and writers of all formats share it. */
export interface TargetModule {
  /** The name of the base checkpoint's tensor; of an adapter that no base has been matched to, as its names suggest. */
  readonly tensor: string
  /**
   * The module's path in the model, without what a format puts before it; of experts that are written the parameter's path. As
   * read it is spelled as in the file: kohya's names have underscores for dots.
   */
  readonly path: string
  readonly kind: ModuleKind
  /** The shape of W as stored. */
  readonly shape: readonly number[]
  /** W, or one expert's, as a matrix [rows, columns]: its change is scale·B·A with B [rows, rank] and A [rank, columns]. */
  readonly rows: number
  readonly columns: number
  /** How many matrices W holds: 1 but for experts. */
  readonly experts: number
  /** W is [in, out], where formats store factors of [out, in]: theirs are A = Bᵀ and B = Aᵀ of the change of W. */
  readonly isTransposed: boolean
}

/** The entries that a module's tensors gain with each rank. */
export const elementsPerRank = ({ rows, columns, experts }: TargetModule) => (rows + columns) * experts

/** A product a·b as LyCORIS stores it; with a core [r, r, …kernel] a lies the other way round, [r, out], and b is [r, in]. */
export interface LowRank {
  readonly a: StoredTensor
  readonly b: StoredTensor
  readonly core?: StoredTensor
}

/**
 * The tensors whose product is the change of a weight, before it is scaled. `lora`: B·A, with A [rank, in], [rank, in, …kernel] or
 * of experts [experts·rank, in], and B [out, rank], [out, rank, 1…] or [out, rank·experts]; LoCon's Tucker core `mid` is
 * [rank, rank, …kernel] beside an A of [rank, in, 1…]. `loha`: w1 and w2 multiplied entry by entry (Hadamard). `lokr`: w1 ⊗ w2
 * (Kronecker), each whole or a product itself. `stack`: what modules of single experts make of a stack of all.
 */
export type StoredProduct =
  | {
      readonly kind: 'lora'
      readonly A: StoredTensor
      readonly B: StoredTensor
      readonly mid?: StoredTensor
      /** A is stored [in, rank] and B [rank, out], as MLX does: each is to be transposed. */
      readonly isTurned?: true
      /** One of its two tensors has the columns of `of` experts in turn, of which only each `of`-th is meant, from `first` on. */
      readonly every?: { readonly side: 'A' | 'B'; readonly first: number; readonly of: number }
    }
  | { readonly kind: 'loha'; readonly w1: LowRank; readonly w2: LowRank }
  | { readonly kind: 'lokr'; readonly w1: StoredTensor | LowRank; readonly w2: StoredTensor | LowRank }
  | {
      readonly kind: 'stack'
      /** By the expert's number the modules whose changes add up to its, with their rows of it. */
      readonly parts: Readonly<Record<number, readonly AdapterModule[]>>
    }

/** Rows of a module that are rows of a weight: `count` of them from row `module` on, which lie from row `weight` on. */
export interface RowRun {
  readonly module: number
  readonly weight: number
  readonly count: number
}

/**
 * A weight that an adapter changes, with what makes the change as it lies in the file: ΔW = scale·product, transposed where the
 * module is. `readFactors` gives it as plain factors, as W lies. Plain data, so that a worker can be sent it.
 */
export interface AdapterModule extends TargetModule {
  /** What stood before `path` in the names, such as `base_model.model.` or `lora_te1_`. */
  readonly prefix: string
  /** Unique in the adapter: `path`, with its prefix before it where two prefixes share it. */
  readonly label: string
  /** Of one that was made to match a base: the label of the file's module that it is, or is a part of, where that is another. */
  readonly ofLabel?: string
  readonly product: StoredProduct
  /** [out, in·kernel] of the product, as the format has it; of experts one expert's. */
  readonly productShape: readonly [out: number, columns: number]
  /** The kernel that the tensors tell: [kh, kw], [] where they are flat. */
  readonly kernel: readonly number[]
  /** Columns of the factors that `readFactors` gives: of LoRA the rows of A, of experts those of one expert. */
  readonly rank: number
  /** What the format calls its rank, by which alpha is divided: of LoHa and LoKr another number than `rank`. */
  readonly dim: number
  readonly alpha?: number
  /** What an `.alpha` tensor of the file says, whether or not the format heeds it. */
  readonly storedAlpha?: number
  /** By which B·A is multiplied, as the adapter's own format says. */
  readonly scale: number
  /** lora_B.bias [out]: the base's bias changes by scale·bias. */
  readonly bias?: StoredTensor
  /** DoRA's magnitudes: the change is then not scale·B·A alone. */
  readonly magnitude?: StoredTensor
  /** Of a module matched to a weight that has others of its rows: which of the product's are which of W's. W has no change in others. */
  readonly fit?: readonly RowRun[]
}

/** A whole tensor that the adapter brings: it takes the base tensor's place, or is added to it. */
export interface ReplacedTensor {
  /** The base checkpoint's tensor: its name where matched, before that as the names suggest. */
  readonly name: string
  readonly tensor: StoredTensor
  readonly how: 'replace' | 'add'
  /** It is rows of the base tensor alone, these, in their order (PEFT's trainable tokens). */
  readonly rows?: readonly number[]
  /** Which of its rows are which of the base tensor's, where those are others. */
  readonly fit?: readonly RowRun[]
  /** What stood before the name in the file. */
  readonly prefix: string
}

/** A module of a model whose parameters an adapter is to store whole (PEFT's `modules_to_save`). */
export interface SavedModule {
  readonly path: string
  /** All its parameters, by their stored names in the tuned model. */
  readonly tensors: readonly string[]
}

export interface IgnoredTensor {
  readonly name: string
  readonly reason: string
}

/** An adapter of any format, as far as headers and its config tell. */
export interface Adapter {
  readonly format: AdapterFormat
  /** As the user named it. */
  readonly path: string
  /** adapter_config.json, or what stands for it in a file's metadata. */
  readonly config?: PeftConfig
  /** Of MLX's adapters, what their config says besides the scale. */
  readonly mlx?: MlxTargets
  /** In the order of the file. */
  readonly modules: readonly AdapterModule[]
  /** modules_to_save, biases, and the exact parts of ComfyUI and LyCORIS (.diff, .diff_b, .set_weight, w_norm, b_norm). */
  readonly replaced: readonly ReplacedTensor[]
  readonly ignored: readonly IgnoredTensor[]
  /** What a user should know and what stops nothing. */
  readonly warnings: readonly string[]
}

const ofLowRank = ({ a, b, core }: LowRank): StoredTensor[] => (core === undefined ? [a, b] : [a, b, core])
const ofSide = (side: StoredTensor | LowRank): StoredTensor[] => ('a' in side ? ofLowRank(side) : [side])

/** All the tensors of a product, in the order in which errors name them. */
export function tensorsOf(product: StoredProduct): StoredTensor[] {
  switch (product.kind) {
    case 'lora':
      return [product.A, product.B, ...(product.mid === undefined ? [] : [product.mid])]
    case 'loha':
      return [...ofLowRank(product.w1), ...ofLowRank(product.w2)]
    case 'lokr':
      return [...ofSide(product.w1), ...ofSide(product.w2)]
    case 'stack':
      return Object.values(product.parts)
        .flat()
        .flatMap((part) => tensorsOf(part.product))
  }
}

/** The files in which the factors of a product lie: of small ones there are many in each. */
export const filesOf = (product: StoredProduct): string[] =>
  tensorsOf(product).flatMap(({ source }) => (source.kind === 'range' ? [source.file] : []))

/** The module as far as it bears on one expert, so that a worker is not sent what all of a stack are made of. */
export function ofExpert(module: AdapterModule, expert: number | undefined): AdapterModule {
  const { product } = module
  const own = product.kind === 'stack' && expert !== undefined ? product.parts[expert] : []
  // one that has no change is still of a module whose tensors can be named
  return own.length === 0 ? module : { ...module, product: { kind: 'stack', parts: { [expert!]: own } } }
}

/** The label that the file's module has, or the first of those that make up a stack. */
export function labelInFile({ label, ofLabel, product }: AdapterModule): string {
  const [first] = product.kind === 'stack' ? Object.values(product.parts).flat() : []
  return first === undefined ? (ofLabel ?? label) : labelInFile(first)
}

/** Stored bytes of a product: of a tensor that holds those of all experts the share that is meant. */
export function bytesOf(product: StoredProduct): number {
  const every = product.kind === 'lora' ? product.every : undefined
  const shared = every === undefined ? undefined : product.kind === 'lora' ? product[every.side] : undefined
  return tensorsOf(product).reduce(
    (sum, tensor) => sum + (tensor === shared ? tensor.bytes / every!.of : tensor.bytes),
    0,
  )
}

/** The tensor to be named for what is wrong with a side of the factors: of products that are no LoRA the first. */
export const blamed = ({ product }: AdapterModule, side: 'A' | 'B'): StoredTensor =>
  product.kind === 'lora' ? product[side] : tensorsOf(product)[0]
