import type { StoredDtype } from '../formats/dtype.ts'
import type { ArrayShapes } from '../formats/npy.ts'
import type { TensorDtype } from '../formats/safetensors-dtype.ts'
import type { HeaderChoice } from '../formats/text-matrix.ts'
import type { ZipEntry } from '../formats/zip.ts'
import type { FileIdentity } from '../io/files.ts'
import type { Matrix } from '../linalg/matrix/matrix.ts'

/** The bytes [begin, end) of a file. */
export interface ByteRange {
  readonly file: string
  readonly begin: number
  readonly end: number
}

/** Where the numbers of a tensor lie. Plain data, so that a worker can be sent it. */
export type TensorSource =
  /** The bytes [begin, end) of a file: row-major, little-endian. */
  | ({ readonly kind: 'range' } & ByteRange)
  /** Rows of `rowBytes` bytes each, taken from ranges that lie one after the other: row i is their row `order[i]`. */
  | {
      readonly kind: 'rows'
      readonly ranges: readonly ByteRange[]
      readonly rowBytes: number
      readonly order: Uint32Array
    }
  /** A file, or one array of it, that can only be read whole: .npy, .npz, text. */
  | {
      readonly kind: 'file'
      readonly file: string
      /** The array of an .npz, and the member of the archive that it is. */
      readonly array?: { readonly name: string; readonly entry: ZipEntry; readonly shapes?: ArrayShapes }
      readonly header?: HeaderChoice
    }
  /** The bytes as stored, read already, as from standard input. */
  | { readonly kind: 'bytes'; readonly bytes: Uint8Array }
  /** A matrix read already, as text from standard input. */
  | { readonly kind: 'memory'; readonly matrix: Matrix }

/** A tensor as a checkpoint stores it. */
export interface StoredTensor {
  readonly name: string
  readonly dtype: TensorDtype
  readonly shape: readonly number[]
  /** Stored bytes. */
  readonly bytes: number
  readonly source: TensorSource
}

/** A folder of a pipeline, whose tensors have the component's name before theirs. */
export interface Component {
  readonly name: string
  /** `__metadata__` of its first file. */
  readonly metadata: ReadonlyMap<string, string>
  /** The name of the index of its shards. */
  readonly index?: string
}

/** A set of named tensors, wherever it lies. Only headers have been read. */
export interface Checkpoint {
  /** As the user named it; of an address of the Hub, at the commit that was read. */
  readonly path: string
  /** The folder that holds it, links followed, where it is a folder. */
  readonly folder?: string
  /** In the order of the files, and in each of the data. */
  readonly tensors: ReadonlyMap<string, StoredTensor>
  /** `__metadata__` of the first file. */
  readonly metadata: ReadonlyMap<string, string>
  readonly files: readonly FileIdentity[]
  /** It is a GGUF file: names, the order of some rows, and the scale of an adapter are llama.cpp's. */
  readonly isGguf?: true
  /** It is a pipeline of diffusers: folders in a folder, each a model. */
  readonly components?: readonly Component[]
  /** config.json of a model's folder. */
  readonly config?: Readonly<Record<string, unknown>>
  /** adapter_config.json of an adapter's folder. */
  readonly adapterConfig?: Readonly<Record<string, unknown>>
  /** What a user should know and what stops nothing. */
  readonly warnings: readonly string[]
}

/** A tensor, or a part of one, seen as a matrix [rows, columns]. Plain data. */
export interface WeightMatrix {
  /** The tensor's name; `name[3]` for the fourth of a stack of experts. */
  readonly name: string
  /** The tensor's name as stored. */
  readonly tensor: string
  readonly rows: number
  readonly columns: number
  readonly dtype: StoredDtype
  /** Stored bytes of this matrix. */
  readonly bytes: number
  readonly source: TensorSource
  /** How the tensor's shape became a matrix; `conv` is [out, in·kh·kw]. */
  readonly view: 'matrix' | 'conv' | 'expert'
  /** The shape as stored. */
  readonly storedShape: readonly number[]
}

/** What is not looked at, and why. */
export interface Skipped {
  readonly name: string
  readonly reason: string
}

/** The same matrix in two checkpoints: same name, same shape. */
export interface MatrixPair {
  readonly name: string
  readonly base: WeightMatrix
  readonly tuned: WeightMatrix
}
