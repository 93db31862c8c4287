import type { FloatDtype } from '../../formats/dtype.ts'

export type JsonObject = Readonly<Record<string, unknown>>

/** What PEFT takes a module for. `conv1d` is transformers' Conv1D, a linear layer stored [in, out]. */
export type ModuleKind = 'linear' | 'conv1d' | 'embedding' | 'convolution' | 'experts'

/** A weight of the base model that LoRA factors can be written for. */
export interface PeftModule {
  /** The base tensor's name as stored. */
  readonly tensor: string
  /** The module's path in the model, without PEFT's `base_model.model.`; of experts the parameter's path. */
  readonly path: string
  readonly kind: ModuleKind
  /** The shape as stored. */
  readonly shape: readonly number[]
  /** The stored tensor as a matrix (one expert's): the delta is B [rows, r] · A [r, columns]. */
  readonly rows: number
  readonly columns: number
  /** How many matrices of rows × columns the tensor holds; 1 but for experts. */
  readonly experts: number
  /** rows is PEFT's in and columns its out: what is written is lora_A = Bᵀ, lora_B = Aᵀ. */
  readonly isTransposed: boolean
}

/** A module as it will be written. */
export interface PlannedModule {
  readonly module: PeftModule
  /** The rank that was chosen; 0 where the module only completes a group, with factors of zeros. */
  readonly rank: number
  /** The rank of the stored factors, padded with zeros. */
  readonly storedRank: number
  /** The tensors' names in adapter_model.safetensors. */
  readonly names: { readonly A: string; readonly B: string }
}

/** A module whose parameters are written whole: PEFT's `modules_to_save`. */
export interface SavedModule {
  readonly path: string
  /** All its parameters, by their stored names in the tuned model. */
  readonly tensors: readonly string[]
}

/**
 * `portable`: one rank for all, smaller ones padded with zeros; every loader scales it the same way.
 * `pattern`: each module's own rank, told by `rank_pattern` and `alpha_pattern`, which some loaders don't read.
 */
export type AdapterLayout = 'portable' | 'pattern'

/** All that is settled once names, shapes and ranks are. Nothing of it depends on the factors' values. */
export interface AdapterPlan {
  readonly layout: AdapterLayout
  readonly dtype: FloatDtype
  /** The largest stored rank: PEFT's `r`, and `lora_alpha`. */
  readonly r: number
  readonly modules: readonly PlannedModule[]
  readonly saved: readonly SavedModule[]
  /** A list of suffixes, or a regular expression where no list matches exactly. */
  readonly targetModules: readonly string[] | string
  readonly targetParameters: readonly string[]
  /** Paths of modules whose rank is not `r`, as PEFT's regular expressions; empty in `portable`. */
  readonly rankPattern: ReadonlyMap<string, number>
  readonly fanInFanOut: boolean
  /** What a user should know of loaders that can't take it, one sentence each. */
  readonly warnings: readonly string[]
}
