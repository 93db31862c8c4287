import { execFileSync, spawn } from 'node:child_process'
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { buildSync } from 'esbuild'
import fc from 'fast-check'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { badInput, exitCodeOf } from '../../src/errors.ts'
import { beforeEnd, runBeforeEnd, whenSomethingIsLeft } from '../../src/io/temporary.ts'
import { assertWritable, writeFileAtomic, writeOwnFile } from '../../src/io/write-atomic.ts'
import { errorOf } from '../formats/fixtures.ts'
import { obeyingPermissions } from '../obeying-permissions.ts'

const root = mkdtempSync(join(tmpdir(), 'lora-svd-write-'))
afterAll(() => rmSync(root, { recursive: true }))
let folder = root
let count = 0
beforeEach(() => {
  folder = join(root, String(count++))
  mkdirSync(folder)
})
const inFolder = (name: string) => join(folder, name)
const text = (content: string) => [new TextEncoder().encode(content)]
const onUnix = process.platform !== 'win32'

describe('a new file', () => {
  test('holds the pieces, and nothing is left beside it', async () => {
    async function* slow() {
      yield* text('one ')
      yield* text('')
      yield* text('two')
    }
    expect(await writeFileAtomic(inFolder('new'), slow())).toBe(7)
    expect(readFileSync(inFolder('new'), 'utf8')).toBe('one two')
    expect(readdirSync(folder)).toEqual(['new'])
    expect(statSync(inFolder('new')).mode & 0o777).toBe(0o666 & ~process.umask())
  })

  test('does not show under its name before it is whole', async () => {
    async function* watching() {
      for (let i = 0; i < 3; i++) {
        expect(existsSync(inFolder('new'))).toBe(false)
        yield* text('x')
      }
    }
    await writeFileAtomic(inFolder('new'), watching())
    expect(readFileSync(inFolder('new'), 'utf8')).toBe('xxx')
  })

  test('any pieces come out in order', async () => {
    const list = fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 6 })
    await fc.assert(
      fc.asyncProperty(list, async (chunks) => {
        await writeFileAtomic(inFolder('any'), chunks, { force: true })
        expect(Buffer.compare(readFileSync(inFolder('any')), Buffer.concat(chunks))).toBe(0)
      }),
      { numRuns: 25 },
    )
  })
})

describe('an existing file', () => {
  test('is refused without force, before and at the writing', async () => {
    writeFileSync(inFolder('old'), 'old')
    for (const action of [assertWritable, (path: string) => writeFileAtomic(path, text('new'))]) {
      const error = await errorOf(() => action(inFolder('old')))
      expect(error).toMatchObject({ code: 'output-exists', message: expect.stringContaining('--force') })
      expect(exitCodeOf(error)).toBe(2)
    }
    expect(readFileSync(inFolder('old'), 'utf8')).toBe('old')
  })

  test('is replaced with force and keeps its permissions', async () => {
    writeFileSync(inFolder('old'), 'old')
    chmodSync(inFolder('old'), 0o664)
    await assertWritable(inFolder('old'), { force: true })
    await writeFileAtomic(inFolder('old'), text('new'), { force: true })
    expect(readFileSync(inFolder('old'), 'utf8')).toBe('new')
    if (onUnix) expect(statSync(inFolder('old')).mode & 0o777).toBe(0o664)
  })

  test('that appears while we write is not overwritten', async () => {
    async function* late() {
      yield* text('ours')
      writeFileSync(inFolder('raced'), 'theirs')
    }
    expect((await errorOf(() => writeFileAtomic(inFolder('raced'), late()))).code).toBe('output-exists')
    expect(readFileSync(inFolder('raced'), 'utf8')).toBe('theirs')
    expect(readdirSync(folder)).toEqual(['raced'])
  })

  test('stays, and the temporary goes, when the content fails', async () => {
    writeFileSync(inFolder('old'), 'old')
    async function* failing() {
      yield* text('half')
      expect(readdirSync(folder)).toHaveLength(2)
      throw badInput('no more')
    }
    const error = await errorOf(() => writeFileAtomic(inFolder('old'), failing(), { force: true }))
    expect(error.message).toBe('no more')
    expect(readFileSync(inFolder('old'), 'utf8')).toBe('old')
    expect(readdirSync(folder)).toEqual(['old'])
  })
})

