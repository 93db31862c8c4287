import type { ByteSource } from '../io/source.ts'
import { type GgufTensor, readGgufHeader } from './gguf-header.ts'
import type { GgufValue } from './gguf-values.ts'
import type { TensorDtype } from './safetensors-dtype.ts'
import type { Contents, TensorInfo } from './tensor-set.ts'

/**
 * The tensors of a GGUF file under the names and in the shapes that it stores, from its header alone. Numbers in blocks keep their
 * bytes and the type's name, those of a quantised type that isn't read too. Throws as `readGgufHeader` does.
 */
export async function openGguf(source: ByteSource): Promise<Contents> {
  const { tensors: listed, metadata, dataStart } = await readGgufHeader(source)
  return {
    format: 'gguf',
    names: [...listed.keys()],
    tensors: new Map([...listed].map(([name, tensor]) => [name, infoOf(tensor)])),
    metadata: textsOf(metadata),
    refused: new Map(),
    warnings: [],
    headerBytes: dataStart,
  }
}

/** Every type of ggml's is one that safetensors has too, or made of blocks. */
const infoOf = ({ name, type, shape, begin, end }: GgufTensor): TensorInfo => ({
  ...{ name, dtype: type.name as TensorDtype, shape, bytes: end - begin },
  range: { begin, end },
})

/** Single values as texts, by their keys; lists, of which the longest are a vocabulary, are left out. */
function textsOf(metadata: ReadonlyMap<string, GgufValue>): ReadonlyMap<string, string> {
  const texts = new Map<string, string>()
  for (const [key, found] of metadata) if (found.type !== 'array') texts.set(key, String(found.value))
  return texts
}
