import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { ADAPTER_FOLDER } from '../../src/checkpoint/folder.ts'
import { assertRoom, freeBytes } from '../../src/io/files.ts'
import { assertOutputFree, putFolderInPlace } from '../../src/io/place-folder.ts'
import { folderOf } from '../checkpoint/support.ts'
import { errorOf } from '../formats/fixtures.ts'

describe('the room on the disk', () => {
  test('is asked of the folder that the output will be in', async () => {
    const output = join(folderOf(), 'new')
    expect(await freeBytes(output)).toBeGreaterThan(0)
    await assertRoom(output, 1)
    const error = await errorOf(() => assertRoom(output, 2 ** 80))
    expect(error.code).toBe('system')
    expect(error.message).toMatch(
      /: the disk has .* free, and at least .* are needed; free some, or write elsewhere$/,
    )
  })
})

describe('putting a folder in its place', () => {
  const staged = () => {
    const folder = folderOf({ 'run/adapter/adapter_config.json': 'new' })
    return {
      folder,
      output: join(folder, 'out'),
      staging: join(folder, 'run/adapter'),
      replaced: join(folder, 'run/replaced'),
    }
  }
  const textOf = (output: string) => readFileSync(join(output, 'adapter_config.json'), 'utf8')

  test('where nothing was', async () => {
    const { output, staging, replaced } = staged()
    await putFolderInPlace({
      staging,
      output,
      replaced,
      kind: ADAPTER_FOLDER,
      force: false,
      placed: undefined,
    })
    expect(textOf(output)).toBe('new')
    expect([existsSync(staging), existsSync(replaced)]).toEqual([false, false])
  })

  test('what was there has another name after it', async () => {
    const { output, staging, replaced } = staged()
    mkdirSync(output)
    writeFileSync(join(output, 'adapter_config.json'), 'old')
    await putFolderInPlace({
      staging,
      output,
      replaced,
      kind: ADAPTER_FOLDER,
      force: true,
      placed: undefined,
    })
    expect([textOf(output), textOf(replaced)]).toEqual(['new', 'old'])
  })

  test('what appeared during the run is neither replaced nor moved without force, nor with it unless it is an adapter', async () => {
    for (const force of [false, true]) {
      const { output, staging, replaced } = staged()
      mkdirSync(output)
      writeFileSync(join(output, 'work.txt'), 'of someone else')
      const error = await errorOf(() =>
        putFolderInPlace({ staging, output, replaced, kind: ADAPTER_FOLDER, force, placed: undefined }),
      )
      expect(error.code).toBe(force ? 'bad-input' : 'output-exists')
      expect(readdirSync(output)).toEqual(['work.txt'])
      expect([existsSync(staging), existsSync(replaced)]).toEqual([true, false])
    }
  })

  test('what was there stays where the new folder is not to be had', async () => {
    const { output, staging, replaced } = staged()
    mkdirSync(output)
    writeFileSync(join(output, 'adapter_config.json'), 'old')
    const error = await errorOf(() =>
      putFolderInPlace({
        staging: `${staging}-gone`,
        output,
        replaced,
        kind: ADAPTER_FOLDER,
        force: true,
        placed: undefined,
      }),
    )
    expect(error.message).toContain("can't give it its name")
    expect(textOf(output)).toBe('old')
    expect(existsSync(replaced)).toBe(false)
  })
})

describe('an output that may be replaced', () => {
  const check = (output: string) => errorOf(() => assertOutputFree(output, ADAPTER_FOLDER, true, []))

  test.each([
    ['an adapter', ['adapter_config.json', 'adapter_model.safetensors', 'README.md'], true],
    [
      'one with its tokenizer',
      ['adapter_config.json', 'tokenizer.json', 'tokenizer_config.json', '.gitattributes'],
      true,
    ],
    ['an empty folder', [], true],
    ['a model', ['config.json', 'model.safetensors'], false],
    ['an adapter beside a model', ['adapter_config.json', 'model.safetensors'], false],
    ['weights without a config', ['adapter_model.safetensors'], false],
    ['a repository', ['.git', 'README.md'], false],
  ])('%s', async (_, names, isReplaceable) => {
    const folder = folderOf()
    const output = join(folder, 'out')
    mkdirSync(output)
    for (const name of names) writeFileSync(join(output, name), '')
    if (isReplaceable) await assertOutputFree(output, ADAPTER_FOLDER, true, [])
    else expect((await check(output)).message).toMatch(/is no adapter's folder/)
    expect(readdirSync(output)).toHaveLength(names.length)
    expect((await errorOf(() => assertOutputFree(output, ADAPTER_FOLDER, false, []))).code).toBe(
      'output-exists',
    )
  })

  test('not one that lies in an input, by any path', async () => {
    const folder = folderOf({ 'base/config.json': '{}' })
    symlinkSync(join(folder, 'base'), join(folder, 'link'))
    const base = {
      path: 'base',
      folder: join(folder, 'base'),
      tensors: new Map(),
      metadata: new Map(),
      files: [],
      warnings: [],
    }
    for (const output of ['base', 'base/new', 'link/new', 'base/../base/new']) {
      const error = await errorOf(() => assertOutputFree(join(folder, output), ADAPTER_FOLDER, false, [base]))
      expect(error.message, output).toContain('lies in base, an input')
    }
    await assertOutputFree(join(folder, 'base-2'), ADAPTER_FOLDER, false, [base])
  })
})
