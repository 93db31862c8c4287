import { badInput } from '../errors.ts'
import type { ByteSource } from '../io/source.ts'
import { openGguf } from './gguf.ts'
import type { ArrayShapes } from './npy.ts'
import { openSafetensors } from './safetensors.ts'
import { SNIFFED_BYTES, sniff } from './sniff.ts'
import { type Contents, type TensorSet, tensorSet } from './tensor-set.ts'
import type { HeaderChoice } from './text-matrix.ts'

export interface OpenTensorsOptions {
  /** Whether the first row of a text is names; by its looks where it isn't said. */
  readonly header?: HeaderChoice | undefined
  /** The one format that is expected here; another is refused. */
  readonly only?: 'safetensors' | undefined
  /** Why a text is refused, where it is: half a sentence of the file. */
  readonly textProblem?: string | undefined
  /** Which arrays of an .npz are wanted; matrices where left out. */
  readonly arrays?: ArrayShapes | undefined
}

/**
 * The tensors of a source of whatever format is read: safetensors, GGUF, .npy, .npz, text. The first bytes tell the format, the name only
 * where they don't. Reads headers alone, of text everything. Throws `bad-input` for another format and for what its own format
 * calls damaged. What models seldom come in is loaded when it is met.
 */
export async function openTensors(
  source: ByteSource,
  { header, only, textProblem, arrays }: OpenTensorsOptions = {},
): Promise<TensorSet> {
  const { name: file, byteLength } = source
  const found = sniff(await source.read(0, Math.min(SNIFFED_BYTES, byteLength)), byteLength, file)
  if (found.format === 'foreign') throw badInput(`${file}: ${found.problem}`, { file })
  if (only !== undefined && found.format !== only) {
    throw badInput(`${file}: is no ${only} file; fetch it again`, { file })
  }
  if (textProblem !== undefined && found.format === 'text')
    throw badInput(`${file}: ${textProblem}`, { file })
  let contents: Contents
  switch (found.format) {
    case 'safetensors':
      contents = await openSafetensors(source)
      break
    case 'gguf':
      contents = await openGguf(source)
      break
    case 'npz':
      contents = await (await import('./npz.ts')).openNpz(source, undefined, arrays)
      break
    case 'npy':
      contents = await (await import('./npy.ts')).openNpy(source)
      break
    case 'text':
      contents = await (await import('./text-matrix.ts')).openText(source, header)
      break
  }
  return tensorSet(source, contents)
}
