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

const mebi = 2 ** 20
const zeros = (count: number) => f32([count], new Float32Array(count))

/** A held file of such tensors of zeros: `read` gives the largest number of one, `overwrite` fills what comes last with other numbers. */
async function heldFile(tensors: Parameters<typeof fileOf>[0]) {
  const path = join(folderOf({ [name]: fileOf(tensors) }), name)
  const [opened] = await openFiles([path], {})
  return {
    release: await holdOpen([path]),
    async read(tensor: string) {
      const { source, bytes } = opened.tensors.find((one) => one.name === tensor)!
      return Math.max(...(await withBytes(source, tensor, (read) => read(0, bytes))))
    },
    overwrite(floats: number) {
      const bytes = 4 * floats
      const file = openSync(path, 'r+')
      writeSync(file, new Uint8Array(bytes).fill(1), 0, bytes, statSync(path).size - bytes)
      closeSync(file)
    },
  }
}

test('what lies near the last read comes with the next, and nothing with a read far away', async () => {
  const { a, b, c, d, e } = { a: zeros(8), b: zeros(8), c: zeros(8), d: zeros(8), e: zeros(8) }
  const { read, overwrite, release } = await heldFile({ a, b, gap: zeros(mebi), c, d, e })
  const found = [await read('a'), await read('c')]
  // whatever was read ahead is still 0
  overwrite(mebi + 24)
  found.push(await read('d'))
  expect(found).toEqual([0, 0, 1])
  await release()
})

test('all of a small file comes with the first read', async () => {
  const { read, overwrite, release } = await heldFile({ a: zeros(8), gap: zeros(mebi / 2), b: zeros(8) })
  const found = [await read('a')]
  overwrite(8)
  found.push(await read('b'))
  expect(found).toEqual([0, 0])
  await release()
})

test('of two that are read last first, the reading goes on from the first of them', async () => {
  const { a, b, c, d } = { a: zeros(8), b: zeros(8), c: zeros(8), d: zeros(8) }
  const { read, overwrite, release } = await heldFile({ gap: zeros(mebi + 1), a, b, c, d })
  const found = [await read('b'), await read('a')]
  overwrite(16)
  found.push(await read('d'), await read('c'))
  expect(found).toEqual([0, 0, 0, 0])
  await release()
})
