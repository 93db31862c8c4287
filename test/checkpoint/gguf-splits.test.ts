import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { openCheckpoint } from '../../src/checkpoint/open.ts'
import { forEachChunk } from '../../src/checkpoint/read.ts'
import { errorOf } from '../formats/fixtures.ts'
import { type RawKey, raw, rawGguf } from '../formats/gguf-support.ts'
import { folderOf } from './support.ts'

const u16 = (n: number) => Buffer.from([n & 255, n >> 8])

/** One file of a model that llama-gguf-split took apart. */
function split(number: number, count: number, names: readonly string[], total?: number): Uint8Array {
  const keys: RawKey[] = [
    ['split.no', 2, u16(number)],
    ['split.count', 2, u16(count)],
    ...(total === undefined ? [] : [['split.tensors.count', 5, raw.u32(total)] as const]),
  ]
  const tensors = names.map((name, i) => ({ name, dims: [2, 4], offset: 32 * i }))
  const values = names.flatMap((name) => Array.from({ length: 8 }, (_, i) => name.length * 10 + i))
  return rawGguf({ keys, tensors, data: Buffer.from(Float32Array.from(values).buffer) })
}

const nameOf = (i: number, count = 3) => `m-0000${i}-of-0000${count}.gguf`
const whole = () =>
  folderOf({
    // as --no-tensor-first-split makes it
    [nameOf(1)]: split(0, 3, [], 3),
    [nameOf(2)]: split(1, 3, ['a', 'bb']),
    [nameOf(3)]: split(2, 3, ['ccc']),
  })

test('all files are opened, whichever is named', async () => {
  const folder = whole()
  for (const i of [1, 2, 3]) {
    const { tensors, files, warnings, isGguf } = await openCheckpoint(join(folder, nameOf(i)))
    expect([...tensors.keys()]).toEqual(['a', 'bb', 'ccc'])
    expect([files.length, warnings, isGguf]).toEqual([3, [], true])
    const seen: number[] = []
    await forEachChunk(tensors.get('ccc')!, (numbers) => void seen.push(...numbers))
    expect(seen).toEqual([30, 31, 32, 33, 34, 35, 36, 37])
  }
})

test('a file that is missing is named', async () => {
  const folder = whole()
  rmSync(join(folder, nameOf(2)))
  const error = await errorOf(() => openCheckpoint(join(folder, nameOf(1))))
  expect(error.message).toBe(
    `${join(folder, nameOf(1))}: is one of 3 files of a model, of which 1 is missing: "m-00002-of-00003.gguf"; fetch what is missing`,
  )
  expect(error).toMatchObject({ code: 'bad-input', file: join(folder, nameOf(2)) })
})

test.each([
  [
    'another number',
    nameOf(2),
    split(2, 3, ['a', 'bb']),
    'says that it is file 3 of 3, and is named otherwise',
  ],
  ['another count', nameOf(2), split(1, 5, ['a', 'bb']), 'says that it is file 2 of 5'],
  ['no split', nameOf(3), rawGguf({}), 'says that it is file 1 of 1'],
  ['a tensor twice', nameOf(3), split(2, 3, ['bb']), 'the tensor "bb" is in another file of the model too'],
  [
    'another number of tensors',
    nameOf(3),
    split(2, 3, ['ccc', 'd']),
    'says that the model has 3 tensors, and its files hold 4',
  ],
])('files that are no model are refused: %s', async (_, name, bytes, message) => {
  const folder = whole()
  writeFileSync(join(folder, name), bytes)
  const error = await errorOf(() => openCheckpoint(join(folder, nameOf(1))))
  expect(error.code).toBe('bad-input')
  expect(error.message).toContain(message)
})

test('one file of a model under another name, and names that only look like one of several', async () => {
  const folder = folderOf({
    'part.gguf': split(1, 3, ['a']),
    'm-00001-of-00001.gguf': split(0, 1, ['a']),
    'm-00000-of-99999.gguf': split(0, 1, ['a']),
  })
  const error = await errorOf(() => openCheckpoint(join(folder, 'part.gguf')))
  expect(error.message).toContain(
    'is file 2 of 3 of a model, by a name that doesn’t say so'.replace('’', "'"),
  )
  for (const name of ['m-00001-of-00001.gguf', 'm-00000-of-99999.gguf']) {
    expect((await openCheckpoint(join(folder, name))).tensors.size).toBe(1)
  }
})
