import { badInput, LoraSvdError } from '../errors.ts'
import type { ByteSource } from '../io/source.ts'
import type { FloatArray, Matrix } from '../linalg/matrix/matrix.ts'
import { quoted } from '../text/quote.ts'
import { type ArrayShapes, decodeNpy, describeNpy, NPY_HEADER_BYTES, type NpyFloat, writeNpy } from './npy.ts'
import { PICKLE_PROBLEM } from './sniff.ts'
import type { Contents, TensorInfo } from './tensor-set.ts'
import {
  CENTRAL_BYTES,
  CENTRAL_HEADER,
  COUNT_IN_ZIP64,
  crc32,
  END,
  END_BYTES,
  IN_ZIP64,
  LOCAL_BYTES,
  LOCAL_HEADER,
  readMember,
  readMemberStart,
  readZipDirectory,
  STORED,
  UTF8_NAME,
  type ZipEntry,
} from './zip.ts'

/** 1980-01-01, the earliest date a zip holds: the same input gives the same bytes at any time. */
const FIXED_DATE = 0x0021
const VERSION_NEEDED = 20
/** Read and write for the owner, read for others: what `unzip` gives the file on Unix. */
const UNIX_MODE = 0o100644
const MADE_BY_UNIX = 3

/** What a zip archive says of a member. */
interface Member {
  readonly name: string
  readonly byteLength: number
  readonly crc: number
}

/** What stands around the bytes of the members of a zip archive: a header before each, and the directory at the end. */
export interface ZipFrame {
  readonly heads: readonly Uint8Array<ArrayBuffer>[]
  readonly directory: Uint8Array<ArrayBuffer>
  /** Of the whole archive. */
  readonly byteLength: number
}

/**
 * The frame of a zip archive of stored (not compressed) members; the same input gives the same bytes.
 * Throws `bad-input` at 4 GiB or 65,535 members, where the format would need zip64.
 */
export function zipFrame(members: readonly Member[]): ZipFrame {
  const named = members.map((member) => ({ ...member, name: new TextEncoder().encode(member.name) }))
  const total = named.reduce(
    (sum, m) => sum + LOCAL_BYTES + CENTRAL_BYTES + 2 * m.name.length + m.byteLength,
    END_BYTES,
  )
  if (total >= IN_ZIP64 || named.length >= COUNT_IN_ZIP64) {
    throw badInput(
      `an archive of ${total} bytes and ${named.length} members is past the zip format's 4 GiB and 65,535; write safetensors`,
    )
  }
  const offsets: number[] = []
  let at = 0
  const heads = named.map((m) => {
    offsets.push(at)
    const head = new Uint8Array(LOCAL_BYTES + m.name.length)
    const view = new DataView(head.buffer)
    view.setUint32(0, LOCAL_HEADER, true)
    writeCommonFields(view, 4, m)
    head.set(m.name, LOCAL_BYTES)
    at += head.length + m.byteLength
    return head
  })
  const start = at
  const directory = new Uint8Array(total - start)
  const view = new DataView(directory.buffer)
  at = 0
  named.forEach((m, i) => {
    view.setUint32(at, CENTRAL_HEADER, true)
    view.setUint16(at + 4, (MADE_BY_UNIX << 8) | VERSION_NEEDED, true)
    writeCommonFields(view, at + 6, m)
    view.setUint32(at + 38, UNIX_MODE * 0x10000, true)
    view.setUint32(at + 42, offsets[i], true)
    directory.set(m.name, at + CENTRAL_BYTES)
    at += CENTRAL_BYTES + m.name.length
  })
  view.setUint32(at, END, true)
  view.setUint16(at + 8, named.length, true)
  view.setUint16(at + 10, named.length, true)
  view.setUint32(at + 12, at, true)
  view.setUint32(at + 16, start, true)
  return { heads, directory, byteLength: total }
}

/** A zip archive of stored members. Throws as `zipFrame` does. */
function writeZip(members: readonly { name: string; bytes: Uint8Array }[]): Uint8Array {
  const { heads, directory, byteLength } = zipFrame(
    members.map(({ name, bytes }) => ({ name, byteLength: bytes.length, crc: crc32(bytes) })),
  )
  const out = new Uint8Array(byteLength)
  let at = 0
  const add = (bytes: Uint8Array) => {
    out.set(bytes, at)
    at += bytes.length
  }
  for (const [i, { bytes }] of members.entries()) {
    add(heads[i])
    add(bytes)
  }
  add(directory)
  return out
}

/** The fields that a local header and a directory entry share, from "version needed" on. */
function writeCommonFields(
  view: DataView,
  at: number,
  m: { name: Uint8Array; byteLength: number; crc: number },
) {
  view.setUint16(at, VERSION_NEEDED, true)
  view.setUint16(at + 2, m.name.some((byte) => byte > 127) ? UTF8_NAME : 0, true)
  view.setUint16(at + 4, STORED, true)
  view.setUint16(at + 8, FIXED_DATE, true)
  view.setUint32(at + 10, m.crc, true)
  view.setUint32(at + 14, m.byteLength, true)
  view.setUint32(at + 18, m.byteLength, true)
  view.setUint16(at + 22, m.name.length, true)
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

/**
 * The matrices of an .npz, as numpy.savez and savez_compressed write it; members not named .npy are passed over, and arrays that are no
 * matrices refused, where `shapes` aren't any. Of each array little more than the header is unpacked. With `only`, which another opening
 * of the same archive has found, the directory isn't read again. Throws `bad-input` for a damaged archive and for one without arrays.
 */
export async function openNpz(
  source: ByteSource,
  only?: ZipEntry,
  shapes: ArrayShapes = 'matrices',
): Promise<Contents> {
  const file = source.name
  const members = only === undefined ? await readZipDirectory(source) : [only]
  const arrays = members.filter(({ name }) => name.endsWith(EXTENSION))
  if (arrays.length === 0) throw badInput(`${file}: ${zipProblem(members.map(({ name }) => name))}`, { file })
  const names: string[] = []
  const tensors = new Map<string, TensorInfo>()
  const refused = new Map<string, LoraSvdError>()
  for (const member of arrays) {
    const name = member.name.slice(0, -EXTENSION.length)
    names.push(name)
    try {
      const start = await readMemberStart(source, member, NPY_HEADER_BYTES)
      // of the member, not of the archive
      const { range, ...array } = describeNpy(start, member.byteLength, name, { file, tensor: name }, shapes)
      tensors.set(name, { ...array, member })
    } catch (error) {
      if (!(error instanceof LoraSvdError && error.code === 'bad-input')) throw error
      refused.set(name, error)
    }
  }
  const decode = async ({ name, member }: TensorInfo) =>
    decodeNpy(await readMember(source, member!), { file, tensor: name }, shapes)
  return { format: 'npz', names, tensors, metadata: new Map(), refused, warnings: [], headerBytes: 0, decode }
}

/** What a zip archive without .npy members is, by their names. */
function zipProblem(names: readonly string[]): string {
  if (names.some((name) => /(^|\/)data\.pkl$/.test(name))) return PICKLE_PROBLEM
  if (names.some((name) => name.startsWith('xl/'))) {
    return 'is an Excel workbook; save the sheet as CSV (UTF-8)'
  }
  return 'is a zip archive without .npy arrays; unpack it, or write it with numpy.savez'
}
