import {
  chmodSync,
  existsSync,
  linkSync,
  mkdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { copyInto, filesBelow, moveTo, putFileInPlace } from '../../src/io/copy-files.ts'
import { folderOf } from '../checkpoint/support.ts'
import { errorOf } from '../formats/fixtures.ts'

describe('files below a folder', () => {
  test('with those in folders, sorted, links followed, and no more than is wanted', async () => {
    const folder = folderOf()
    mkdirSync(join(folder, 'b/c'), { recursive: true })
    for (const path of ['z', 'a', 'b/2', 'b/c/3', 'b/no']) writeFileSync(join(folder, path), path)
    symlinkSync(join(folder, 'z'), join(folder, 'link'))
    symlinkSync(join(folder, 'nothing'), join(folder, 'broken'))
    const found = await filesBelow(folder, (path) => !path.endsWith('no'))
    expect(found.map(({ path, bytes }) => ({ path, bytes }))).toEqual([
      { path: 'a', bytes: 1 },
      { path: 'b/2', bytes: 3 },
      { path: 'b/c/3', bytes: 5 },
      { path: 'link', bytes: 1 },
      { path: 'z', bytes: 1 },
    ])
  })

  test('of links in a circle so many levels', async () => {
    const folder = folderOf()
    writeFileSync(join(folder, 'file'), '')
    symlinkSync(folder, join(folder, 'again'))
    expect((await filesBelow(folder, () => true)).length).toBe(8)
  })

  test('a folder that is not there has none', async () => {
    expect((await errorOf(() => filesBelow(join(folderOf(), 'missing'), () => true))).code).toBe('bad-input')
  })
})

describe('a copy', () => {
  test('makes its folders, replaces what was there, and can be written', async () => {
    const folder = folderOf()
    const from = join(folder, 'from')
    writeFileSync(from, 'new')
    chmodSync(from, 0o444)
    const to = join(folder, 'to')
    mkdirSync(join(to, 'x/y'), { recursive: true })
    writeFileSync(join(to, 'x/y/file'), 'an old one that is longer')
    chmodSync(join(to, 'x/y/file'), 0o444)
    await copyInto(from, to, 'x/y/file')
    await copyInto(from, to, 'u/v')
    for (const path of ['x/y/file', 'u/v']) {
      expect(readFileSync(join(to, path), 'utf8')).toBe('new')
      expect(statSync(join(to, path)).mode & 0o600).toBe(0o600)
    }
  })

  test('of what is not there says so', async () => {
    const folder = folderOf()
    const { message } = await errorOf(() => copyInto(join(folder, 'gone'), folder, 'to'))
    expect(message).toContain(`can't copy ${join(folder, 'gone')} there: no such file or folder (ENOENT)`)
  })
})

describe('a file gets its final name', () => {
  const staged = (folder: string) => {
    writeFileSync(join(folder, 'staged'), 'new')
    return join(folder, 'staged')
  }

  test('where nothing stands', async () => {
    const folder = folderOf()
    await putFileInPlace(staged(folder), join(folder, 'out'), { force: false })
    expect(readFileSync(join(folder, 'out'), 'utf8')).toBe('new')
    expect(existsSync(join(folder, 'staged'))).toBe(false)
  })

  test.each([false, true])('where something stands, with force: %s', async (force) => {
    const folder = folderOf()
    writeFileSync(join(folder, 'out'), 'old')
    const put = () => putFileInPlace(staged(folder), join(folder, 'out'), { force })
    if (!force) expect((await errorOf(put)).code).toBe('output-exists')
    else await put()
    expect(readFileSync(join(folder, 'out'), 'utf8')).toBe(force ? 'new' : 'old')
  })

  test('never that of a folder', async () => {
    const folder = folderOf()
    mkdirSync(join(folder, 'out'))
    const error = await errorOf(() => putFileInPlace(staged(folder), join(folder, 'out'), { force: true }))
    expect(error.code).toBe('bad-input')
  })
})

test('of two names of one file the first goes', async () => {
  const folder = folderOf()
  const [one, other] = ['one', 'other'].map((name) => join(folder, name))
  writeFileSync(one, 'new')
  linkSync(one, other)
  await moveTo(one, other)
  expect([existsSync(one), readFileSync(other, 'utf8')]).toEqual([false, 'new'])
  await moveTo(other, one)
  expect([readFileSync(one, 'utf8'), existsSync(other)]).toEqual(['new', false])
})
