import { appendFileSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { openJournal } from '../../src/io/journal.ts'
import { makeSized, withSizedFile } from '../../src/io/sized-file.ts'
import { folderOf } from '../checkpoint/support.ts'
import { errorOf } from '../formats/fixtures.ts'

const journalWith = async (contents: readonly unknown[], run = 'a run') => {
  const path = join(folderOf(), 'journal')
  const journal = await openJournal(path, run)
  for (const content of contents) await journal.append(content)
  await journal.close()
  return path
}

test('gives what was noted, in order', async () => {
  const contents = [[0, 1.5, { a: 1 }], 'two', null]
  const again = await openJournal(await journalWith(contents), 'a run')
  expect(again.found).toEqual(contents)
  await again.append('three')
  await again.close()
})

test('a line that was cut is none, and the next one is whole', async () => {
  const path = await journalWith([1, 2])
  writeFileSync(path, readFileSync(path, 'utf8').slice(0, -20))
  const journal = await openJournal(path, 'a run')
  expect(journal.found).toEqual([1])
  await journal.append(3)
  await journal.close()
  const again = await openJournal(path, 'a run')
  expect(again.found).toEqual([1, 3])
  await again.close()
})

test('lines of another run, changed ones and other text count for nothing', async () => {
  const path = await journalWith([1, 2, 3])
  const [first, second, third] = readFileSync(path, 'utf8').split('\n')
  writeFileSync(path, [first, second.replace('"content":2', '"content":7'), '{', 'null', third].join('\n'))
  appendFileSync(path, '\n')
  const journal = await openJournal(path, 'a run')
  expect(journal.found).toEqual([1, 3])
  await journal.close()
  const other = await openJournal(path, 'another run')
  expect(other.found).toEqual([])
  await other.close()
})

test('a file of a length that is known keeps what is in it, and ends with a clear line where it was cut', async () => {
  const path = join(folderOf(), 'sized')
  await makeSized(path, 100)
  await withSizedFile(path, (file) => file.write(Uint8Array.of(1, 2, 3), 50))
  await makeSized(path, 100)
  const bytes = readFileSync(path)
  expect([bytes.length, ...bytes.subarray(49, 54)]).toEqual([100, 0, 1, 2, 3, 0])
  const target = new Uint8Array(3)
  await withSizedFile(path, (file) => file.readInto(target, 50))
  expect([...target]).toEqual([1, 2, 3])
  const short = await errorOf(() => withSizedFile(path, (file) => file.readInto(new Uint8Array(10), 95)))
  expect([short.code, short.message]).toEqual(['system', expect.stringContaining('was made shorter')])
  const missing = await errorOf(() => withSizedFile(`${path}-2`, (file) => file.write(Uint8Array.of(1), 0)))
  expect(missing.code).toBe('bad-input')
})
