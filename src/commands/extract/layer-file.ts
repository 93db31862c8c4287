import { createHash } from 'node:crypto'
import type { LayerResult } from '../../compress/layer-result.ts'
import { LoraSvdError } from '../../errors.ts'
import { decodeFloats } from '../../formats/dtype.ts'
import { openTensors } from '../../formats/open.ts'
import { layoutSafetensors, safetensorsChunks } from '../../formats/safetensors-writer.ts'
import { memorySource, readWholeFile } from '../../io/source.ts'
import { writeFileAtomic, writeOwnFile } from '../../io/write-atomic.ts'
import type { FloatArray } from '../../linalg/matrix/matrix.ts'
import type { Spectrum } from '../../linalg/spectrum/spectrum.ts'

/** Whose result a file holds. */
export interface LayerKey {
  /** Digest of the run's identity: of its inputs and options. */
  readonly run: string
  readonly round: number
  readonly name: string
  /** Of the layer. */
  readonly rows: number
  readonly columns: number
}

/** The keys of the file's metadata. */
const FIGURES = 'figures'
const CHECKSUM = 'sha256'

/**
 * Writes a layer's triplets and figures to a file that appears whole or not at all. Replaces what is there. With `lasts` it is
 * on the disk afterwards; else it may be lost when the machine stops, which its checksum tells, and the layer is computed again.
 */
export async function writeLayerFile(
  path: string,
  key: LayerKey,
  result: LayerResult,
  lasts: boolean,
): Promise<void> {
  const { U, V, spectrum, ...rest } = result
  const { singularValues: S, ...bounds } = spectrum
  const figures = JSON.stringify({ ...rest, spectrum: bounds }, (_, value) =>
    value instanceof Float64Array ? [...value] : value,
  )
  const layout = layoutSafetensors(
    [
      { name: 'U', dtype: 'F64', shape: [U.rows, U.columns], data: U.data },
      { name: 'S', dtype: 'F64', shape: [S.length], data: S },
      { name: 'V', dtype: 'F64', shape: [V.rows, V.columns], data: V.data },
    ],
    { [FIGURES]: figures, [CHECKSUM]: checksumOf(key, figures, [U.data, S, V.data]) },
  )
  const chunks = safetensorsChunks(layout)
  await (lasts ? writeFileAtomic(path, chunks, { force: true }) : writeOwnFile(path, chunks))
}

/**
 * What `writeLayerFile` wrote under this key. Undefined where that can't be had: the file is missing, cut, changed, or that of another
 * layer, round or run. Throws `system` where the machine fails.
 */
export async function readLayerFile(path: string, key: LayerKey): Promise<LayerResult | undefined> {
  try {
    return await readChecked(path, key)
  } catch (error) {
    if (error instanceof LoraSvdError && error.code === 'system') throw error
    return undefined
  }
}

async function readChecked(path: string, key: LayerKey): Promise<LayerResult | undefined> {
  const { rows, columns } = key
  const set = await openTensors(memorySource(path, await readWholeFile(path)), { only: 'safetensors' })
  const floats = async (name: string) => {
    const bytes = await set.read(name, 0, set.tensors.get(name)!.bytes)
    return decodeFloats(bytes, 'f64') as Float64Array
  }
  if (!['U', 'S', 'V'].every((name) => set.tensors.has(name))) return undefined
  const [U, S, V] = [await floats('U'), await floats('S'), await floats('V')]
  const figures = set.metadata.get(FIGURES) ?? ''
  if (set.metadata.get(CHECKSUM) !== checksumOf(key, figures, [U, S, V])) return undefined
  const { spectrum, weighed, ...rest } = JSON.parse(figures)
  const rank = S.length
  if (rest.name !== key.name || spectrum.rows !== rows || spectrum.columns !== columns) return undefined
  if (U.length !== rows * rank || V.length !== columns * rank) return undefined
  return {
    ...rest,
    ...(weighed !== undefined && { weighed: { ...weighed, plain: withFloats(weighed.plain) } }),
    spectrum: { ...spectrum, singularValues: S },
    U: { rows, columns: rank, data: U },
    V: { rows: columns, columns: rank, data: V },
  }
}

const withFloats = (
  spectrum: Omit<Spectrum, 'singularValues'> & { readonly singularValues: readonly number[] },
): Spectrum => ({
  ...spectrum,
  singularValues: Float64Array.from(spectrum.singularValues),
})

/** Against accidents, not against one who writes a checksum too: what others may write in is refused before it is read. */
function checksumOf({ run, round, name }: LayerKey, figures: string, data: readonly FloatArray[]): string {
  const hash = createHash('sha256').update(JSON.stringify([run, round, name, figures]))
  for (const { buffer, byteOffset, byteLength } of data) {
    hash.update(`${byteLength} `).update(new Uint8Array(buffer, byteOffset, byteLength))
  }
  return hash.digest('base64')
}
