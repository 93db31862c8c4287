import { storedDtypeOf } from '../../src/formats/safetensors-dtype.ts'
import { readMatrixOf, type TensorSet } from '../../src/formats/tensor-set.ts'

/** Reads every number of a set, as matrices those that are some. */
export async function readAll(set: TensorSet): Promise<void> {
  for (const { name, dtype, shape, bytes } of set.tensors.values()) {
    const read = await set.read(name, 0, bytes)
    if (read.length !== bytes) throw new RangeError(`${read.length} bytes of ${bytes}`)
    if (shape.length !== 2 || storedDtypeOf(dtype) === undefined) continue
    const { rows, columns, data } = await readMatrixOf(set, name, { file: set.source.name, tensor: name })
    if (data.length !== rows * columns) throw new RangeError(`${data.length} numbers of ${rows} × ${columns}`)
  }
}
