import { unzipSync, zipSync } from 'fflate'
import { type Mutator, mutateBytes, TELLING_NUMBERS } from './bytes.ts'
import type { Chance } from './chance.ts'
import { mutateJsonText } from './json.ts'

/** Mutators that know a format: lengths, sums and offsets are right again after a change, so that a parser goes on past them. */

const joined = (...parts: readonly Uint8Array[]): Uint8Array => new Uint8Array(Buffer.concat(parts))

/** Changes the header's JSON of a safetensors file and says its length. */
export const mutateSafetensors: Mutator = (input, chance, pool) => {
  if (input.length < 9) return mutateBytes(input, chance, pool)
  const length = Number(Buffer.from(input).readBigUInt64LE(0))
  const end = Math.min(input.length, 8 + length)
  const header = Buffer.from(input.subarray(8, end)).toString('utf8')
  const text = Buffer.from(
    chance.oneIn(3)
      ? mutateBytes(Buffer.from(header), chance, pool)
      : Buffer.from(mutateJsonText(header, chance, pool)),
  )
  const said = Buffer.alloc(8)
  said.writeBigUInt64LE(BigInt(text.length))
  return joined(said, text, input.subarray(end))
}

const NPY_TYPES = [
  '<f4',
  '>f8',
  '<f2',
  '|b1',
  '<i8',
  '>u4',
  '|u1',
  '<f16',
  '<c8',
  '|O',
  '<U3',
  '|S5',
  '<M8[s]',
  'f4',
  '',
  '<f',
  '<f-4',
]

/** Changes the dict of a .npy file's header and says its length. */
export const mutateNpy: Mutator = (input, chance, pool) => {
  if (input.length < 12) return mutateBytes(input, chance, pool)
  const isLong = input[6] > 1
  const start = isLong ? 12 : 10
  const buffer = Buffer.from(input)
  const end = Math.min(input.length, start + (isLong ? buffer.readUInt32LE(8) : buffer.readUInt16LE(8)))
  let text = buffer.toString('latin1', start, end)
  switch (chance.below(6)) {
    case 0:
      text = text.replace(/'descr': *'[^']*'/, () => `'descr': '${chance.of(NPY_TYPES)}'`)
      break
    case 1:
      text = text.replace(/\([^)]*\)/, () => `(${anyShape(chance)})`)
      break
    case 2:
      text = text.replace(/True|False/, () => chance.of(['True', 'False', 'None', '1', 'true']))
      break
    case 3:
      text = text.replace(/'(\w+)':/, (_, key) =>
        chance.of([`"${key}":`, `u'${key}':`, `'${key}x':`, `'${key}': 1, '${key}':`]),
      )
      break
    default:
      text = Buffer.from(mutateBytes(Buffer.from(text, 'latin1'), chance, pool)).toString('latin1')
  }
  const header = Buffer.from(text, 'latin1')
  const version = chance.oneIn(6) ? chance.of([1, 2, 3, 4]) : input[6]
  const head = Buffer.alloc(version > 1 ? 12 : 10)
  buffer.copy(head, 0, 0, 8)
  head[6] = version
  if (version > 1) head.writeUInt32LE(header.length, 8)
  else head.writeUInt16LE(Math.min(header.length, 0xffff), 8)
  return joined(head, header, input.subarray(end))
}

const anyShape = (chance: Chance) =>
  Array.from({ length: chance.below(4) }, () => chance.of([...TELLING_NUMBERS, '2', '3', '5L', ' 2 '])).join(
    ', ',
  ) + (chance.oneIn(2) ? ',' : '')

const MOST_UNPACKED = 2 ** 20

/** Unpacks an archive, changes members and their names, and packs it again, with right sums. */
export const mutateNpz: Mutator = (input, chance, pool) => {
  let members: Record<string, Uint8Array>
  try {
    // sizes are only claimed
    members = unzipSync(input, { filter: ({ originalSize }) => originalSize <= MOST_UNPACKED })
  } catch {
    return mutateBytes(input, chance, pool)
  }
  const out: Record<string, Uint8Array> = {}
  const at = chance.below(Math.max(1, Object.keys(members).length))
  for (const [i, [name, bytes]] of Object.entries(members).entries()) {
    const isChanged = i === at
    const as =
      isChanged && chance.oneIn(4)
        ? chance.of(['', 'x', '.npy', 'a/b.npy', '__proto__.npy', 'data.pkl', 'a\nb.npy'])
        : name
    out[as] = isChanged ? mutateNpy(bytes, chance, pool) : bytes
  }
  return zipSync(out, { level: chance.of([0, 6]), mtime: new Date(1990, 0, 1) })
}

/** Changes strings and their lengths in a GGUF header: what follows is then where the new lengths say. */
export const mutateGguf: Mutator = (input, chance, pool) => {
  const buffer = Buffer.from(input)
  const strings: number[] = []
  for (let at = 24; at + 8 < buffer.length && strings.length < 200; at++) {
    const length = buffer.readUInt32LE(at)
    if (buffer.readUInt32LE(at + 4) === 0 && length > 0 && length < 200 && at + 8 + length <= buffer.length) {
      const text = buffer.subarray(at + 8, at + 8 + length)
      if (text.every((byte) => byte >= 32 && byte < 127)) strings.push(at)
    }
  }
  if (strings.length === 0) return mutateBytes(input, chance, pool)
  const at = chance.of(strings)
  const end = at + 8 + buffer.readUInt32LE(at)
  const text = buffer.subarray(at + 8, end)
  const words = [...pool.words, '']
  const by = chance.oneIn(2) ? Buffer.from(chance.of(words)) : Buffer.from(mutateBytes(text, chance, pool))
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(by.length))
  const out = joined(buffer.subarray(0, at), length, by, buffer.subarray(end))
  // the data's place hangs on the header's length: the same padding puts it where it was
  const shift = (by.length - text.length) % 32
  return shift === 0 || chance.oneIn(2) ? out : joined(out, new Uint8Array(64))
}

/** Of lines: one gone, twice, in another place, or from another input. */
export const mutateLines: Mutator = (input, chance, pool) => {
  const lines = Buffer.from(input).toString('latin1').split('\n')
  const others = Buffer.from(pool.other).toString('latin1').split('\n')
  const [at, to] = [chance.below(lines.length), chance.below(lines.length + 1)]
  switch (chance.below(6)) {
    case 0:
      lines.splice(at, 1)
      break
    case 1:
      lines.splice(to, 0, lines[at])
      break
    case 2:
      lines.splice(to, 0, chance.of(others))
      break
    case 3:
      lines[at] = chance.of(others)
      break
    case 4: {
      // a part of a name or of a header, as another line has it
      const parts = lines[at].split(/([._:;,= ])/)
      const more = chance.of(others).split(/([._:;,= ])/)
      parts[chance.below(parts.length)] = chance.of(more)
      lines[at] = parts.join('')
      break
    }
    default:
      lines[at] = Buffer.from(mutateBytes(Buffer.from(lines[at], 'latin1'), chance, pool)).toString('latin1')
  }
  return Buffer.from(lines.join(chance.oneIn(30) ? '\r\n' : '\n'), 'latin1')
}
