import { GGUF_MAGIC } from './gguf-header.ts'
import { NPY_MAGIC } from './npy.ts'
import { HEADER_BYTE_LIMIT } from './safetensors-header.ts'

/**
 * Python for `python3 -c` that writes what PyTorch's pickles hold (one, or the shards of one model) as one safetensors file;
 * the arguments are the new file, then the pickles. Weights are looked for inside the wrappers that trainers put around
 * them (Lightning: state_dict; DeepSpeed: module; Megatron, torchtune and others: model). Each tensor is stored as a copy
 * of its own, in row-major order, as safetensors.torch.save_file refuses tensors that share memory or aren't contiguous
 * (safetensors/torch.py, _flatten and _tobytes, 0.8). It has no quote or mark that a shell would take.
 */
const CONVERSION = [
  'import sys, torch, safetensors.torch as s',
  "f = lambda d: next((f(d[k]) for k in ('state_dict', 'model_state_dict', 'model', 'module') if isinstance(d.get(k), dict)), d)",
  "t = {k: v.contiguous().clone() for p in sys.argv[2:] for k, v in f(torch.load(p, map_location='cpu', weights_only=True)).items() if torch.is_tensor(v)}",
  "assert t, 'no tensors found'",
  's.save_file(t, sys.argv[1])',
].join('; ')

/** What a pickle is, and how to make of it what is read. */
export const PICKLE_PROBLEM = `is a PyTorch file (pickle), which can run code when read; convert it, with all its shards: python3 -c "${CONVERSION}" out.safetensors in.bin`

/** What a file is by its first bytes, and only then by its name. `foreign` is a format we know but don't read. */
export type Sniffed =
  | { readonly format: 'gguf' | 'npy' | 'npz' | 'safetensors' | 'text' }
  | { readonly format: 'foreign'; readonly problem: string }

/** Enough to tell text from binary and to see a whole Git LFS pointer. */
export const SNIFFED_BYTES = 1024

interface Foreign {
  readonly start: readonly number[] | string
  readonly problem: string
}

const HDF5 =
  'is an HDF5 file (Keras, MATLAB 7.3); save the matrix with numpy.save(file, h5py.File(path)["name"][()])'
const ONNX =
  'is an ONNX model; save the weight with numpy.save(file, onnx.numpy_helper.to_array(initializer))'
const compressed = (how: string) => `is compressed; unpack it first (${how})`

const FOREIGN: readonly Foreign[] = [
  { start: [0x89, 0x48, 0x44, 0x46, 0x0d, 0x0a, 0x1a, 0x0a], problem: HDF5 },
  {
    start: 'MATLAB 5.0',
    problem: 'is a MATLAB file; save the matrix with numpy.save(file, scipy.io.loadmat(path)["name"])',
  },
  {
    start: 'PAR1',
    problem:
      'is a Parquet table; save the matrix with numpy.save(file, pandas.read_parquet(path).to_numpy())',
  },
  {
    start: 'ARROW1',
    problem: 'is an Arrow table; save the matrix with numpy.save(file, pandas.read_feather(path).to_numpy())',
  },
  { start: [0x1f, 0x8b], problem: compressed('gunzip') },
  { start: [0x28, 0xb5, 0x2f, 0xfd], problem: compressed('unzstd') },
  { start: [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0], problem: compressed('unxz') },
  { start: 'BZh', problem: compressed('bunzip2') },
  {
    start: 'version https://git-lfs',
    problem: 'is a Git LFS pointer, not the file itself; fetch that with git lfs pull',
  },
  { start: '<', problem: 'is HTML or XML, perhaps an error page; download the file itself' },
  { start: '{', problem: 'is JSON; name the safetensors, .npy or text file that holds the numbers' },
]

/** Pickle protocols 2 to 5 start with these two bytes. */
const isPickle = (bytes: Uint8Array) => bytes[0] === 0x80 && bytes[1] >= 2 && bytes[1] <= 5

const BY_EXTENSION = new Map<string, Sniffed>([
  ['.npy', { format: 'npy' }],
  ['.npz', { format: 'npz' }],
  ['.safetensors', { format: 'safetensors' }],
  ['.gguf', { format: 'gguf' }],
  ['.onnx', { format: 'foreign', problem: ONNX }],
  ['.h5', { format: 'foreign', problem: HDF5 }],
  ['.hdf5', { format: 'foreign', problem: HDF5 }],
  ['.pt', { format: 'foreign', problem: PICKLE_PROBLEM }],
  ['.pth', { format: 'foreign', problem: PICKLE_PROBLEM }],
  ['.ckpt', { format: 'foreign', problem: PICKLE_PROBLEM }],
  ['.pkl', { format: 'foreign', problem: PICKLE_PROBLEM }],
])

/** Tells the format from the first `SNIFFED_BYTES` bytes, the whole length, and the name. */
export function sniff(start: Uint8Array, byteLength: number, name: string): Sniffed {
  if (startsWith(start, NPY_MAGIC)) return { format: 'npy' }
  if (startsWith(start, 'PK\x03\x04') || startsWith(start, 'PK\x05\x06')) return { format: 'npz' }
  if (startsWith(start, GGUF_MAGIC)) return { format: 'gguf' }
  if (looksLikeSafetensors(start, byteLength)) return { format: 'safetensors' }
  if (isPickle(start)) return { format: 'foreign', problem: PICKLE_PROBLEM }
  const foreign = FOREIGN.find((f) => startsWith(start, f.start))
  if (foreign !== undefined) return { format: 'foreign', problem: foreign.problem }
  const byExtension = BY_EXTENSION.get(/\.[^./\\]*$/.exec(name)?.[0].toLowerCase() ?? '')
  if (byExtension !== undefined) return byExtension
  if (isUtf16(start) || !start.includes(0)) return { format: 'text' }
  return {
    format: 'foreign',
    problem: 'is binary, of no format known here; .npy, .npz, safetensors and text (csv, tsv) are read',
  }
}

/** A plausible header length and then the `{` of the header, which writers may pad with JSON space on the left. */
function looksLikeSafetensors(start: Uint8Array, byteLength: number): boolean {
  if (start.length < 9) return false
  const view = new DataView(start.buffer, start.byteOffset, start.length)
  const length = view.getBigUint64(0, true)
  const plausible = length >= 2n && length <= BigInt(Math.min(HEADER_BYTE_LIMIT, byteLength - 8))
  return plausible && [0x7b, 0x20, 0x09, 0x0a, 0x0d].includes(start[8])
}

const isUtf16 = (b: Uint8Array) => (b[0] === 0xff && b[1] === 0xfe) || (b[0] === 0xfe && b[1] === 0xff)

function startsWith(bytes: Uint8Array, start: readonly number[] | string): boolean {
  const expected = typeof start === 'string' ? [...start].map((c) => c.charCodeAt(0)) : start
  return expected.every((byte, i) => bytes[i] === byte)
}
