import { badInput } from '../errors.ts'
import type { FloatArray, Matrix } from '../matrix/matrix.ts'
import { NPY_HEADER_BYTES, type NpyFloat, type NpyHeader, readNpy, readNpyHeader, writeNpy } from './npy.ts'
import { quoted } from './quote.ts'
import type { ByteSource } from './source.ts'
import { readZipDirectory, type ZipEntry } from './zip.ts'
import { readMember, readMemberStart } from './zip-member.ts'
import { writeZip } from './zip-writer.ts'

/** One array of an .npz: `name` without `.npy`. Plain data, so that a worker can be sent it. */
export interface NpzArray {
  readonly name: string
  readonly entry: ZipEntry
}

const EXTENSION = '.npy'

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
    entries.map(({ name, array, dtype }) => ({ name: `${name}${EXTENSION}`, bytes: writeNpy(array, dtype) })),
  )
}

/** The arrays of an .npz as numpy.savez and savez_compressed write it; members not named .npy are passed over. Throws `bad-input`. */
export async function readNpzDirectory(source: ByteSource): Promise<NpzArray[]> {
  const entries = await readZipDirectory(source)
  return entries
    .filter(({ name }) => name.endsWith(EXTENSION))
    .map((entry) => ({ name: entry.name.slice(0, -EXTENSION.length), entry }))
}

/** The header of an array, of which little more than that is unpacked. Throws `bad-input`. */
export async function readArrayHeader(source: ByteSource, { name, entry }: NpzArray): Promise<NpyHeader> {
  const start = await readMemberStart(source, entry, NPY_HEADER_BYTES)
  return readNpyHeader(start, { file: source.name, tensor: name }, entry.byteLength)
}

/** A matrix of an archive. Throws `bad-input`. */
export async function readArray(source: ByteSource, { name, entry }: NpzArray) {
  return readNpy(await readMember(source, entry), { file: source.name, tensor: name })
}
