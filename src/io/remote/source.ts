import { badInput } from '../../errors.ts'
import { allocate, checkLength, checkRange } from '../ranges.ts'
import type { ByteSource, FileStamp } from '../source.ts'
import { askFor, pinned } from './hub.ts'
import { inAnyNetwork, network, type RemoteStamp } from './network.ts'
import type { Asked } from './refusals.ts'
import { type Answer, endedEarly, get, isEmpty, persistently } from './request.ts'

/** Read at the opening of a file, whose header is at its start: most headers whole, and nothing beside a layer's megabytes. */
const FIRST_BYTES = 16 * 1024

/** A larger part is asked for in pieces of so many bytes, some at once: what is asked again of one that failed is little. */
const PIECE_BYTES = 8 * 2 ** 20

/** Pieces of one part that are asked for at once. */
const PIECES_AT_ONCE = 4

/**
 * Opens a file elsewhere for reading in ranges. What has been read of it before in this run must still be so. Throws `bad-input`, saying
 * what to do, where it isn't there, isn't given to us, or only whole, and `system` where the connection fails for long.
 */
export const openRemote = (given: string, limit?: number): Promise<ByteSource> =>
  inAnyNetwork(async () => {
    const known = network().stamps.get(given)
    if (known !== undefined) {
      checkLength(given, known.bytes, limit)
      return remoteSource(given, known)
    }
    const address = await pinned(given)
    const { stamp, head } = await probe(address, FIRST_BYTES)
    checkLength(address, stamp.bytes, limit)
    network().stamps.set(address, stamp)
    return remoteSource(address, stamp, head)
  })

/** Throws `bad-input` where a file is no longer what it was; at a commit of the Hub it always is. */
export async function assertUnchangedElsewhere(address: string): Promise<void> {
  const known = network().stamps.get(address)
  if (known === undefined || address.startsWith('hf://')) return
  const { stamp } = await probe(address, 1)
  if (stamp.bytes !== known.bytes || stamp.version !== known.version) throw changed(address)
}

const changed = (address: string) =>
  badInput(`${address}: was changed since it was opened; run the same command again`, { file: address })

/** What a server says of a file. */
export interface Described {
  readonly stamp: RemoteStamp
  /** What the Hub says of a file that lies at another host: its ETag there is that host's. */
  readonly linkedEtag?: string | undefined
}

/** What the Hub says of a file now. Throws as `openRemote` does. */
export async function describe(address: string): Promise<Described> {
  // where it sends on to is known, but not what it says of the file
  network().locations.delete(address)
  const { stamp, linkedEtag } = await probe(address, 1)
  return { stamp, linkedEtag }
}

/** What tells that a file is the same, and its first bytes. */
async function probe(address: string, bytes: number): Promise<Described & { readonly head: Uint8Array }> {
  const asked = { ...(await askFor(address)), range: { start: 0, end: bytes } }
  return persistently(address, () =>
    get(asked, undefined, async (answer) => {
      refuseEncoded(answer, address)
      const total = totalOf(answer)
      if (answer.status === 200 && !(total <= bytes)) {
        throw badInput(
          `${address}: its server gives files only whole (no byte ranges); download it, and name the file`,
          { file: address },
        )
      }
      if (answer.status === 206) assertPart(answer, 0, address)
      const head = new Uint8Array(Math.min(total, bytes))
      await fill(head, answer, () => {})
      return { stamp: { bytes: total, version: versionOf(answer) }, linkedEtag: answer.linkedEtag, head }
    }),
  )
}

/** What tells that a file elsewhere is the same in another run: of the Hub's, at a commit, that is in its address. */
export const stampElsewhere = (address: string, { bytes, version }: RemoteStamp): FileStamp => ({
  bytes,
  modified: address.startsWith('hf://') ? '' : version,
  inode: '0',
})

function remoteSource(address: string, stamp: RemoteStamp, head: Uint8Array = new Uint8Array(0)): ByteSource {
  const { bytes: byteLength } = stamp

  async function readInto(target: Uint8Array, start: number): Promise<void> {
    checkRange(address, start, start + target.length, byteLength)
    const end = start + target.length
    const part = network()
      .kept.get(address)
      ?.find(({ begin, bytes }) => begin <= start && end <= begin + bytes.length)
    if (part !== undefined) {
      target.set(part.bytes.subarray(start - part.begin, end - part.begin))
      return
    }
    const known = head.subarray(start, end)
    target.set(known)
    await readParts(address, stamp, target.subarray(known.length), start + known.length)
  }

  return {
    name: address,
    byteLength,
    stamp: stampElsewhere(address, stamp),
    read: async (start, end) => {
      checkRange(address, start, end, byteLength)
      const bytes = allocate(end - start, address)
      await readInto(bytes, start)
      return bytes
    },
    readInto,
    close: async () => {},
  }
}

