import { numbersOf, withBytes } from '../checkpoint/read.ts'
import type { ByteRange, StoredTensor, TensorSource } from '../checkpoint/types.ts'
import { type Workspace, withWorkspace } from '../engine/wasm/workspace.ts'
import { bytesPerElement, encodeFloats, type FloatDtype, findOverflow } from '../formats/dtype.ts'
import { bitsPerElement } from '../formats/safetensors-dtype.ts'
import type { Checksum } from '../io/checksum.ts'
import { type SizedFile, withSizedFile } from '../io/sized-file.ts'
import { NOTHING_ROUNDED, type RoundingAccount } from './account.ts'
import { rankOf } from './change.ts'
import { checksumIn } from './checksum.ts'
import { overflow, refuseLost } from './lost.ts'
import { type ChangeContext, type ChangeWork, forEachPanel, panelBytes } from './panels.ts'

/** A piece of a file that is written: bytes whose place is known, made from what is stored elsewhere. Plain data. */
export interface Piece {
  /** The tensor that it is of, or the first of several. */
  readonly name: string
  readonly to: Place
  readonly work: CopyWork | ConvertWork | ChangeWork
}

/** The bytes [begin, begin + bytes) of a file. */
export interface Place {
  readonly file: string
  readonly begin: number
  readonly bytes: number
}

/** The bytes of a file from `begin` on, as they are. */
export interface CopyWork {
  readonly kind: 'copy'
  readonly source: TensorSource
  readonly begin: number
}

/** Entries of a tensor from `first` on, each rounded to another type. */
export interface ConvertWork {
  readonly kind: 'convert'
  readonly tensor: StoredTensor
  readonly first: number
  readonly dtype: FloatDtype
}

export interface PieceJob extends ChangeContext {
  readonly piece: Piece
  /** As messages call the base. */
  readonly base: string
}

export interface WrittenPiece {
  /** Of the bytes as they were computed. */
  readonly checksum: number
  /** Of a change. */
  readonly account?: RoundingAccount
}

/** Bytes that are copied, converted or read back at a time: few calls, and still in the cache when they are summed up. */
const CHUNK_BYTES = 2 ** 20

/**
 * Makes a piece and writes it to its place. Throws LoraSvdError `not-finite` on NaN and infinity in what is changed, `bad-input`
 * where an entry is past what the type can hold, `system` where the machine fails.
 */
export function writePiece(job: PieceJob): Promise<WrittenPiece> {
  const { to, work } = job.piece
  return withWorkspace((workspace) =>
    withSizedFile(to.file, async (file) => {
      const checksum = checksumIn(workspace)
      const out = writerAt(file, to, checksum)
      if (work.kind === 'copy') await copy(work, job.piece, workspace, out.write)
      else if (work.kind === 'convert') await convert(work, job, out.write)
      const account = work.kind === 'change' ? await change(work, job, workspace, out.write) : undefined
      out.assertFull()
      return { checksum: checksum.value(), ...(account !== undefined && { account }) }
    }),
  )
}

type Write = (bytes: Uint8Array) => Promise<void>

function writerAt(file: SizedFile, { begin, bytes: length }: Place, checksum: Checksum) {
  let at = 0
  return {
    write: async (bytes: Uint8Array) => {
      if (at + bytes.length > length)
        throw new RangeError(`a piece of ${length} bytes gets ${at + bytes.length}`)
      checksum.add(bytes)
      await file.write(bytes, begin + at)
      at += bytes.length
    },
    assertFull: () => {
      if (at !== length) throw new RangeError(`a piece of ${length} bytes got ${at}`)
    },
  }
}

/** Calls `use` for each part of so many bytes, with memory of the workspace for it and where it begins. */
async function forEachChunk(
  bytes: number,
  { memory, allocate }: Workspace,
  use: (chunk: Uint8Array, at: number) => Promise<void>,
): Promise<void> {
  const step = Math.min(CHUNK_BYTES, bytes)
  const address = allocate(step)
  for (let at = 0; at < bytes; at += step) {
    await use(new Uint8Array(memory.buffer, address, Math.min(step, bytes - at)), at)
  }
}

