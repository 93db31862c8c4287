import { allocate } from '../ranges.ts'
import type { ByteSource } from '../source.ts'

/** Bytes that are asked for before they are read, at most: what a fast line delivers while an answer is on its way. */
const MOST_AHEAD = 8 * 2 ** 20

/** Asked for at once at most: several of these are on their way together. */
const BLOCK_BYTES = 2 ** 21

interface Block {
  readonly start: number
  readonly bytes: Promise<Uint8Array>
  readonly end: number
}

/**
 * A source whose parts are asked for ahead, as soon as they are read one after the other, up to `end` and at most as much as was read:
 * of a layer that is read in panels none then waits for its answer alone, and of what is only begun little is asked for.
 */
export function readingOn(source: ByteSource, end: number): ByteSource {
  let [first, next] = [0, Number.NaN]
  let blocks: Block[] = []

  function askUpTo(wanted: number): void {
    let start = blocks.at(-1)?.end ?? next
    while (start < wanted) {
      const until = Math.min(wanted, start + BLOCK_BYTES)
      const bytes = source.read(start, until)
      // it may fail before anyone waits for it
      bytes.catch(() => {})
      blocks.push({ start, end: until, bytes })
      start = until
    }
  }

  async function readInto(target: Uint8Array, start: number): Promise<void> {
    const stop = start + target.length
    const isNext = start === next && stop <= end
    if (!isNext) {
      blocks = []
      first = start
      next = stop
      return source.readInto(target, start)
    }
    askUpTo(Math.min(end, Math.max(stop, start + Math.min(MOST_AHEAD, start - first))))
    next = stop
    const used = blocks.filter((block) => block.start < stop)
    blocks = blocks.filter((block) => block.end > stop)
    for (const block of used) {
      const from = Math.max(start, block.start)
      const part = (await block.bytes).subarray(from - block.start, stop - block.start)
      target.set(part, from - start)
    }
  }

  return {
    ...source,
    readInto,
    read: async (start, stop) => {
      const bytes = allocate(stop - start, source.name)
      await readInto(bytes, start)
      return bytes
    },
  }
}