describe('a check of the whole file', () => {
  test('sees it before it has its name; what it throws leaves the old one, and nothing beside it', async () => {
    const path = inFolder('checked')
    writeFileSync(path, 'old')
    const check = async (written: string) => {
      expect([readFileSync(written, 'utf8'), readFileSync(path, 'utf8')]).toEqual(['new', 'old'])
      throw badInput('its source was changed')
    }
    await expect(writeFileAtomic(path, text('new'), { force: true, check })).rejects.toThrow(
      'its source was changed',
    )
    expect([readFileSync(path, 'utf8'), readdirSync(folder)]).toEqual(['old', ['checked']])
  })
})

describe('links', () => {
  test('a link is followed and stays a link', async () => {
    mkdirSync(inFolder('blobs'))
    writeFileSync(inFolder('blobs/data'), 'old')
    symlinkSync('blobs/data', inFolder('link'))
    expect((await errorOf(() => assertWritable(inFolder('link')))).code).toBe('output-exists')
    await writeFileAtomic(inFolder('link'), text('new'), { force: true })
    expect(lstatSync(inFolder('link')).isSymbolicLink()).toBe(true)
    expect(readFileSync(inFolder('blobs/data'), 'utf8')).toBe('new')
    expect(readdirSync(inFolder('blobs'))).toEqual(['data'])
  })

  test('a link to nothing makes the file it points to', async () => {
    symlinkSync('second', inFolder('first'))
    symlinkSync('target', inFolder('second'))
    await writeFileAtomic(inFolder('first'), text('new'))
    expect(readFileSync(inFolder('target'), 'utf8')).toBe('new')
    expect(readdirSync(folder).sort()).toEqual(['first', 'second', 'target'])
  })

  test('a folder reached through a link and .. is the one the system means', async () => {
    mkdirSync(inFolder('far/inner'), { recursive: true })
    symlinkSync('far/inner', inFolder('near'))
    await writeFileAtomic(`${inFolder('near')}/../new`, text('new'))
    expect(readdirSync(inFolder('far')).sort()).toEqual(['inner', 'new'])
    expect(readdirSync(folder).sort()).toEqual(['far', 'near'])
  })

  test('a circle of links is refused', async () => {
    symlinkSync('circle', inFolder('circle'))
    expect((await errorOf(() => assertWritable(inFolder('circle')))).message).toContain('circle')
  })
})

describe('what cannot be written', () => {
  test.each([
    ['.', 'is a folder'],
    ['none/new', 'does not exist; create it first'],
    ['new/', 'names a folder'],
    ['file/new', 'is not a folder'],
    ['x'.repeat(3000), 'too long'],
    ['nul\0', 'NUL'],
  ])('%s is refused up front', async (name, reason) => {
    writeFileSync(inFolder('file'), '')
    const path = name === '.' ? folder : inFolder(name)
    const error = await errorOf(() => assertWritable(path, { force: true }))
    expect([error.code, error.message]).toEqual(['bad-input', expect.stringContaining(reason)])
  })

  test.runIf(process.platform === 'linux')('a full device is the machine failing', async () => {
    const error = await errorOf(() => writeFileAtomic('/dev/full', text('x')))
    expect(error).toMatchObject({
      code: 'system',
      message: expect.stringContaining('the disk is full (ENOSPC)'),
    })
    expect(exitCodeOf(error)).toBe(3)
  })
})

