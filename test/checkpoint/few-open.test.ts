import { join } from 'node:path'
import { beforeEach, expect, test, vi } from 'vitest'
import { openFiles } from '../../src/checkpoint/stored.ts'
import { osError } from '../../src/errors.ts'
import type { ByteSource } from '../../src/io/source.ts'
import { f32, fileOf, folderOf, noise } from '../cli/checkpoints.ts'

const state = vi.hoisted(() => ({ open: 0, most: 0 }))

vi.mock('../../src/io/source.ts', async (original) => {
  const real = await original<typeof import('../../src/io/source.ts')>()
  return {
    ...real,
    openSource: async (path: string): Promise<ByteSource> => {
      if (state.open >= state.most) {
        throw osError(Object.assign(new Error('too many'), { code: 'EMFILE' }), 'open it', path)
      }
      state.open++
      const source = await real.openSource(path)
      return {
        ...source,
        close: async () => {
          state.open--
          await source.close()
        },
      }
    },
  }
})

const names = Array.from({ length: 9 }, (_, i) => `${i}.safetensors`)
const folder = folderOf(
  Object.fromEntries(names.map((name, i) => [name, fileOf({ [`w${i}`]: f32([2, 2], noise(4, i)) })])),
)
const paths = names.map((name) => join(folder, name))

beforeEach(() => {
  state.open = 0
})

test.for([1, 2, 3, 4])(
  'headers of many files are read, in order, with %s of them open at once',
  async (most) => {
    state.most = most
    const opened = await openFiles(paths, {})
    expect(opened.map(({ tensors: [{ name }] }) => name)).toEqual(names.map((_, i) => `w${i}`))
    expect(state.open).toBe(0)
  },
)

test('where not even one may be open, that is said, and what to do', async () => {
  state.most = 0
  await expect(openFiles(paths, {})).rejects.toMatchObject({
    code: 'system',
    message: expect.stringMatching(
      /can't open it: this process has too many files open \(EMFILE\); allow it more, such as ulimit -n 256$/,
    ),
  })
})
