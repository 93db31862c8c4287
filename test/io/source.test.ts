import { execFileSync, spawn } from 'node:child_process'
import { mkdtempSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { memorySource, openFile, readAll, readWhole } from '../../src/io/source.ts'
import { errorOf } from '../formats/fixtures.ts'

const folder = mkdtempSync(join(tmpdir(), 'lora-svd-source-'))
const inFolder = (name: string) => join(folder, name)
afterAll(() => rmSync(folder, { recursive: true }))
const onUnix = process.platform !== 'win32'

describe('files', () => {
  test('ranges of a file, also through a link', async () => {
    writeFileSync(
      inFolder('ten'),
      Uint8Array.from({ length: 10 }, (_, i) => i),
    )
    symlinkSync(inFolder('ten'), inFolder('link'))
    for (const name of ['ten', 'link']) {
      const source = await openFile(inFolder(name))
      expect(source).toMatchObject({ name: inFolder(name), byteLength: 10 })
      expect([...(await source.read(3, 6))]).toEqual([3, 4, 5])
      expect([...(await source.read(10, 10))]).toEqual([])
      await expect(source.read(5, 11)).rejects.toThrow(RangeError)
      await expect(source.read(-1, 2)).rejects.toThrow(RangeError)
      await source.close()
    }
  })

  test('bytes into memory that is there already', async () => {
    writeFileSync(inFolder('five'), Uint8Array.of(1, 2, 3, 4, 5))
    const file = await openFile(inFolder('five'))
    for (const source of [file, memorySource('five', Uint8Array.of(1, 2, 3, 4, 5))]) {
      const memory = new Uint8Array(4)
      await source.readInto(memory.subarray(1, 3), 2)
      expect([...memory]).toEqual([0, 3, 4, 0])
      await expect(source.readInto(memory, 2)).rejects.toThrow(RangeError)
      await source.close()
    }
  })

  test('an empty file', async () => {
    writeFileSync(inFolder('empty'), '')
    const source = await openFile(inFolder('empty'))
    expect(source.byteLength).toBe(0)
    await source.close()
  })

  test.each([
    ['missing', 'no such file'],
    ['.', 'is a folder'],
    ['ten/below', 'is a file, not a folder'],
    ['nul\0', 'NUL character'],
    ['x'.repeat(5000), 'too long'],
    ['circle', 'go in a circle'],
  ])('%s is refused', async (name, reason) => {
    if (name === 'circle') symlinkSync('circle', inFolder('circle'))
    const error = await errorOf(() => openFile(name === '.' ? folder : inFolder(name)))
    expect([error.code, error.message]).toEqual(['bad-input', expect.stringContaining(reason)])
    expect(error.file).toBe(name === '.' ? folder : inFolder(name))
  })

  test('a file that shrinks while it is read', async () => {
    writeFileSync(inFolder('shrinking'), new Uint8Array(100))
    const source = await openFile(inFolder('shrinking'))
    truncateSync(inFolder('shrinking'), 40)
    expect((await errorOf(() => source.read(10, 100))).message).toContain('ended at byte 40 of 100')
    await source.close()
  })

  test.runIf(onUnix)('a pipe is read whole', async () => {
    execFileSync('mkfifo', [inFolder('pipe')])
    const writer = spawn('sh', ['-c', `printf 'one,'; sleep 0.05; printf two`], {
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    const into = spawn('sh', ['-c', `cat > '${inFolder('pipe')}'`], {
      stdio: [writer.stdout, 'ignore', 'ignore'],
    })
    const source = await openFile(inFolder('pipe'), { mayBePipe: true })
    expect(new TextDecoder().decode(await readWhole(source))).toBe('one,two')
    await source.close()
    into.kill()
  })

  test.runIf(onUnix)(
    'a pipe where a file is expected is refused at once, though nobody writes to it',
    async () => {
      execFileSync('mkfifo', [inFolder('silent')])
      symlinkSync('silent', inFolder('to-silent'))
      for (const name of ['silent', 'to-silent']) {
        const { code, message } = await errorOf(() => openFile(inFolder(name)))
        expect([code, message]).toEqual(['bad-input', expect.stringContaining('is a pipe, not a file')])
      }
    },
  )

  test.runIf(onUnix)('a device is refused, whoever named it', async () => {
    symlinkSync('/dev/zero', inFolder('zeros'))
    for (const options of [{}, { mayBePipe: true }]) {
      const { code, message } = await errorOf(() => openFile(inFolder('zeros'), options))
      expect([code, message]).toEqual(['bad-input', expect.stringContaining('is a device, not a file')])
    }
  })

  test.runIf(onUnix)('a socket is refused', async () => {
    const server = createServer()
    await new Promise<void>((done) => server.listen(inFolder('socket'), done))
    const { message } = await errorOf(() => openFile(inFolder('socket'), { mayBePipe: true }))
    server.close()
    expect(message).toContain('is a socket, not a file; name a file, or - for standard input')
  })

  test('a file past the limit is refused unread', async () => {
    writeFileSync(inFolder('long'), new Uint8Array(11))
    expect((await errorOf(() => openFile(inFolder('long'), { limit: 10 }))).message).toContain(
      'the file is 11 bytes long; at most 10 are read',
    )
    await (await openFile(inFolder('long'), { limit: 11 })).close()
  })

  test.runIf(process.platform === 'linux')(
    'a limit holds for a file that does not say its length',
    async () => {
      const { message } = await errorOf(() => openFile('/proc/self/status', { limit: 10 }))
      expect(message).toContain('more than 10 bytes')
    },
  )

  test.runIf(process.platform === 'linux')('a file of /proc, which says it is empty', async () => {
    const source = await openFile('/proc/self/status')
    expect(source.byteLength).toBeGreaterThan(10)
    await source.close()
  })
})

describe('streams and memory', () => {
  async function* pieces(...list: (Uint8Array | string)[]) {
    yield* list
  }

  test('pieces are joined', async () => {
    expect([...(await readAll(pieces(Uint8Array.of(1, 2), 'a', new Uint8Array(0)), 'x'))]).toEqual([1, 2, 97])
    expect([...(await readAll(pieces(), 'x'))]).toEqual([])
  })

  test('more than the limit is refused at once', async () => {
    let asked = 0
    async function* endless() {
      for (; ; asked++) yield new Uint8Array(10)
    }
    const { code, message } = await errorOf(() => readAll(endless(), 'standard input', 35))
    expect([code, message]).toEqual([
      'bad-input',
      expect.stringContaining('standard input: gives more than 35 bytes'),
    ])
    expect(asked).toBe(3)
  })

  test('a stream that fails is the machine failing', async () => {
    async function* broken(): AsyncGenerator<Uint8Array> {
      yield new Uint8Array(1)
      throw Object.assign(new Error('EIO: i/o error, read'), { code: 'EIO' })
    }
    expect(await errorOf(() => readAll(broken(), 'standard input'))).toMatchObject({
      code: 'system',
      message: expect.stringContaining('input/output error (EIO)'),
    })
  })

  test('memory is not copied', async () => {
    const bytes = Uint8Array.of(1, 2, 3)
    const part = await memorySource('m', bytes).read(1, 3)
    expect(part.buffer).toBe(bytes.buffer)
    await expect(memorySource('m', bytes).read(1, 4)).rejects.toThrow(RangeError)
  })
})
