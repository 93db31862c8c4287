import { comesByNetwork } from '../io/remote/cache.ts'
import { keepParts } from '../io/remote/kept.ts'
import { addTo } from '../text/compare.ts'
import type { ByteRange, StoredTensor } from './types.ts'

/** The parts of files in which tensors or matrices lie; none of what can only be read whole, or is in memory. */
export const rangesOf = (tensors: Iterable<Pick<StoredTensor, 'source'>>): ByteRange[] =>
  [...tensors].flatMap(({ source }) =>
    source.kind === 'range' ? [source] : source.kind === 'rows' ? source.ranges : [],
  )

/** The files in which tensors lie, as far as `rangesOf` goes. */
export const filesIn = (tensors: Iterable<Pick<StoredTensor, 'source'>>): string[] =>
  rangesOf(tensors).map(({ file }) => file)

/**
 * Reads those of the tensors that lie elsewhere into memory, as far as they are few megabytes: an adapter's, of which each is small and
 * would wait for its own answer. Of files on this machine nothing is read. Throws as reading them does.
 */
export const bringNear = (tensors: Iterable<StoredTensor>): Promise<void> =>
  bringRangesNear([...tensors].flatMap(({ source }) => (source.kind === 'range' ? [source] : [])))

/** The same of any parts of files. */
export async function bringRangesNear(ranges: Iterable<ByteRange>): Promise<void> {
  const byFile = new Map<string, ByteRange[]>()
  for (const range of ranges) if (comesByNetwork(range.file)) addTo(byFile, range.file, range)
  for (const [file, ranges] of byFile) await keepParts(file, ranges)
}
