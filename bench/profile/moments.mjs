// Second moments of the inputs of a pair's layers, made from random inputs.
import { createWasmEngine } from '../../dist/wasm-engine.cjs'
import { normals, writeSafetensors } from '../tensors.mjs'

/** Inputs of the mean, in times what a layer takes at once: their moments are of full rank. */
const SAMPLES = 2

/** Writes a file of them, 'full' or 'diagonal', for every matrix; gives its path. */
export function momentsOf({ matrices }, kind, path) {
  const engine = createWasmEngine({ threads: 1 })
  const tensors = matrices.map(({ name, shape: [, inputs] }, i) => {
    const rows = SAMPLES * inputs
    const C = engine.gram({ rows, columns: inputs, data: normals(rows * inputs, 1, i + 1) })
    const isFull = kind === 'full'
    const data = isFull
      ? Float32Array.from(C.data, (x) => x / rows)
      : Float32Array.from({ length: inputs }, (_, j) => C.data[j * (inputs + 1)] / rows)
    const shape = isFull ? [inputs, inputs] : [inputs]
    const suffix = isFull ? 'second_moment' : 'second_moment_diagonal'
    return { name: `${name}.${suffix}`, dtype: 'F32', shape, data, bytes: data.byteLength }
  })
  writeSafetensors(path, tensors, ({ data }) => Buffer.from(data.buffer, data.byteOffset, data.byteLength))
  return path
}
