import type { StoredTensor } from '../checkpoint/types.ts'
import type { PeftConfig } from './peft-config.ts'

/** Whose names the tensors have. */
export type AdapterFormat = 'peft' | 'kohya' | 'comfyui' | 'diffusers'

/**
 * How the base tensor W lies to the product B·A of the stored factors.
 * `linear`: W is [out, in] as B·A is; `conv`: [out, in, …kernel], B·A is its [out, in·kernel] view.
 * `embedding` and `fan-in-fan-out`: W is (B·A)ᵀ. `experts`: W is a stack of matrices, each with its own factors.
 * `unknown-transpose`: PEFT's fan_in_fan_out is set, but only the base tensor's shape tells whether this module is meant.
 */
export type ModuleLayout =
  | 'linear'
  | 'embedding'
  | 'fan-in-fan-out'
  | 'conv'
  | 'experts'
  | 'unknown-transpose'

/** The stack that a module of layout `experts` applies to. */
export interface ExpertStack {
  readonly count: number
  /** Each matrix of the base is [in, out]. */
  readonly isTransposed: boolean
}

/** One pair of factors: ΔW = scale·B·A. Plain data, so that a worker can be sent it. */
export interface AdapterModule {
  /** The path without the format's prefix and suffix, as the file spells it: dots are underscores in kohya's names. */
  readonly module: string
  /** What stood before `module` in the names, such as `base_model.model.` or `lora_te1_`. */
  readonly prefix: string
  /** Unique in the adapter: `module`, with its prefix before it where two prefixes share it. */
  readonly label: string
  /** The base checkpoint's tensor: its name where matched, before that as the names suggest. */
  readonly baseTensor: string
  /** [rank, in], [rank, in, …kernel]; [count·rank, in] of experts. */
  readonly A: StoredTensor
  /** [out, rank], [out, rank, 1…]; [out, rank·count] of experts. */
  readonly B: StoredTensor
  /** LoCon's Tucker core [rank, rank, …kernel]; A is then [rank, in, 1…]. */
  readonly mid?: StoredTensor
  /** Rows of A; of experts those of one expert. */
  readonly rank: number
  readonly alpha?: number
  /** What an `.alpha` tensor of the file says, whether or not the format heeds it. */
  readonly storedAlpha?: number
  /** By which B·A is multiplied, as the adapter's own format says. */
  readonly scale: number
  readonly layout: ModuleLayout
  readonly experts?: ExpertStack
  /** lora_B.bias [out]: the base's bias changes by scale·bias. */
  readonly bias?: StoredTensor
  /** DoRA's magnitudes: the change is then not scale·B·A alone. */
  readonly magnitude?: StoredTensor
}

/** A whole tensor that the adapter brings: it takes the base tensor's place, or is added to it. */
export interface ReplacedTensor {
  /** The base checkpoint's tensor: its name where matched, before that as the names suggest. */
  readonly name: string
  readonly tensor: StoredTensor
  readonly how: 'replace' | 'add'
  /** What stood before the name in the file. */
  readonly prefix: string
}

export interface IgnoredTensor {
  readonly name: string
  readonly reason: string
}

export interface Adapter {
  readonly format: AdapterFormat
  /** As the user named it. */
  readonly path: string
  /** adapter_config.json, or what stands for it in a file's metadata. */
  readonly config?: PeftConfig
  /** In the order of the file. */
  readonly modules: readonly AdapterModule[]
  /** modules_to_save, biases, and the exact parts of ComfyUI and LyCORIS (.diff, .diff_b, .set_weight, w_norm, b_norm). */
  readonly replaced: readonly ReplacedTensor[]
  readonly ignored: readonly IgnoredTensor[]
  /** What a user should know and what stops nothing. */
  readonly warnings: readonly string[]
}

export const LOADERS = ['PEFT', 'vLLM', 'SGLang', 'llama.cpp', 'TensorRT-LLM', 'ComfyUI'] as const
export type Loader = (typeof LOADERS)[number]

/** The scale by which a loader multiplies B·A, or why it does not load the adapter. */
export interface LoaderScale {
  readonly loader: Loader
  readonly scale?: number
  readonly refusal?: string
}
