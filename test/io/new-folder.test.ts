import { mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { ADAPTER_FOLDER } from '../../src/checkpoint/folder.ts'
import { writeFolderAtomic } from '../../src/io/new-folder.ts'
import { isTemporaryName, runBeforeEnd } from '../../src/io/temporary.ts'
import { folderOf } from '../checkpoint/support.ts'
import { errorOf } from '../formats/fixtures.ts'

const MARK = 'adapter_config.json'
const write = (output: string, text: string, force = false) =>
  writeFolderAtomic(output, ADAPTER_FOLDER, force, [], async (staging) => {
    writeFileSync(join(staging, MARK), text)
    return text
  })
const textOf = (output: string) => readFileSync(join(output, MARK), 'utf8')

test('a new folder appears when it is whole', async () => {
  const folder = folderOf()
  const output = join(folder, 'out')
  const result = await writeFolderAtomic(output, ADAPTER_FOLDER, false, [], async (staging) => {
    writeFileSync(join(staging, MARK), 'new')
    const names = readdirSync(folder)
    expect(names).toHaveLength(1)
    expect(isTemporaryName(names[0])).toBe(true)
    return 7
  })
  expect(result).toBe(7)
  expect(readdirSync(folder)).toEqual(['out'])
  expect(textOf(output)).toBe('new')
})

test('what fails leaves nothing, and what was there stays', async () => {
  const folder = folderOf({ [`old/${MARK}`]: 'old' })
  for (const name of ['new', 'old']) {
    const failing = writeFolderAtomic(join(folder, name), ADAPTER_FOLDER, true, [], async (staging) => {
      mkdirSync(join(staging, 'deep'))
      throw new Error('no')
    })
    await expect(failing).rejects.toThrow('no')
    expect(readdirSync(folder)).toEqual(['old'])
  }
  expect(textOf(join(folder, 'old'))).toBe('old')
})

test('with force it takes an old one’s place', async () => {
  const folder = folderOf({ [`out/${MARK}`]: 'old' })
  expect((await errorOf(() => write(join(folder, 'out'), 'new'))).code).toBe('output-exists')
  await write(join(folder, 'out'), 'new', true)
  expect(readdirSync(folder)).toEqual(['out'])
  expect(textOf(join(folder, 'out'))).toBe('new')
})

test('what appears meanwhile is not replaced without force', async () => {
  const folder = folderOf()
  const output = join(folder, 'out')
  const error = await errorOf(() =>
    writeFolderAtomic(output, ADAPTER_FOLDER, false, [], async (staging) => {
      writeFileSync(join(staging, MARK), 'late')
      await write(output, 'early')
    }),
  )
  expect(error.code).toBe('output-exists')
  expect(textOf(output)).toBe('early')
  expect(readdirSync(folder)).toEqual(['out'])
})

test('what a killed run was about to replace is given back by hand, and never deleted', async () => {
  const folder = folderOf({ [`out/${MARK}`]: 'old' })
  const output = join(folder, 'out')
  renameSync(output, `${output}.replaced`)
  const error = await errorOf(() => write(output, 'new', true))
  expect(error.code).toBe('bad-input')
  expect(error.message).toBe(
    `${output}.replaced: is what an earlier run was about to replace; move it away, or back to ${output}`,
  )
  expect(textOf(`${output}.replaced`)).toBe('old')
  expect(readdirSync(folder)).toEqual(['out.replaced'])
})

test('a signal takes what is half-written with it', async () => {
  const folder = folderOf()
  const ended = writeFolderAtomic(join(folder, 'out'), ADAPTER_FOLDER, false, [], async (staging) => {
    writeFileSync(join(staging, MARK), 'half')
    runBeforeEnd()
    expect(readdirSync(folder)).toEqual([])
  })
  await expect(ended).rejects.toThrow()
  expect(readdirSync(folder)).toEqual([])
})
