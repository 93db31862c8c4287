import { badInput, type LoraSvdError } from '../errors.ts'
import type { ByteSource } from '../io/source.ts'
import { quoted } from '../text/quote.ts'
import { type GgufTensor, readGgufHeader } from './gguf-header.ts'
import type { GgufValue } from './gguf-values.ts'
import { isTensorDtype } from './safetensors-dtype.ts'
import type { Contents, TensorInfo } from './tensor-set.ts'

/** The types that are read, as errors name them. */
const READ = 'F32, F16, BF16, F64, Q8_0, Q4_0, Q4_K and Q6_K'

/** What stands in the first file of a model that was split, by llama-gguf-split: how many there are. */
const SPLIT_KEY = 'split.count'

/**
 * The tensors of a GGUF file under the names and in the shapes that it stores, from its header alone. Numbers in blocks keep their
 * bytes and the type's name; a tensor of a quantised type that isn't read is among the refused ones. Throws as `readGgufHeader` does.
 */
export async function openGguf(source: ByteSource): Promise<Contents> {
  const { tensors: listed, metadata, dataStart } = await readGgufHeader(source)
  const tensors = new Map<string, TensorInfo>()
  const refused = new Map<string, LoraSvdError>()
  for (const tensor of listed.values()) {
    const info = infoOf(tensor)
    if (info === undefined) refused.set(tensor.name, unread(source.name, tensor))
    else tensors.set(tensor.name, info)
  }
  return {
    format: 'gguf',
    names: [...listed.keys()],
    tensors,
    metadata: textsOf(metadata),
    refused,
    warnings: splitWarning(source.name, metadata.get(SPLIT_KEY)),
    headerBytes: dataStart,
  }
}

function infoOf({ name, type, shape, begin, end }: GgufTensor): TensorInfo | undefined {
  if (!isTensorDtype(type.name)) return undefined
  return { name, dtype: type.name, shape, bytes: end - begin, range: { begin, end } }
}

const unread = (file: string, { name, type }: GgufTensor) =>
  badInput(
    `${file}: tensor ${quoted(name)} is stored as ${type.name}, which is not read (${READ} are); quantise the model to one of those, or use the original checkpoint`,
    { file, tensor: name },
  )

/** Single values as texts, by their keys; lists, of which the longest are a vocabulary, are left out. */
function textsOf(metadata: ReadonlyMap<string, GgufValue>): ReadonlyMap<string, string> {
  const texts = new Map<string, string>()
  for (const [key, found] of metadata) if (found.type !== 'array') texts.set(key, String(found.value))
  return texts
}

function splitWarning(file: string, found: GgufValue | undefined): string[] {
  if (found === undefined || found.type === 'array' || Number(found.value) < 2) return []
  return [
    `${file}: is one of ${found.value} files of a model, and is looked at alone; llama-gguf-split --merge joins them`,
  ]
}
