import fs from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { openFiles } from '../../src/checkpoint/stored.ts'
import { f32, fileOf, folderOf, noise } from '../cli/checkpoints.ts'

const names = Array.from({ length: 9 }, (_, i) => `${i}.safetensors`)
const folder = folderOf(
  Object.fromEntries(names.map((name, i) => [name, fileOf({ [`w${i}`]: f32([2, 2], noise(4, i)) })])),
)
const paths = names.map((name) => join(folder, name))

const { open } = fs.promises
const seen = { now: 0, most: 0, refused: 0 }

/** Lets this process have so many files open at once that are opened by promises. */
function allow(most: number): void {
  Object.assign(seen, { now: 0, most: 0, refused: 0 })
  fs.promises.open = async (...given) => {
    if (seen.now >= most) {
      seen.refused++
      throw Object.assign(new Error('EMFILE: too many open files'), { code: 'EMFILE' })
    }
    seen.most = Math.max(seen.most, ++seen.now)
    const handle = await open(...given)
    const close = handle.close.bind(handle)
    handle.close = async () => {
      seen.now--
      await close()
    }
    return handle
  }
  syncBuiltinESMExports()
}

afterEach(() => {
  fs.promises.open = open
  syncBuiltinESMExports()
})

test.for([1, 2, 3, 4])(
  'headers of many files are read, in order, with %s of them open at once',
  async (most) => {
    allow(most)
    const opened = await openFiles(paths, {})
    expect(opened.map(({ tensors: [{ name }] }) => name)).toEqual(names.map((_, i) => `w${i}`))
    expect(seen).toEqual({ now: 0, most, refused: 4 - most })
  },
)

test('where not even one may be open, that is said, and what to do', async () => {
  allow(0)
  await expect(openFiles(paths, {})).rejects.toMatchObject({
    code: 'system',
    message: expect.stringMatching(
      /can't open it: this process has too many files open \(EMFILE\); allow it more, such as ulimit -n 256$/,
    ),
  })
})
