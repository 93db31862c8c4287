import { comesByNetwork } from './cache.ts'
import { type KeptPart, network } from './network.ts'
import { openRemote } from './source.ts'

/** Bytes of files elsewhere that a run keeps in memory, at most: the largest adapters that are shared have as many. */
const MOST_KEPT = 2 ** 28

/** Parts with no more between them are read as one: that takes less time than another request. */
const GAP = 2 ** 16

interface Part {
  readonly begin: number
  readonly end: number
}

/**
 * Reads parts of a file elsewhere at once and keeps them for this run and its workers, so that many small ones aren't asked for one by
 * one. Where they are too many, nothing is done. Throws as `openRemote` does.
 */
export async function keepParts(address: string, parts: readonly Part[]): Promise<void> {
  const { kept } = network()
  const joined = joinedParts(parts)
  const before = [...kept.values()].flat().reduce((sum, { bytes }) => sum + bytes.length, 0)
  const wanted = joined.reduce((sum, { begin, end }) => sum + end - begin, 0)
  if (wanted === 0 || before + wanted > MOST_KEPT) return
  const source = await openRemote(address)
  const read = await Promise.allSettled(
    joined.map(async ({ begin, end }) => {
      // memory that workers share needn't be sent to each
      const bytes = new Uint8Array(new SharedArrayBuffer(end - begin))
      await source.readInto(bytes, begin)
      return { begin, bytes }
    }),
  )
  const found = read.map((one) => {
    if (one.status === 'rejected') throw one.reason
    return one.value
  })
  kept.set(address, [...(kept.get(address) ?? []), ...found])
}

/** The parts in their order, those that lie near each other as one. */
function joinedParts(parts: readonly Part[]): Part[] {
  const joined: { begin: number; end: number }[] = []
  for (const { begin, end } of [...parts].sort((a, b) => a.begin - b.begin)) {
    const last = joined.at(-1)
    if (last !== undefined && begin <= last.end + GAP) last.end = Math.max(last.end, end)
    else joined.push({ begin, end })
  }
  return joined
}

/** How many bytes of these parts of files come from elsewhere when they are read: none of what is here, or kept. */
export function bytesToCome(parts: Iterable<Part & { readonly file: string }>): number {
  const { kept } = network()
  let bytes = 0
  for (const { file, begin, end } of parts) {
    if (comesByNetwork(file) && !isHeld(kept.get(file) ?? [], begin, end)) bytes += end - begin
  }
  return bytes
}

/** Whether one of the parts that are kept holds these bytes. */
const isHeld = (parts: readonly KeptPart[], begin: number, end: number) =>
  parts.some((part) => part.begin <= begin && end <= part.begin + part.bytes.length)
