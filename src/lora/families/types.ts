/** How a denoiser's tensors are named: as its authors did, as ComfyUI repacks HunyuanVideo's, or as diffusers does. */
export type Form = 'original' | 'repacked' | 'diffusers'

/** Whose names an adapter's modules have. */
export type Naming = 'kohya' | 'comfyui' | 'diffusers'
export const NAMINGS: readonly Naming[] = ['kohya', 'comfyui', 'diffusers']

/** The programs whose rules are known here; kohya's is sd-scripts, which A1111 and Forge follow in names. */
export type Loader = 'ComfyUI' | 'diffusers' | 'kohya'

/** A checkpoint's tensors by name: those of a `Checkpoint`, or anything else that has shapes. */
export type Tensors = ReadonlyMap<string, { readonly shape: readonly number[] }>

/** Rows [from, to) of a matrix's outputs. */
export type Rows = readonly [from: number, to: number]

/** A tensor in one form, as seen from its counterpart in another. */
export interface Link {
  readonly path: string
  /** What the part is of the fused one, whichever of the two that is. */
  readonly rows?: Rows
  /** The first and second half of the rows change places. */
  readonly swapHalves?: true
  readonly isTransposed?: true
}

/** How a module of an adapter and a tensor of the base lie to each other. */
export interface Fit {
  /** The rows of the base's tensor that the module changes, where it changes only those. */
  readonly rows?: Rows
  /** The rows of the module that change the base's tensor, where others change other tensors. */
  readonly moduleRows?: Rows
  /** The halves of the module's rows lie the other way round. */
  readonly swapHalves?: true
  /** The module's matrix is the base's turned. */
  readonly isTransposed?: true
}

/** The counterparts of a path: several where it is fused, none where the other form drops it, undefined where no rule knows it. */
export type Rename = (path: string) => readonly Link[] | undefined

/** The shape of the denoiser's tensor at a path. */
export type ShapeOf = (path: string) => readonly number[] | undefined

export interface Denoiser {
  readonly form: Form
  readonly paths: Iterable<string>
  readonly shapeOf: ShapeOf
}

/** What tells a family and its form: these tensors are there, and none of those others. */
export interface Mark {
  readonly form: Form
  readonly tensors: readonly string[]
  readonly unless?: readonly string[]
  readonly test?: (shapeOf: ShapeOf) => boolean
}

/** What the names of a naming's modules are made of, and which of their tensors its readers want. */
export interface Target {
  /** The form whose paths the names hold. */
  readonly form: Form
  readonly down: '.lora_down.weight' | '.lora_A.weight'
  readonly up: '.lora_up.weight' | '.lora_B.weight'
  /** Whether an alpha belongs beside the factors; for a pattern, beside those of the paths that it fits. */
  readonly alpha: boolean | RegExp
  /** Replaced in paths last, in this order. */
  readonly rewrite?: readonly (readonly [from: string, to: string])[]
}

/** What a loader doesn't do right with modules of a naming. */
export interface Gap {
  readonly loader: Loader
  readonly naming: Naming
  /** The modules, by their dotted paths in the naming's form; all of them where it is left out. */
  readonly paths?: RegExp
  /** Only of modules in this spelling. */
  readonly down?: Target['down']
  /** `refused`: the whole file is; `wrong`: it is loaded with other numbers. */
  readonly effect: 'dropped' | 'refused' | 'wrong'
  readonly reason: string
  readonly source: string
}

/** A loader that refuses a file with some of these modules unless every block from the first to the last in the file has them all. */
export interface Completeness {
  readonly loader: Loader
  readonly naming: Naming
  /** What stands before the blocks' numbers. */
  readonly blocks: readonly string[]
  readonly modules: readonly string[]
  readonly source: string
}

export interface Encoder {
  /** ComfyUI's name, as in `text_encoders.clip_l.transformer.`. */
  readonly id: string
  readonly kind: 'clip' | 't5' | 'llm'
  /** What kohya's names begin with, where kohya trains it. */
  readonly kohya?: string
  /** Other beginnings under which ComfyUI or a trainer knows it. */
  readonly aliases?: readonly string[]
  /** The pipeline's component. */
  readonly component: string
  readonly isLoadedByDiffusers: boolean
}

/** Where a single file or a pipeline holds a text encoder, and in whose names. */
export interface EncoderPlace {
  readonly id: string
  readonly prefix: string
  readonly form: 'transformers' | 'openclip'
}

export interface Family {
  readonly id: string
  readonly name: string
  /** The pipeline's component that the denoiser is. */
  readonly component: 'unet' | 'transformer'
  readonly marks: readonly Mark[]
  readonly encoders: readonly Encoder[]
  readonly encoderPlaces: readonly EncoderPlace[]
  readonly targets: Readonly<Record<Naming, Target>>
  /** The naming that most loaders take. */
  readonly portable: Naming
  /** The loaders that know the family. */
  readonly loaders: readonly Loader[]
  readonly gaps: readonly Gap[]
  /** What diffusers does with a file in which there are modules of text encoders under other names than its own. */
  readonly encodersInDiffusers: Readonly<Record<Exclude<Naming, 'diffusers'>, 'read' | 'dropped' | 'refused'>>
  readonly completeness: readonly Completeness[]
  /** The paths of its denoiser's modules and parameters in all forms, with N for numbers. */
  readonly modules: readonly string[]
  readonly rename: (base: Denoiser, to: Form) => Rename
}
