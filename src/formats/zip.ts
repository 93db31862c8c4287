import { badInput, type ErrorPlace } from '../errors.ts'
import { quoted } from './quote.ts'
import type { ByteSource } from './source.ts'
import {
  CENTRAL_BYTES,
  CENTRAL_HEADER,
  COUNT_IN_ZIP64,
  ENCRYPTED,
  END,
  END_64,
  END_64_BYTES,
  END_64_LOCATOR,
  END_BYTES,
  IN_ZIP64,
  LOCAL_BYTES,
  LOCATOR_BYTES,
  LONGEST_COMMENT,
  ZIP64_EXTRA,
} from './zip-format.ts'

/** What the directory of a zip archive says of a member. Plain data, so that a worker can be sent it. */
export interface ZipEntry {
  readonly name: string
  /** Unpacked. */
  readonly byteLength: number
  readonly packed: number
  readonly method: number
  readonly isEncrypted: boolean
  readonly crc: number
  /** Of its local header. */
  readonly offset: number
  /** Where the next member, or the directory, begins: its data end before that. */
  readonly limit: number
}

/** Some 150,000 members with the names of weights. A directory is read into memory whole. */
const DIRECTORY_BYTE_LIMIT = 16 * 2 ** 20

/**
 * The members that the central directory of a zip archive lists, in its order; nothing else is read. Throws `bad-input` where
 * the archive is damaged, split, holds a name twice, or members that overlap. Source: PKWARE APPNOTE 6.3.
 */
export async function readZipDirectory(source: ByteSource): Promise<ZipEntry[]> {
  const place = { file: source.name }
  const { count, start, end } = await findDirectory(source, place)
  if (end - start > DIRECTORY_BYTE_LIMIT) {
    throw zipError(place, `has a directory of ${end - start} bytes; at most ${DIRECTORY_BYTE_LIMIT} are read`)
  }
  const bytes = start <= end ? await source.read(start, end) : new Uint8Array(0)
  const view = viewOf(bytes)
  const entries = new Map<string, Omit<ZipEntry, 'limit'>>()
  let at = 0
  for (let i = 0; i < count; i++) {
    if (at + CENTRAL_BYTES > bytes.length || view.getUint32(at, true) !== CENTRAL_HEADER) {
      throw zipError(
        place,
        `lists ${count} members, but entry ${i + 1} is not at byte ${start + at}: it is damaged`,
      )
    }
    const nameLength = view.getUint16(at + 28, true)
    const next =
      at + CENTRAL_BYTES + nameLength + view.getUint16(at + 30, true) + view.getUint16(at + 32, true)
    if (next > bytes.length)
      throw zipError(place, `is cut off inside the directory entry at byte ${start + at}`)
    const name = new TextDecoder().decode(bytes.subarray(at + CENTRAL_BYTES, at + CENTRAL_BYTES + nameLength))
    if (entries.has(name)) throw zipError(place, `holds ${quoted(name)} twice; which one is meant?`)
    entries.set(name, {
      name,
      method: view.getUint16(at + 10, true),
      isEncrypted: (view.getUint16(at + 8, true) & ENCRYPTED) !== 0,
      crc: view.getUint32(at + 16, true),
      ...sizes(view, at),
    })
    at = next
  }
  return withLimits([...entries.values()], start, place)
}

/** Where each member's data must end. Throws `bad-input` on members that share bytes, by which a small file unpacks to any size. */
function withLimits(
  entries: readonly Omit<ZipEntry, 'limit'>[],
  directory: number,
  place: ErrorPlace,
): ZipEntry[] {
  const inOrder = [...entries].sort((a, b) => a.offset - b.offset)
  const limits = new Map<string, number>()
  inOrder.forEach((entry, i) => {
    const limit = inOrder[i + 1]?.offset ?? directory
    if (entry.offset + LOCAL_BYTES + entry.packed > limit) {
      const other = inOrder[i + 1] === undefined ? 'the directory' : quoted(inOrder[i + 1].name)
      throw zipError(
        place,
        `has the member ${quoted(entry.name)}, which overlaps ${other}: it is damaged or made to exhaust memory; write it anew with numpy.savez`,
      )
    }
    limits.set(entry.name, limit)
  })
  return entries.map((entry) => ({ ...entry, limit: limits.get(entry.name)! }))
}

interface Directory {
  readonly count: number
  readonly start: number
  readonly end: number
}

async function findDirectory(source: ByteSource, place: ErrorPlace): Promise<Directory> {
  const tailStart = Math.max(0, source.byteLength - END_BYTES - LONGEST_COMMENT)
  const view = viewOf(await source.read(tailStart, source.byteLength))
  for (let at = view.byteLength - END_BYTES; at >= 0; at--) {
    if (view.getUint32(at, true) !== END) continue
    const count = view.getUint16(at + 10, true)
    const start = view.getUint32(at + 16, true)
    const end = tailStart + at
    return count === COUNT_IN_ZIP64 || start === IN_ZIP64
      ? findDirectory64(source, end - LOCATOR_BYTES, place)
      : { count, start, end }
  }
  throw zipError(place, 'has no end record: it is cut off; copy it anew')
}

async function findDirectory64(source: ByteSource, locator: number, place: ErrorPlace): Promise<Directory> {
  const at = (view: DataView, offset: number) => Number(view.getBigUint64(offset, true))
  if (locator >= 0) {
    const found = viewOf(await source.read(locator, locator + LOCATOR_BYTES))
    const end = at(found, 8)
    if (found.getUint32(0, true) === END_64_LOCATOR && end + END_64_BYTES <= locator) {
      const record = viewOf(await source.read(end, end + END_64_BYTES))
      if (record.getUint32(0, true) === END_64) return { count: at(record, 32), start: at(record, 48), end }
    }
  }
  throw zipError(place, 'has no zip64 end record where one is announced: it is damaged')
}

/** The sizes and the offset of a directory entry, from its zip64 extra field where they don't fit. */
function sizes(view: DataView, at: number) {
  const fields = {
    byteLength: view.getUint32(at + 24, true),
    packed: view.getUint32(at + 20, true),
    offset: view.getUint32(at + 42, true),
  }
  const extraStart = at + CENTRAL_BYTES + view.getUint16(at + 28, true)
  const extraEnd = extraStart + view.getUint16(at + 30, true)
  for (let extra = extraStart; extra + 4 <= extraEnd; extra += 4 + view.getUint16(extra + 2, true)) {
    if (view.getUint16(extra, true) !== ZIP64_EXTRA) continue
    let next = extra + 4
    for (const field of ['byteLength', 'packed', 'offset'] as const) {
      if (fields[field] !== IN_ZIP64 || next + 8 > extraEnd) continue
      fields[field] = Number(view.getBigUint64(next, true))
      next += 8
    }
  }
  return fields
}

const viewOf = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset, bytes.length)

export const zipError = (place: ErrorPlace, problem: string) =>
  badInput(`${place.file ?? 'input'}: the zip archive ${problem}`, place)
