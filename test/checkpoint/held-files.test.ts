import { join } from 'node:path'
import { expect, test } from 'vitest'
import { holdOpen, withBytes } from '../../src/checkpoint/read.ts'
import { openFiles } from '../../src/checkpoint/stored.ts'
import { f32, fileOf, folderOf, noise } from '../cli/checkpoints.ts'

const name = 'model.safetensors'
const numbers = Float32Array.from(noise(6, 1))
const file = join(folderOf({ [name]: fileOf({ w: f32([2, 3], numbers) }) }), name)

test('a reader that came while a file was held reads on after the work that held it has ended', async () => {
  const [{ tensors }] = await openFiles([file], {})
  const [{ source, bytes }] = tensors
  const release = await holdOpen([file])
  const read = await withBytes(source, 'w', async (read) => {
    await release()
    return read(0, bytes)
  })
  expect([...new Float32Array(read.slice().buffer)]).toEqual([...numbers])
  // and all over again, once the last reader has closed it
  expect(await withBytes(source, 'w', (read) => read(0, bytes))).toEqual(read)
})

test('works that hold the same file end in any order', async () => {
  const [{ tensors }] = await openFiles([file], {})
  const [{ source, bytes }] = tensors
  const releases = await Promise.all([holdOpen([file]), holdOpen([file]), holdOpen([file])])
  for (const release of releases) {
    expect((await withBytes(source, 'w', (read) => read(0, bytes))).length).toBe(bytes)
    await release()
  }
})