/** Fills `target` in pieces, some at once. The first failure ends all of them. */
async function readParts(
  address: string,
  stamp: RemoteStamp,
  target: Uint8Array,
  start: number,
): Promise<void> {
  const stop = new AbortController()
  let next = 0
  const work = async () => {
    while (next < target.length) {
      const at = next
      next += PIECE_BYTES
      await readPiece(address, stamp, target.subarray(at, at + PIECE_BYTES), start + at, stop.signal)
    }
  }
  const count = Math.min(PIECES_AT_ONCE, Math.ceil(target.length / PIECE_BYTES))
  const works = Array.from({ length: count }, () =>
    work().catch((error: unknown) => {
      stop.abort(error)
      throw error
    }),
  )
  await Promise.allSettled(works)
  stop.signal.throwIfAborted()
}

/** Fills `target`; after a connection that broke from the byte on at which it did. */
async function readPiece(
  address: string,
  stamp: RemoteStamp,
  target: Uint8Array,
  start: number,
  stop: AbortSignal,
): Promise<void> {
  const asked = await askFor(address)
  const version = ifRange(stamp)
  let filled = 0
  await persistently(address, (progressed) => {
    const range = { start: start + filled, end: start + target.length }
    return get({ ...asked, range, version }, stop, async (answer) => {
      assertSame(answer, range, stamp, asked)
      await fill(target.subarray(filled), answer, (count) => {
        filled += count
        progressed()
      })
    })
  })
}

/** What is asked for is wanted of this version alone. A weak ETag is for no comparison of bytes (RFC 9110, 13.1.5): that it is the same is seen in the answer. */
export const ifRange = ({ version }: RemoteStamp): string | undefined =>
  /^"|^\w{3}, /.test(version) ? version : undefined

/** Throws `bad-input` where an answer isn't those bytes of that version. */
export function assertSame(
  answer: Answer,
  { start, end }: { start: number; end: number },
  stamp: RemoteStamp,
  { address }: Asked,
): void {
  refuseEncoded(answer, address)
  const version = versionOf(answer)
  const isSame = totalOf(answer) === stamp.bytes && (version === stamp.version || version === '')
  const isWhole = start === 0 && end === stamp.bytes
  if (!isSame || (answer.status === 200 && !isWhole)) throw changed(address)
  if (answer.status === 206) assertPart(answer, start, address)
}

/** Throws `bad-input` where a part isn't what was asked for, or isn't told to be. */
function assertPart(answer: Answer, start: number, address: string): void {
  if (startOf(answer) === start) return
  throw badInput(`${address}: its server sends other bytes than those asked for; download the file`, {
    file: address,
  })
}

/** Fills `target` with what comes. Throws what passes where that is too little; what is too much isn't read. */
async function fill(target: Uint8Array, { chunks }: Answer, onBytes: (count: number) => void): Promise<void> {
  let filled = 0
  if (target.length === 0) return
  const { received } = network()
  for await (const chunk of chunks) {
    const fitting = chunk.subarray(0, target.length - filled)
    target.set(fitting, filled)
    filled += fitting.length
    received(fitting.length)
    onBytes(fitting.length)
    if (fitting.length < chunk.length) return
  }
  if (filled < target.length) throw endedEarly()
}

/** Throws `bad-input` for bytes that aren't the file's own. */
function refuseEncoded({ headers }: Answer, address: string): void {
  const encoding = headers.get('content-encoding') ?? 'identity'
  if (encoding === 'identity') return
  throw badInput(
    `${address}: comes compressed (${encoding}) though that was not asked for, so that no part of it can be read; download it`,
    { file: address },
  )
}

/** Without an ETag the time of the last change is as good, to a second. */
const versionOf = ({ headers }: Answer): string => headers.get('etag') ?? headers.get('last-modified') ?? ''

/** How long the whole file is; NaN where the answer doesn't tell. */
function totalOf({ status, headers }: Answer): number {
  if (isEmpty({ status, headers })) return 0
  const said = status === 206 ? contentRange(headers)?.[3] : headers.get('content-length')
  return Number(said ?? Number.NaN)
}

const startOf = ({ headers }: Answer): number => Number(contentRange(headers)?.[1] ?? Number.NaN)

const contentRange = (headers: Headers) =>
  /^bytes (\d+)-(\d+)\/(\d+)$/.exec(headers.get('content-range') ?? '')
