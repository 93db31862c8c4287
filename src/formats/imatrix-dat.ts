import { badInput } from '../errors.ts'
import type { ByteSource } from '../io/source.ts'
import { quoted } from '../text/quote.ts'

/**
 * The older form of llama.cpp's importance matrices, a .dat: int32 count of entries; of each int32 length of the name, the name,
 * int32 number of calls, int32 number of values, float32 values; then what it was made of, which isn't read. A value is the mean
 * square of an input times the number of calls (ggml-org/llama.cpp: tools/quantize/quantize.cpp, load_legacy_imatrix, 2026).
 */
export interface ImatrixEntry {
  /** Of the weight, as llama.cpp calls it. */
  readonly name: string
  /** Mean squares are the values divided by this. */
  readonly calls: number
  readonly values: number
  /** The bytes of its values. */
  readonly begin: number
  readonly end: number
}

/** Larger than those of any model: that of one with 70 billion weights has 25 MB. */
const BYTE_LIMIT = 2 ** 30
/** The longest name that ggml gives a tensor has 64 bytes; a first entry with a longer one is no such file. */
const LONGEST_NAME = 256
const MOST_ENTRIES = 1_000_000
const INT = 4

/** Whether a file may be one, by its first bytes: two plausible counts and a name of printable letters. */
export function looksLikeImatrixDat(start: Uint8Array): boolean {
  if (start.length < 2 * INT + 1) return false
  const view = new DataView(start.buffer, start.byteOffset, start.length)
  const [entries, length] = [view.getInt32(0, true), view.getInt32(INT, true)]
  if (entries < 1 || entries > MOST_ENTRIES || length < 1 || length > LONGEST_NAME) return false
  return start.subarray(2 * INT, 2 * INT + length).every((byte) => byte > 0x20 && byte < 0x7f)
}

/** The entries of a .dat, in its order. Throws `bad-input` where it is cut off or damaged. */
export async function readImatrixDat(source: ByteSource): Promise<ImatrixEntry[]> {
  const { name: file, byteLength } = source
  if (byteLength > BYTE_LIMIT) {
    throw badInput(
      `${file}: has ${byteLength} bytes; importance matrices of at most ${BYTE_LIMIT} are read`,
      { file },
    )
  }
  const bytes = await source.read(0, byteLength)
  const view = new DataView(bytes.buffer, bytes.byteOffset, byteLength)
  let at = 0
  const count = take('the number of its entries')
  const entries = new Map<string, ImatrixEntry>()
  for (let i = 0; i < count; i++) {
    const what = `entry ${i + 1} of ${count}`
    const length = take(`the name of ${what}`)
    if (length < 1 || length > LONGEST_NAME) throw damaged(`${what} has a name of ${length} bytes`)
    assertThere(length, `the name of ${what}`)
    const name = new TextDecoder().decode(bytes.subarray(at, at + length))
    at += length
    const [calls, values] = [take(quoted(name)), take(quoted(name))]
    if (values < 1 || calls < 0) throw damaged(`${quoted(name)} has ${values} values of ${calls} calls`)
    assertThere(values * INT, `the values of ${quoted(name)} (${what})`)
    if (entries.has(name)) throw damaged(`${quoted(name)} comes twice`)
    entries.set(name, { name, calls, values, begin: at, end: at + values * INT })
    at += values * INT
  }
  return [...entries.values()]

  function take(what: string): number {
    assertThere(INT, what)
    at += INT
    return view.getInt32(at - INT, true)
  }
  function assertThere(length: number, what: string): void {
    if (at + length <= byteLength) return
    throw badInput(
      `${file}: ends at byte ${byteLength}, and ${what} at byte ${at + length}: it is cut off; fetch it again`,
      { file },
    )
  }
  function damaged(problem: string) {
    return badInput(`${file}: is damaged: ${problem}; fetch it again`, { file })
  }
}
