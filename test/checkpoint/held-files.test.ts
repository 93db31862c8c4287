import { closeSync, openSync, statSync, writeSync } from 'node:fs'
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

test('what lies near the last read comes with the next, and nothing with a read far away', async () => {
  const mebi = 2 ** 20
  const floats = (count: number) => f32([count], new Float32Array(count))
  const tensors = { a: floats(8), b: floats(8), gap: floats(mebi), c: floats(8), d: floats(8), e: floats(8) }
  const path = join(folderOf({ [name]: fileOf(tensors) }), name)
  const [opened] = await openFiles([path], {})
  const read = async (tensor: string) => {
    const { source, bytes } = opened.tensors.find((one) => one.name === tensor)!
    return Math.max(...(await withBytes(source, tensor, (read) => read(0, bytes))))
  }
  const release = await holdOpen([path])
  const found = [await read('a'), await read('c')]
  // whatever was read ahead is still 0
  const bytes = 4 * (mebi + 24)
  const numbers = openSync(path, 'r+')
  writeSync(numbers, new Uint8Array(bytes).fill(1), 0, bytes, statSync(path).size - bytes)
  closeSync(numbers)
  found.push(await read('d'))
  expect(found).toEqual([0, 0, 1])
  await release()
})
