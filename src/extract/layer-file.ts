import { decodeFloats } from '../formats/dtype.ts'
import { readTensorBytes } from '../formats/safetensors.ts'
import { readSafetensorsHeader } from '../formats/safetensors-header.ts'
import { layoutSafetensors, safetensorsChunks } from '../formats/safetensors-writer.ts'
import { openFile } from '../formats/source.ts'
import { writeFileAtomic } from '../formats/write-atomic.ts'
import { type Float64Matrix, matrix } from '../matrix/matrix.ts'
import type { LayerResult } from './layer-result.ts'

/** The key of the figures in the file's metadata. */
const FIGURES = 'figures'

/** Writes a layer's triplets and figures to a file that appears whole or not at all. Replaces what is there. */
export async function writeLayerFile(path: string, result: LayerResult): Promise<void> {
  const { U, V, spectrum, ...rest } = result
  const { singularValues: S, ...bounds } = spectrum
  const figures = JSON.stringify({ ...rest, spectrum: bounds })
  const layout = layoutSafetensors(
    [
      { name: 'U', dtype: 'F64', shape: [U.rows, U.columns], data: U.data },
      { name: 'S', dtype: 'F64', shape: [S.length], data: S },
      { name: 'V', dtype: 'F64', shape: [V.rows, V.columns], data: V.data },
    ],
    { [FIGURES]: figures },
  )
  await writeFileAtomic(path, safetensorsChunks(layout), { force: true })
}

/** What `writeLayerFile` wrote. `withVectors` false leaves U and V without columns, and unread. */
export async function readLayerFile(path: string, withVectors = true): Promise<LayerResult> {
  const source = await openFile(path)
  try {
    const header = await readSafetensorsHeader(source)
    const floats = async (name: string) =>
      decodeFloats(await readTensorBytes(source, header, name), 'f64') as Float64Array
    const vectors = async (name: string): Promise<Float64Matrix> => {
      const [rows, columns] = header.tensors.get(name)?.shape ?? [0, 0]
      return withVectors ? matrix(rows, columns, await floats(name)) : matrix(rows, 0, new Float64Array(0))
    }
    const { spectrum, ...rest } = JSON.parse(header.metadata.get(FIGURES) ?? '')
    return {
      ...rest,
      spectrum: { ...spectrum, singularValues: await floats('S') },
      U: await vectors('U'),
      V: await vectors('V'),
    }
  } finally {
    await source.close()
  }
}