const copy = (
  { source, begin }: CopyWork,
  { name, to }: Piece,
  workspace: Workspace,
  write: Write,
): Promise<void> =>
  withBytes(
    source,
    name,
    (_, fill) =>
      forEachChunk(to.bytes, workspace, async (chunk, at) => {
        await fill(chunk, begin + at)
        await write(chunk)
      }),
    begin + to.bytes,
  )

async function convert(
  { tensor, first, dtype }: ConvertWork,
  { piece, base }: PieceJob,
  write: Write,
): Promise<void> {
  const [size, outSize] = [bitsPerElement(tensor.dtype) / 8, bytesPerElement(dtype)]
  const count = piece.to.bytes / outSize
  const step = CHUNK_BYTES / 8
  const convertAll = async (read: (begin: number, end: number) => Promise<Uint8Array>) => {
    for (let start = first; start < first + count; start += step) {
      const end = Math.min(first + count, start + step)
      const numbers = numbersOf(await read(start * size, end * size), tensor.dtype)
      if (numbers === undefined) throw new RangeError(`${tensor.name}: ${tensor.dtype} is no float`)
      if (findOverflow(numbers, dtype) >= 0) throw overflow(base, tensor.name, dtype)
      await write(encodeFloats(numbers, dtype))
    }
  }
  await withBytes(tensor.source, tensor.name, convertAll, (first + count) * size)
}

type Sums = { -readonly [key in keyof RoundingAccount]: RoundingAccount[key] }

async function change(
  work: ChangeWork,
  job: PieceJob,
  workspace: Workspace,
  write: Write,
): Promise<RoundingAccount> {
  const sums: Sums = { ...NOTHING_ROUNDED }
  const keep = async (bytes: Uint8Array, account: RoundingAccount) => {
    for (const key of Object.keys(sums) as (keyof Sums)[]) sums[key] += account[key]
    await write(bytes)
  }
  await forEachPanel(work, job, workspace, keep)
  await refuseLost(sums, work, job)
  return sums
}

/** The most memory that a piece takes at one time. */
export const pieceBytes = ({ piece: { work } }: PieceJob): number =>
  work.kind === 'change' ? panelBytes(work) : 4 * CHUNK_BYTES

/** In a unit that takes about as long wherever it is spent: bytes written, and products of factors. */
export function pieceFlops({ piece: { to, work } }: PieceJob): number {
  if (work.kind !== 'change') return to.bytes
  const { change, range } = work
  return to.bytes + 2 * range.count * change.columns * rankOf(change)
}

/** What a piece that lies on the disk should be. */
export interface CheckJob {
  readonly name: string
  readonly to: Place
  readonly checksum: number
}

/** Reads a piece back from its file, and says whether it is what was computed. */
export const isAsWritten = ({ to, checksum }: CheckJob): Promise<boolean> =>
  withWorkspace((workspace) =>
    withSizedFile(to.file, async (file) => {
      const found = checksumIn(workspace)
      await forEachChunk(to.bytes, workspace, async (chunk, at) => {
        await file.readInto(chunk, to.begin + at)
        found.add(chunk)
      })
      return found.value() === checksum
    }),
  )

/** What a piece reads of the base's files, or of those that it copies; factors are read before. */
export function readsOfPiece({ to, work }: Piece): ByteRange[] {
  const part = (source: TensorSource | undefined, begin: number, bytes: number) =>
    source?.kind === 'range'
      ? [{ file: source.file, begin: source.begin + begin, end: source.begin + begin + bytes }]
      : []
  if (work.kind === 'copy') return part(work.source, work.begin, to.bytes)
  if (work.kind === 'convert') {
    const { tensor, first, dtype } = work
    const size = bitsPerElement(tensor.dtype) / 8
    return part(tensor.source, first * size, (to.bytes / bytesPerElement(dtype)) * size)
  }
  const { change, range } = work
  if (change.base === undefined) return []
  const rowBytes = (change.columns * bitsPerElement(change.base.dtype)) / 8
  return part(
    change.base.source,
    (range.matrix * change.rows + range.first) * rowBytes,
    range.count * rowBytes,
  )
}
