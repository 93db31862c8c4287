import type { Family, Naming } from '../families/types.ts'
import type { AdapterFormat, IgnoredTensor, ModuleKind } from '../model.ts'
import type { MlxTargets } from '../read/mlx-config.ts'
import type { PeftConfig } from '../read/peft-config.ts'

/** The programs that load adapters and of which something is known here; kohya's sd-scripts are followed by A1111 and Forge in names. */
export const LOADERS = [
  'PEFT',
  'vLLM',
  'SGLang',
  'llama.cpp',
  'TensorRT-LLM',
  'MLX',
  'diffusers',
  'ComfyUI',
  'kohya',
] as const
export type Loader = (typeof LOADERS)[number]

/**
 * What a loader does with what a fact is of. `refuses`: it loads nothing of the adapter, and says so; `passes over`: it goes on without
 * it; `misreads`: it loads other numbers; `scales`: it multiplies by another scale; `warns`: it loads it under a condition, or not in
 * every release.
 */
export type Effect = 'refuses' | 'passes over' | 'misreads' | 'scales' | 'warns'

/** What is known of a loader, once, with where it is known from. */
export interface Fact {
  /** Stable, in kebab case: scripts and SARIF tell facts by it. */
  readonly rule: string
  readonly loader: Loader
  readonly effect: Effect
  /** What the loader does, as a sentence. */
  readonly text: string
  /** Repository and file. */
  readonly source: string
  /** Of the source as it was read. */
  readonly date: string
}

/** A module of an adapter as far as loaders make differences: plain data, whether it was read or is to be written. */
export interface ModuleView {
  /** Unique in the adapter. */
  readonly label: string
  /** What stands before the path in the file's names. */
  readonly prefix: string
  readonly path: string
  /** The name of its first factor as stored, which tells the spelling: `….lora_A.weight`, `….lora_down.weight`. */
  readonly down: string
  readonly kind: ModuleKind
  readonly method: 'lora' | 'loha' | 'lokr'
  /** [out, in·kernel] of the product; of experts one expert's. */
  readonly productShape: readonly [out: number, columns: number]
  readonly kernel: readonly number[]
  readonly rank: number
  /** What the format calls the rank, by which alpha is divided. */
  readonly dim: number
  /** By which the product is multiplied, as the adapter's own format says. */
  readonly scale: number
  /** What an `.alpha` tensor says. */
  readonly storedAlpha?: number
  /** The name of lora_B.bias. */
  readonly bias?: string
  /** DoRA's magnitudes. */
  readonly magnitude?: { readonly name: string; readonly shape: readonly number[] }
}

/** A whole tensor that an adapter brings. */
export interface WholeView {
  /** As stored. */
  readonly name: string
  /** The base's tensor that it stands for, without the prefix. */
  readonly target: string
  readonly how: 'replace' | 'add'
  /** It is rows of the base's tensor alone. */
  readonly isRows: boolean
}

/** What is known of the model that the adapter is for. */
export interface ModelView {
  /** config.json's class, as `LlamaForCausalLM`. */
  readonly architecture?: string
  /** config.json's model_type, as `llama`. */
  readonly type?: string
  /** general.architecture, of a base that is a GGUF file. */
  readonly gguf?: string
  /** How many experts a layer has. */
  readonly experts?: number
  /** Of diffusion models, where the weights tell it: names tell less. */
  readonly family?: Family
  /** Its head is its embedding. */
  readonly isTied?: boolean
  /** How many its config says. */
  readonly blocks?: number
  /** The names of the modules that have weights, as they are stored. */
  readonly modules?: ReadonlySet<string>
}

/** An adapter as far as loaders make differences. */
export interface AdapterView {
  /** Whose names it has; `mlx` is mlx-lm's. */
  readonly format: AdapterFormat | 'mlx'
  /** adapter_config.json. */
  readonly config?: PeftConfig
  /** It is there, and could not be read. */
  readonly hasBrokenConfig?: true
  /** What MLX's config says of the modules that factors are loaded into. */
  readonly mlx?: MlxTargets
  readonly modules: readonly ModuleView[]
  readonly whole: readonly WholeView[]
  readonly ignored: readonly IgnoredTensor[]
  /** `__metadata__`, or the keys of a GGUF file. */
  readonly metadata?: ReadonlyMap<string, string>
  readonly model?: ModelView
}

/** What the modules of one part of a pipeline have in common: the denoiser's, or those of one text encoder. */
export interface Component {
  /** What most of the `.alpha` tensors say; undefined where there are none. */
  readonly commonAlpha?: number
  /** Another is as common. */
  readonly isTied: boolean
}

/** The same with what follows from it and is found once. */
export interface JudgedAdapter extends AdapterView {
  readonly byPath: ReadonlyMap<string, ModuleView>
  /** Names of tensors that are neither factors nor copies of the base's weights. */
  readonly strangers: readonly string[]
  /** Of diffusion models, as far as names tell it. */
  readonly family?: Family
  readonly naming?: Naming
  /** Its modules are a language model's, as far as names and config tell. */
  readonly isLanguageModel: boolean
  /** The parts of a pipeline that it is of, by what stands before their modules' paths. */
  readonly components: ReadonlyMap<string, Component>
}

/** A fact, and how an adapter that it is of is known. One of the finders is there. */
export interface LoaderRule extends Fact {
  /** Why the whole adapter is meant; undefined where it isn't. */
  readonly ofAdapter?: (adapter: JudgedAdapter) => string | undefined
  /** Why a module is meant. */
  readonly ofModule?: (module: ModuleView, adapter: JudgedAdapter) => string | undefined
  /** Why a tensor that is no factor is meant. */
  readonly ofWhole?: (tensor: WholeView, adapter: JudgedAdapter) => string | undefined
  /** Where it holds nothing else of the loader matters. */
  readonly isFinal?: true
}

/** The scale by which a loader multiplies B·A. */
export interface ScaleRule extends Fact {
  readonly scaleOf: (module: ModuleView, adapter: JudgedAdapter) => number
}

/** All that is known of a loader: the first rule that holds of a module is why it isn't loaded. */
export interface LoaderFacts {
  readonly rules: readonly LoaderRule[]
  readonly scale: ScaleRule
}