/** What needs another process: one with a file size limit, one without root's rights, one whose output is a pipe. */
describe.runIf(onUnix)('in a process of its own', () => {
  const bundle = join(root, 'write.mjs')
  beforeAll(() => {
    const source = fileURLToPath(new URL('../../src/io/write-atomic.ts', import.meta.url))
    buildSync({ entryPoints: [source], outfile: bundle, bundle: true, platform: 'node', format: 'esm' })
  })

  /** Writes `bytes` to `path` in a process made as the options say; what it prints: the error's code and message. */
  function writeInChild(path: string, bytes: number, { before = '', into = '' }): string {
    const script = `import { writeFileAtomic } from ${JSON.stringify(pathToFileURL(bundle).href)}
      const error = await writeFileAtomic(${JSON.stringify(path)}, [new Uint8Array(${bytes})]).catch((e) => e)
      console.log(error.code, error.message)`
    return execFileSync('sh', ['-c', `${before} "$0" --input-type=module ${into}`, process.execPath], {
      input: script,
      encoding: 'utf8',
    })
  }

  test('a file past the size limit leaves nothing behind', () => {
    const said = writeInChild(inFolder('large'), 2 ** 20, { before: 'ulimit -f 16;' })
    expect(said).toMatch(/^system .*large: can't write large: the file is larger .* \(EFBIG\)/)
    expect(readdirSync(folder)).toEqual([])
  })

  test('/dev/stdout is the pipe behind it', () => {
    expect(writeInChild('/dev/stdout', 3, { into: '| cat' })).toMatch(/^\0{3}undefined undefined/)
  })

  test('a folder without permission is the machine failing', () => {
    chmodSync(folder, 0o555)
    const said = writeInChild(inFolder('new'), 1, { before: obeyingPermissions.join(' ') })
    expect(said).toMatch(/^system .*: can't write in the folder .*: permission denied \(EACCES\)/)
    chmodSync(folder, 0o755)
    expect(readdirSync(folder)).toEqual([])
  })
})

describe('devices and pipes', () => {
  test.runIf(onUnix)('/dev/null is written to, not replaced', async () => {
    expect(await writeFileAtomic('/dev/null', text('gone'))).toBe(4)
    expect(lstatSync('/dev/null').isCharacterDevice()).toBe(true)
  })

  test.runIf(onUnix)('a named pipe takes the bytes', async () => {
    execFileSync('mkfifo', [inFolder('pipe')])
    const reader = spawn('cat', [inFolder('pipe')])
    const heard = (async () => {
      let all = ''
      for await (const chunk of reader.stdout) all += chunk
      return all
    })()
    await writeFileAtomic(inFolder('pipe'), text('through'))
    expect(await heard).toBe('through')
  })
})

describe('a file in a folder of our own', () => {
  test('appears whole in place of what has its name', async () => {
    writeFileSync(inFolder('kept'), 'before')
    async function* watching() {
      yield* text('one ')
      expect(readFileSync(inFolder('kept'), 'utf8')).toBe('before')
      yield* text('two')
    }
    expect(await writeOwnFile(inFolder('kept'), watching())).toBe(7)
    expect(readFileSync(inFolder('kept'), 'utf8')).toBe('one two')
    expect(readdirSync(folder)).toEqual(['kept'])
  })

  test('leaves nothing where it fails', async () => {
    async function* failing() {
      yield* text('half')
      throw badInput('no more')
    }
    expect(await errorOf(() => writeOwnFile(inFolder('kept'), failing()))).toMatchObject({
      message: 'no more',
    })
    mkdirSync(inFolder('taken'))
    const taken = () => writeOwnFile(inFolder('taken'), text('x'))
    expect(await errorOf(taken)).toMatchObject({ code: 'bad-input', file: inFolder('taken') })
    expect(readdirSync(folder)).toEqual(['taken'])
  })
})

test('a signal finds what another copy of the module has left to be done', async () => {
  const other: typeof import('../../src/io/temporary.ts') = await import(
    // @ts-expect-error: another bundle's copy
    '../../src/io/temporary.ts?copy'
  )
  expect(other.beforeEnd).not.toBe(beforeEnd)
  const done: string[] = []
  whenSomethingIsLeft((isThere) => done.push(String(isThere)))
  const forget = other.beforeEnd(() => done.push('tidied'))
  runBeforeEnd()
  forget()
  runBeforeEnd()
  whenSomethingIsLeft(() => {})
  expect(done).toEqual(['true', 'tidied', 'false'])
})

test('an interrupt removes what is half written', async () => {
  let release = () => {}
  const waiting = new Promise<void>((done) => {
    release = done
  })
  async function* stuck() {
    yield* text('half')
    await waiting
  }
  const writing = errorOf(() => writeFileAtomic(inFolder('new'), stuck()))
  while (readdirSync(folder).length === 0) await new Promise((again) => setTimeout(again, 1))
  runBeforeEnd()
  expect(readdirSync(folder)).toEqual([])
  release()
  await writing
  expect(readdirSync(folder)).toEqual([])
})
