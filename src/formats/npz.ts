import { badInput, type ErrorPlace } from '../errors.ts'
import type { FloatArray, Matrix } from '../matrix/matrix.ts'
import { type NpyFloat, writeNpy } from './npy.ts'
import { quoted } from './quote.ts'
import { readZip, writeZip } from './zip.ts'

/** One array of an .npz: `name` without `.npy`; `read` unpacks the .npy bytes. */
export interface NpzArray {
  readonly name: string
  read(): Uint8Array
}

/** An array to write under `name`, as `dtype` or else as the float type it has. */
export interface ArrayToWrite {
  readonly name: string
  readonly array: Matrix | FloatArray
  readonly dtype?: NpyFloat
}

/** An .npz of named matrices and vectors, not compressed; the same input gives the same bytes. Throws `bad-input` on a name twice. */
export function writeNpz(entries: readonly ArrayToWrite[]): Uint8Array {
  const names = new Set<string>()
  for (const { name } of entries) {
    if (names.has(name)) throw badInput(`an .npz can't hold two arrays named ${quoted(name)}`)
    names.add(name)
  }
  return writeZip(
    entries.map(({ name, array, dtype }) => ({ name: `${name}.npy`, bytes: writeNpy(array, dtype) })),
  )
}

/** The arrays of an .npz as numpy.savez and savez_compressed write it; members not named .npy are passed over. Throws `bad-input`. */
export function readNpz(bytes: Uint8Array, place: ErrorPlace): NpzArray[] {
  return readZip(bytes, place)
    .filter(({ name }) => name.endsWith('.npy'))
    .map((member) => ({ name: member.name.slice(0, -'.npy'.length), read: () => member.read() }))
}
