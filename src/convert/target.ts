import type { KeptTensor } from '../combine/kept.ts'
import type { Term } from '../compress/terms.ts'
import type { FloatDtype } from '../formats/dtype.ts'
import type { Gap } from '../lora/families/types.ts'
import type { AdapterFormat, AdapterModule, TargetModule } from '../lora/model.ts'
import type { GgufAdapterPlan } from '../lora/write/gguf.ts'
import type { Change as WeightChange } from '../update/change.ts'
import type { RowRange } from '../update/dense.ts'

/** A weight that an adapter changes, or a part of one, as a module of the result has it, and what adds up to its change. */
export interface Change {
  readonly module: AdapterModule
  readonly terms: readonly Term[]
  /** Columns of the terms' factors, all together. */
  readonly rank: number
  /** Which of a stack of experts it is. */
  readonly expert?: number
}

/** How a pair's two tensors lie: A [r, in] and B [out, r]; both turned, as MLX has them; as many of them as there are experts. */
export type Orientation = 'plain' | 'turned' | 'by expert'

/** Two tensors of the result: the factors of one of its modules. */
export interface Pair {
  /** The names of the tensors. */
  readonly names: { readonly A: string; readonly B: string; readonly alpha?: string }
  /** The module, as the format's own tools call it. */
  readonly module: string
  /** One, those of the experts of a stack, or none where the factors are zeros. */
  readonly changes: readonly Change[]
  /** Directions of the change, of experts the most that one has. */
  readonly rank: number
  /** The rank of the stored factors, padded with zeros. */
  readonly storedRank: number
  /** Of the module's matrix, as B·A has it. */
  readonly rows: number
  readonly columns: number
  /** Shapes of the tensors as stored. */
  readonly shapes: { readonly A: readonly number[]; readonly B: readonly number[] }
  /** The module's matrix is the turned one of the weight's: Conv1D and embeddings in PEFT's names. */
  readonly isTransposed: boolean
  readonly orientation: Orientation
  /** It is one of a stack of experts, as PEFT has them. */
  readonly stack?: TargetModule
  /** Which expert each of the changes is of, and of how many, where the pair is of single ones' together. */
  readonly members?: { readonly of: number; readonly numbers: readonly number[] }
  /** What loaders don't do right with it. */
  readonly gaps: readonly Gap[]
}

/** One tensor of the result: all of the change of a weight, or of rows of it, which is no product of factors. */
export interface Difference {
  /** Of the tensor. */
  readonly name: string
  /** The module, as the format's own tools call it. */
  readonly module: string
  /** The module, as the source has it. */
  readonly label: string
  /** Of the whole weight. */
  readonly change: WeightChange
  /** The rows of it that the tensor is of. */
  readonly range: RowRange
  /** As stored. */
  readonly shape: readonly number[]
  /** Columns of the factors in the source. */
  readonly rank: number
  /** What loaders don't do right with it. */
  readonly gaps: readonly Gap[]
}

/** What the result has no place for. */
export interface Dropped {
  /** The module, or the tensor, as the source has it. */
  readonly name: string
  readonly reason: string
}

/** What a format makes of the changes: names, shapes and texts, and nothing that depends on a number of a factor. */
export interface FormatPlan {
  readonly format: AdapterFormat
  readonly pairs: readonly Pair[]
  /** What is stored whole because it is DoRA. */
  readonly differences: readonly Difference[]
  readonly wholes: readonly KeptTensor[]
  readonly dropped: readonly Dropped[]
  readonly metadata: Readonly<Record<string, string>>
  /** Files beside the tensors. */
  readonly texts: ReadonlyMap<string, string>
  /** The file of the tensors: within a folder, or undefined where the result is that file. */
  readonly tensorFile: string | undefined
  readonly dtype: FloatDtype
  /** The largest stored rank. */
  readonly r: number
  readonly warnings: readonly string[]
  /** The tensors and keys where the result is llama.cpp's, which `pairs` says nothing of. */
  readonly gguf?: GgufAdapterPlan
}
