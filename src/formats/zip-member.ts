import { constants, inflateRawSync } from 'node:zlib'
import { crc32 } from './crc32.ts'
import { quoted } from './quote.ts'
import type { ByteSource } from './source.ts'
import { type ZipEntry, zipError } from './zip.ts'
import { DEFLATED, LOCAL_BYTES, LOCAL_HEADER, STORED } from './zip-format.ts'

/** Deflate codes at most 258 bytes in 2 bits, so it never shrinks by more: a member that claims more is damaged. */
const DEFLATE_BEST_RATIO = 1032

/** A member of up to this size may unpack from as little as deflate can … */
const ANY_RATIO_UP_TO = 64 * 2 ** 20
/** … and a larger one from a hundredth: weights shrink to a half or a tenth, even sparse ones hardly to less than this. */
const LARGEST_RATIO = 100

/** Packed bytes unpacked at first for the start of a member, and how much more each time it isn't enough. */
const FIRST_PACKED = 512
const MORE = 8

/** All bytes of a member, of which length and CRC-32 are checked. Throws `bad-input`. */
export async function readMember(source: ByteSource, entry: ZipEntry): Promise<Uint8Array> {
  const { byteLength, packed, crc } = entry
  const fail = failure(source, entry)
  if (byteLength > packed * DEFLATE_BEST_RATIO) {
    throw fail(`${packed} deflated bytes can't hold the ${byteLength} announced`)
  }
  if (byteLength > ANY_RATIO_UP_TO && byteLength > packed * LARGEST_RATIO) {
    throw zipError(
      { file: source.name },
      `has the member ${quoted(entry.name)}, which unpacks to ${byteLength} bytes from ${packed}; past ${ANY_RATIO_UP_TO} bytes at most ${LARGEST_RATIO} times as many are unpacked: write it with numpy.savez`,
    )
  }
  const start = await dataStart(source, entry)
  const raw = await source.read(start, start + packed)
  const content = entry.method === STORED ? raw : inflated(raw, byteLength, fail)
  if (content.length !== byteLength) throw fail(`${content.length} bytes, expected ${byteLength}`)
  if (crc32(content) !== crc) throw fail('its CRC-32 does not match; copy the file anew')
  return content
}

/** The first bytes of a member, up to `count` where it has as many: little more than that is read and unpacked. Throws `bad-input`. */
export async function readMemberStart(
  source: ByteSource,
  entry: ZipEntry,
  count: number,
): Promise<Uint8Array> {
  const { packed, method } = entry
  const start = await dataStart(source, entry)
  if (method === STORED) return source.read(start, start + Math.min(count, packed))
  for (let taken = FIRST_PACKED; ; taken *= MORE) {
    const end = Math.min(taken, packed)
    const content = startOf(await source.read(start, start + end), failure(source, entry))
    if (content.length >= count || end === packed || taken >= MORE * count) return content.subarray(0, count)
  }
}

async function dataStart(source: ByteSource, entry: ZipEntry): Promise<number> {
  const { offset, packed, limit, method } = entry
  const fail = failure(source, entry)
  if (entry.isEncrypted) {
    throw zipError({ file: source.name }, `has an encrypted member ${quoted(entry.name)}; unpack it first`)
  }
  if (method !== STORED && method !== DEFLATED) {
    throw fail(`compression method ${method}; stored (0) and deflated (8) are read, as numpy.savez writes`)
  }
  const header = await source.read(offset, offset + LOCAL_BYTES)
  const view = new DataView(header.buffer, header.byteOffset, header.length)
  if (view.getUint32(0, true) !== LOCAL_HEADER) throw fail(`its header is not at byte ${offset}`)
  const start = offset + LOCAL_BYTES + view.getUint16(26, true) + view.getUint16(28, true)
  if (start + packed > limit) throw fail(`it ends at byte ${start + packed}, what follows begins at ${limit}`)
  return start
}

function inflated(raw: Uint8Array, byteLength: number, fail: (problem: string) => Error): Uint8Array {
  try {
    return inflateRawSync(raw, { maxOutputLength: Math.max(1, byteLength) })
  } catch (error) {
    throw fail(`it can't be unpacked: ${(error as Error).message}`)
  }
}

/** What deflated bytes that are cut off hold. */
function startOf(raw: Uint8Array, fail: (problem: string) => Error): Uint8Array {
  try {
    return inflateRawSync(raw, { finishFlush: constants.Z_SYNC_FLUSH })
  } catch (error) {
    throw fail(`it can't be unpacked: ${(error as Error).message}`)
  }
}

const failure = (source: ByteSource, entry: ZipEntry) => (problem: string) =>
  zipError({ file: source.name }, `has a damaged member ${quoted(entry.name)}: ${problem}`)
