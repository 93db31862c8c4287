// Checkpoints and adapters of random numbers, for what measures whole processes.
import { closeSync, openSync, writeSync } from 'node:fs'

/** Writes tensors one after the other; `bytesOf` gives each one's. */
export function writeSafetensors(path, tensors, bytesOf, metadata = { format: 'pt' }) {
  let offset = 0
  const entries = tensors.map(({ name, dtype, shape, bytes }) => {
    const entry = [name, { dtype, shape, data_offsets: [offset, offset + bytes] }]
    offset += bytes
    return entry
  })
  const json = JSON.stringify({ __metadata__: metadata, ...Object.fromEntries(entries) })
  const header = Buffer.alloc(8 + Math.ceil(json.length / 8) * 8, ' ')
  header.writeBigUInt64LE(BigInt(header.length - 8))
  header.write(json, 8)
  const file = openSync(path, 'w')
  writeSync(file, header)
  for (const tensor of tensors) {
    const data = bytesOf(tensor)
    for (let at = 0; at < data.length; ) at += writeSync(file, data, at)
  }
  closeSync(file)
}

/** Numbers like a model's, the same ones over and over: what they are costs nothing to make. */
export function normals(count, deviation, seed) {
  let state = seed
  const uniform = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return (state + 0.5) / 2 ** 32
  }
  return Float32Array.from(
    { length: count },
    () => deviation * Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform()),
  )
}
