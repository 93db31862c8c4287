import type { ByteSource } from '../io/source.ts'
import type { TensorSource } from './types.ts'

type Rows = Extract<TensorSource, { kind: 'rows' }>

/** Rows that lie near each other are read with what is between them, as long as that is at most so many times what is asked for. */
const MOST_READ = 4

/** A part of a row: where it lies, and where it goes. */
interface Part {
  readonly range: number
  /** In the file. */
  readonly from: number
  readonly to: number
  readonly bytes: number
}

/** Fills `target` with the bytes from `begin` on of rows in an order of their own. `files` are those of the ranges. */
export async function fillFromRows(
  rows: Rows,
  files: readonly ByteSource[],
  target: Uint8Array,
  begin: number,
): Promise<void> {
  const byRange = new Map<number, Part[]>()
  for (const part of partsOf(rows, begin, target.length)) {
    const parts = byRange.get(part.range)
    if (parts === undefined) byRange.set(part.range, [part])
    else parts.push(part)
  }
  for (const [range, parts] of byRange) {
    let [first, end, asked] = [Number.POSITIVE_INFINITY, 0, 0]
    for (const { from, bytes } of parts) {
      first = Math.min(first, from)
      end = Math.max(end, from + bytes)
      asked += bytes
    }
    if (end - first <= MOST_READ * asked) {
      const near = await files[range].read(first, end)
      for (const { from, to, bytes } of parts)
        target.set(near.subarray(from - first, from - first + bytes), to)
    } else {
      for (const { from, to, bytes } of parts)
        await files[range].readInto(target.subarray(to, to + bytes), from)
    }
  }
}

/** The parts of rows that are the bytes [begin, begin + length), those that follow one another as one. */
function partsOf({ ranges, rowBytes, order }: Rows, begin: number, length: number): Part[] {
  const parts: Part[] = []
  for (let at = 0; at < length; ) {
    const within = (begin + at) % rowBytes
    const bytes = Math.min(rowBytes - within, length - at)
    let [range, offset] = [0, order[(begin + at - within) / rowBytes] * rowBytes + within]
    while (offset >= ranges[range].end - ranges[range].begin) {
      offset -= ranges[range].end - ranges[range].begin
      range++
    }
    const from = ranges[range].begin + offset
    const last = parts.at(-1)
    if (last !== undefined && last.range === range && last.from + last.bytes === from) {
      parts[parts.length - 1] = { ...last, bytes: last.bytes + bytes }
    } else parts.push({ range, from, to: at, bytes })
    at += bytes
  }
  return parts
}
