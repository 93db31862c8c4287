import { mkdirSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import fc from 'fast-check'
import { beforeEach, describe, expect, test } from 'vitest'
import { assertUnchanged, identityOf } from '../../src/io/files.ts'
import { hubAddressOf, isAddress, isSafe, maySendOn, parseHubAddress } from '../../src/io/remote/address.ts'
import { readingOn } from '../../src/io/remote/ahead.ts'
import { pinned } from '../../src/io/remote/hub.ts'
import { keepParts } from '../../src/io/remote/kept.ts'
import { network, workerNetwork } from '../../src/io/remote/network.ts'
import { waitAsked } from '../../src/io/remote/refusals.ts'
import { hubEndpoint, hubToken } from '../../src/io/remote/settings.ts'
import { openFile, readTextFile, readTextIfThere } from '../../src/io/source.ts'
import { temporaryFolder } from '../temporary.ts'
import {
  asRun,
  etagOf,
  type Fault,
  hasty,
  type LoopbackHub,
  loopbackHub,
  type Request,
} from './loopback-hub.ts'

const COMMIT = '0123456789abcdef0123456789abcdef01234567'
const SECRET = 'hf_SecretOfTheTests'
const KIB = 1024

/** Bytes of which each tells its place. */
function counting(length: number): Uint8Array {
  const bytes = new Uint8Array(length)
  for (let i = 0; i < length; i++) bytes[i] = i * 7 + (i >> 8)
  return bytes
}
const LARGE = counting(200 * KIB)

const hub: LoopbackHub = await loopbackHub({
  'org/open': {
    commit: COMMIT,
    files: { 'model.safetensors': LARGE, 'config.json': '{"a": 1}', 'sub/x.safetensors': counting(10) },
  },
  'org/private': { commit: COMMIT, files: { 'model.safetensors': LARGE }, token: SECRET },
  'org/gated': { commit: COMMIT, files: { 'model.safetensors': LARGE }, token: SECRET, isGated: true },
})
const OPEN = hub.repositories['org/open']
const home = temporaryFolder('no-token')
const anyone = { HF_ENDPOINT: hub.endpoint, HF_HOME: home }
const known = { ...anyone, HF_TOKEN: SECRET }

beforeEach(() => {
  hub.requests.length = 0
  hub.sent = 0
  hub.fault = () => undefined
})

/** Opens a file in a run and reads a part of it. */
const readOf = (
  address: string,
  [start, end]: readonly [number, number],
  {
    env = anyone,
    ...how
  }: {
    env?: Record<string, string>
    patience?: ReturnType<typeof hasty>
    signal?: AbortSignal
    notice?: (line: string) => void
  } = {},
) =>
  asRun(
    env,
    async () => {
      const source = await openFile(address)
      return source.read(start, end)
    },
    how,
  )

const FILE = 'hf://org/open/model.safetensors'
const PART = [60 * KIB, 190 * KIB] as const
const expected = LARGE.slice(...PART)

/** Looking at each of many bytes takes longer than reading them. */
const isExpected = (bytes: Uint8Array) => Buffer.compare(bytes, expected) === 0

const errorOf = (work: Promise<unknown>) =>
  work.then(
    () => {
      throw new Error('it did not fail')
    },
    (error: unknown) => error as { code: string; message: string },
  )

/** A fault of the nth and later requests for bytes past the header, as long as `times` aren't used up. */
function failing(fault: Fault, times = 1): (request: Request) => Fault | undefined {
  return ({ host, range = '' }) => {
    if (host !== 'cdn' || range.startsWith('bytes=0-') || times === 0) return undefined
    times--
    return fault
  }
}

describe('addresses', () => {
  test.each([
    ['hf://org/name', { repository: 'org/name', revision: 'main', path: '' }],
    ['hf://org/name@v1.0', { repository: 'org/name', revision: 'v1.0', path: '' }],
    [
      'hf://org/name@refs/pr/3/a/b.safetensors',
      { repository: 'org/name', revision: 'refs/pr/3', path: 'a/b.safetensors' },
    ],
    ['hf://org/name@refs%2Fpr%2F3', { repository: 'org/name', revision: 'refs/pr/3', path: '' }],
    ['hf://org/name/sub/', { repository: 'org/name', revision: 'main', path: 'sub' }],
  ])('%s', (address, place) => expect(parseHubAddress(address)).toEqual(place))

  test.each([
    'hf://name',
    'hf://',
    'hf://org/name/../x',
    'hf://org/a--b',
    'hf://org/name//x',
    'hf://datasets/org/name',
    'hf://-org/name',
  ])('%s is refused', (address) => expect(() => parseHubAddress(address)).toThrow(/hf:\/\//))

  test('whom a token may go to, and whom a file may come from', () => {
    const safe = ['https://huggingface.co', 'http://localhost:80', 'http://127.0.0.1:1', 'http://[::1]:1']
    const unsafe = [
      'http://huggingface.co',
      'http://127.0.0.1.example.org',
      'http://localhost.example.org',
      'http://10.0.0.1',
    ]
    expect([...safe, ...unsafe].filter((url) => isSafe(new URL(url)))).toEqual(safe)
  })

  test.each([
    ['https://a', 'https://b', true],
    ['http://127.0.0.1', 'https://b', true],
    ['http://127.0.0.1', 'http://localhost', true],
    ['http://hub.inside', 'http://files.inside', true],
    ['https://a', 'http://b', false],
    ['https://a', 'http://127.0.0.1', false],
    ['http://127.0.0.1', 'http://b', false],
    ['https://a', 'ftp://b', false],
    ['http://hub.inside', 'file:///etc/passwd', false],
  ])('%s may send on to %s: %j', (from, to, may) => expect(maySendOn(new URL(from), new URL(to))).toBe(may))

  test('pages of the Hub are what they show', () => {
    const at = (url: string) => hubAddressOf(new URL(url), 'https://huggingface.co')
    expect(at('https://huggingface.co/org/name')).toBe('hf://org/name')
    expect(at('https://huggingface.co/org/name/resolve/main/a/b.safetensors?download=true')).toBe(
      'hf://org/name@main/a/b.safetensors',
    )
    expect(at('https://huggingface.co/org/name/blob/v1/a%20b.json')).toBe('hf://org/name@v1/a b.json')
    expect(at('https://huggingface.co/datasets/org/name')).toBeUndefined()
    expect(at('https://example.org/org/name')).toBeUndefined()
  })

  const pieces = fc.constantFrom(
    '/',
    '@',
    'org',
    'name',
    '..',
    '.',
    '-',
    '%2F',
    '%',
    '\\',
    '\0',
    '\ud800',
    'é',
    'refs/pr/',
  )

  test('whatever is no address is refused in our words, and paths are none', () => {
    fc.assert(
      fc.property(fc.array(fc.oneof(pieces, fc.string())), (parts) => {
        try {
          expect(parseHubAddress(`hf://${parts.join('')}`).repository).toMatch(/^[\w.-]+\/[\w.-]+$/)
        } catch (error) {
          expect(error).toMatchObject({ code: 'bad-input' })
        }
      }),
    )
    expect(
      ['model.safetensors', 'C:\\hf', './hf://x', '-', 'org/name', 'ftp://x'].map(isAddress),
    ).not.toContain(true)
  })

  test.each([
    ['http://example.org/a.safetensors', 'plain http'],
    [`https://user:${SECRET}@example.org/a.safetensors`, 'a name and a password'],
    [`https://example.org/a.safetensors?sig=${SECRET}`, 'a query'],
    ['https://', 'no right address'],
  ])('%s is refused, without what may be a secret', async (address, why) => {
    const error = await errorOf(asRun(anyone, () => pinned(address)))
    expect(error).toMatchObject({ code: 'bad-input', message: expect.stringContaining(why) })
    expect(error.message).not.toContain(SECRET)
    expect(hub.requests).toEqual([])
  })
})

describe('what the environment says', () => {
  test('a token is HF_TOKEN, or in the file of the command line', () => {
    const folder = temporaryFolder('token')
    mkdirSync(join(folder, '.cache', 'huggingface'), { recursive: true })
    writeFileSync(join(folder, '.cache', 'huggingface', 'token'), `${SECRET}\n`)
    writeFileSync(join(folder, 'other'), 'other')
    expect(hubToken({ env: {}, home: folder })).toBe(SECRET)
    expect(hubToken({ env: { HF_TOKEN: ' mine ' }, home: folder })).toBe('mine')
    expect(hubToken({ env: { HF_TOKEN_PATH: '~/other' }, home: folder })).toBe('other')
    expect(hubToken({ env: { HF_HOME: '/nowhere' }, home: folder })).toBeUndefined()
    expect(hubToken({ env: { HF_HUB_DISABLE_IMPLICIT_TOKEN: '1' }, home: folder })).toBeUndefined()
  })

  test('what is no token is not shown', async () => {
    const error = await errorOf(asRun({ ...anyone, HF_TOKEN: `${SECRET}\nx` }, () => pinned(FILE)))
    expect(error).toMatchObject({ code: 'bad-input', message: expect.stringContaining('HF_TOKEN') })
    expect(error.message).not.toContain(SECRET)
  })

  test('an endpoint', () => {
    expect(hubEndpoint({})).toBe('https://huggingface.co')
    expect(hubEndpoint({ HF_ENDPOINT: 'https://hub.example.org/mirror/' })).toBe(
      'https://hub.example.org/mirror',
    )
    for (const HF_ENDPOINT of ['hub', 'ftp://x', 'https://a:b@x', 'http://x:0', 'http://x:99999'])
      expect(() => hubEndpoint({ HF_ENDPOINT })).toThrow('HF_ENDPOINT')
  })

  test.each(['1', 'ON', 'yes', 'TRUE'])('HF_HUB_OFFLINE=%s: nothing is fetched', async (HF_HUB_OFFLINE) => {
    const error = await errorOf(asRun({ ...known, HF_HUB_OFFLINE }, () => openFile(FILE)))
    expect(error).toMatchObject({
      code: 'bad-input',
      message: expect.stringContaining('HF_HUB_OFFLINE is set'),
    })
    expect(hub.requests).toEqual([])
  })
})

describe('a file of the Hub', () => {
  test('is read in ranges, at one commit, by way of another host', async () => {
    expect(isExpected(await readOf(FILE, PART))).toBe(true)
    expect(hub.requests.map(({ host, path, range }) => [host, path.replace(/\?.*/, ''), range])).toEqual([
      ['hub', '/api/models/org/open/revision/main', undefined],
      ['hub', `/org/open/resolve/${COMMIT}/model.safetensors`, 'bytes=0-16383'],
      ['cdn', '/repos/org/open/model.safetensors', 'bytes=0-16383'],
      ['cdn', '/repos/org/open/model.safetensors', `bytes=${PART[0]}-${PART[1] - 1}`],
    ])
    expect(hub.sent).toBe(16 * KIB + PART[1] - PART[0])
    // nobody is asked to compress
    expect(hub.requests.every(({ encoding = '' }) => /^identity(, identity)?$/.test(encoding))).toBe(true)
    expect(hub.requests.at(-1)?.ifRange).toBe(etagOf(LARGE))
  })

  test('what was read at its opening is not asked for again', async () => {
    expect(etagOf(await readOf(FILE, [8, 40 * KIB]))).toBe(etagOf(LARGE.slice(8, 40 * KIB)))
    expect(hub.requests.at(-1)?.range).toBe(`bytes=${16 * KIB}-${40 * KIB - 1}`)
    hub.requests.length = 0
    expect(await readOf(FILE, [0, 8])).toEqual(LARGE.slice(0, 8))
    expect(hub.requests).toHaveLength(3)
  })

  test('is asked for where the Hub sent us, as long as that goes well', async () => {
    await asRun(anyone, async () => {
      const source = await openFile(FILE)
      for (const start of [50_000, 60_000, 70_000]) await source.read(start, start + 10)
    })
    expect(hub.requests.map(({ host }) => host)).toEqual(['hub', 'hub', 'cdn', 'cdn', 'cdn', 'cdn'])
  })

  test('has a stamp of its length, and is the same by the commit in its name', async () => {
    const { stamp, name } = await asRun(anyone, () => openFile(FILE))
    expect(stamp).toEqual({ bytes: LARGE.length, modified: '', inode: '0' })
    expect(name).toContain(`@${COMMIT}/`)
    hub.loose['stamped.safetensors'] = LARGE
    const loose = await asRun(anyone, () => openFile(`${hub.cdn}/stamped.safetensors`))
    expect(loose.stamp).toEqual({ bytes: LARGE.length, modified: etagOf(LARGE), inode: '0' })
  })

  test('the token is for the first host alone, and for nobody else', async () => {
    hub.loose['a.safetensors'] = LARGE
    expect(isExpected(await readOf('hf://org/private/model.safetensors', PART, { env: known }))).toBe(true)
    expect(isExpected(await readOf(`${hub.cdn}/a.safetensors`, PART, { env: known }))).toBe(true)
    const seen = (host: Request['host']) =>
      new Set(hub.requests.filter((one) => one.host === host).map((one) => one.authorization))
    expect(seen('hub')).toEqual(new Set([`Bearer ${SECRET}`]))
    expect(seen('cdn')).toEqual(new Set([undefined]))
  })

  test('a revision is asked for once in a run, whatever it means later', async () => {
    const [first, second] = await asRun(anyone, async () => {
      const one = await pinned(FILE)
      hub.repositories['org/open'] = { ...hub.repositories['org/open'], commit: 'f'.repeat(40) }
      const two = await pinned('hf://org/open')
      hub.repositories['org/open'] = { ...hub.repositories['org/open'], commit: COMMIT }
      return [one, two]
    })
    expect([first, second]).toEqual([`hf://org/open@${COMMIT}/model.safetensors`, `hf://org/open@${COMMIT}`])
    expect(hub.requests).toHaveLength(1)
  })

  test('of a pull request, by its revision', async () => {
    expect(isExpected(await readOf('hf://org/open@refs/pr/1/model.safetensors', PART))).toBe(true)
    expect(hub.requests[0].path).toBe('/api/models/org/open/revision/refs%2Fpr%2F1')
  })

  test('texts are there or not by the list of the repository', async () => {
    await asRun(anyone, async () => {
      const folder = await pinned('hf://org/open')
      expect((await readTextIfThere(`${folder}/config.json`, 100))?.text).toBe('{"a": 1}')
      const before = hub.requests.length
      expect(await readTextIfThere(`${folder}/adapter_config.json`, 100)).toBeUndefined()
      expect(hub.requests).toHaveLength(before)
      await expect(readTextIfThere(`${folder}/config.json`, 4)).rejects.toMatchObject({ code: 'bad-input' })
    })
    const error = await errorOf(asRun(anyone, () => readTextFile('hf://org/open@main/config.json', 4)))
    expect(error).toMatchObject({ code: 'bad-input', message: expect.stringContaining('at most 4 are read') })
  })
})

describe('refusals are one sentence with what to do', () => {
  test.each([
    [
      'hf://org/none',
      anyone,
      "isn't there, or is private: check the name; for a private one a token is needed",
    ],
    ['hf://org/none', known, "isn't there, or your token may not see it"],
    ['hf://org/private', anyone, "isn't there, or is private"],
    ['hf://org/open@v9', anyone, `has no such branch, tag or commit; see ${hub.endpoint}/org/open/tree/main`],
    ['hf://org/open/modle.safetensors', anyone, 'did you mean "model.safetensors"'],
    [
      'hf://org/gated/model.safetensors',
      anyone,
      `is gated: accept its terms at ${hub.endpoint}/org/gated, then ask with a token`,
    ],
    [
      'hf://org/gated/model.safetensors',
      { ...anyone, HF_TOKEN: 'other' },
      'is gated, and your token may not read it',
    ],
    [`${hub.cdn}/none.safetensors`, anyone, "isn't there (HTTP 404)"],
  ])('%s', async (address, env, words) => {
    const error = await errorOf(asRun(env, () => openFile(address)))
    expect(error).toMatchObject({ code: 'bad-input', message: expect.stringContaining(words) })
    expect(error.message).not.toMatch(/\n|hf_Secret/)
  })

  test.each([
    [401, 'wants to know who asks'],
    [403, "doesn't give it"],
    [404, "isn't there"],
    [410, "isn't there"],
    [416, 'has fewer bytes than it had'],
    [451, 'refuses it (HTTP 451)'],
  ])('of another server: %i', async (status, words) => {
    hub.loose['a.safetensors'] = LARGE
    hub.fault = () => ({ status })
    expect(await errorOf(readOf(`${hub.cdn}/a.safetensors`, PART))).toMatchObject({
      code: 'bad-input',
      message: expect.stringContaining(words),
    })
    expect(hub.requests).toHaveLength(1)
  })

  test('a token that is wrong is told from one that is missing', async () => {
    hub.fault = () => ({ status: 401 })
    expect((await errorOf(readOf(FILE, PART, { env: known }))).message).toContain('your token is refused')
    expect((await errorOf(readOf(FILE, PART))).message).toContain("isn't there, or is not for all")
  })

  test('what is compressed, whole, or no Hub', async () => {
    const said = async (fault: Fault) => {
      hub.fault = ({ host }) => (host === 'cdn' ? fault : undefined)
      return (await errorOf(readOf(FILE, PART))).message
    }
    expect(await said({ headers: { 'content-encoding': 'gzip' } })).toContain('comes compressed (gzip)')
    expect(await said({ isWhole: true })).toContain('gives files only whole (no byte ranges)')
    hub.fault = ({ host }) =>
      host === 'hub' ? { status: 302, headers: { location: 'http://example.org/x' } } : undefined
    expect((await errorOf(readOf(FILE, PART))).message).toContain("isn't https")
    hub.fault = ({ path }) => (path.startsWith('/api') ? { status: 200 } : undefined)
    expect((await errorOf(readOf(FILE, PART))).message).toContain("doesn't answer as the Hub does")
    hub.fault = ({ path }) => ({ status: 307, headers: { location: path } })
    expect((await errorOf(readOf(FILE, PART))).message).toContain('sent on more than 10 times')
  })
})

describe('what passes is tried again', () => {
  test.each<[Fault, number[]]>([
    [{ status: 500 }, [500, 1000]],
    [{ status: 503 }, [500, 1000]],
    [{ status: 429, headers: { 'retry-after': '7' } }, [7500, 7500]],
    [{ status: 429, headers: { 'retry-after': 'Thu, 01 Jan 2026 00:01:00 GMT' } }, [60_500, 60_500]],
    [{ status: 429, headers: { ratelimit: '"resolvers";r=0;t=12' } }, [12_500, 12_500]],
    [{ dropAfter: 0 }, [500, 1000]],
  ])('%j', async (fault, waits) => {
    const patience = hasty()
    hub.fault = failing(fault, 2)
    expect(isExpected(await readOf(FILE, PART, { patience }))).toBe(true)
    expect(patience.waits).toEqual(waits)
  })

  test('long waits are told of, short ones are not', async () => {
    const told: string[] = []
    const notice = (line: string) => void told.push(line)
    hub.fault = failing({ status: 503 })
    await readOf(FILE, PART, { notice })
    expect(told).toEqual([])
    hub.fault = failing({ status: 429, headers: { 'retry-after': '7' } })
    await readOf(FILE, PART, { notice })
    const [host] = hub.cdn.split('/').slice(-1)
    expect(told).toEqual([
      `hf://org/open@${COMMIT}/model.safetensors: ${host} has had too many requests (HTTP 429); it is asked again in 8 s`,
    ])
  })

  test('a dropped connection goes on at its byte', async () => {
    const patience = hasty()
    hub.fault = failing({ dropAfter: 50_000 }, 2)
    expect(isExpected(await readOf(FILE, PART, { patience }))).toBe(true)
    const starts = hub.requests
      .filter(({ host }) => host === 'cdn')
      .map(({ range = '' }) => Number(/=(\d+)/.exec(range)?.[1]))
    const resumed = starts.slice(2)
    expect(resumed).toHaveLength(2)
    for (const [i, start] of resumed.entries()) expect(start).toBeGreaterThan(starts[i + 1])
    // no byte is sent twice but what was on its way when the connection broke
    expect(hub.sent).toBeLessThanOrEqual(16 * KIB + expected.length + 2 * 50_000)
    // each went further, so that each wait is the first
    expect(patience.waits).toEqual([500, 500])
  })

  test('an answer of fewer bytes is gone on with', async () => {
    hub.fault = failing({ most: 1000 }, 3)
    expect(isExpected(await readOf(FILE, PART))).toBe(true)
    expect(hub.sent).toBe(16 * KIB + expected.length)
  })

  test('a connection without bytes counts as dropped', async () => {
    hub.fault = failing({ stallAfter: 1000 })
    expect(isExpected(await readOf(FILE, PART, { patience: hasty(50) }))).toBe(true)
  })

  test('an address that was signed for a while is asked for anew', async () => {
    hub.fault = failing({ status: 403 })
    expect(isExpected(await readOf(FILE, PART))).toBe(true)
    expect(hub.requests.slice(-3).map(({ host }) => host)).toEqual(['cdn', 'hub', 'cdn'])
  })

  test.each<[Fault, string]>([
    [{ status: 503 }, 'fails (HTTP 503), 7 times in a row; try again later'],
    [{ status: 429, headers: { 'retry-after': '3600' } }, 'asks to wait 3600 seconds; try again later'],
    [{ dropAfter: 0 }, '7 times in a row; try again later'],
  ])('but not for ever: %j', async (fault, words) => {
    hub.fault = failing(fault, Number.POSITIVE_INFINITY)
    expect(await errorOf(readOf(FILE, PART))).toMatchObject({
      code: 'system',
      message: expect.stringContaining(words),
    })
  })

  test('waits grow, are spread, and have an end', async () => {
    const patience = hasty()
    hub.fault = failing({ status: 500 }, Number.POSITIVE_INFINITY)
    await errorOf(readOf(FILE, PART, { patience }))
    expect(patience.waits).toEqual([500, 1000, 2000, 4000, 8000, 16_000])
  })

  /** A port at which something answers, until it is stopped. */
  async function portOf(
    answer: (socket: Socket) => void = () => {},
  ): Promise<{ port: number; stop(): void }> {
    const server = createServer(answer)
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as AddressInfo
    return { port, stop: () => server.close() }
  }

  test('a server that is not there, which is told at once, and once', async () => {
    const { port, stop } = await portOf()
    stop()
    const lines: string[] = []
    const env = { ...anyone, HF_ENDPOINT: `http://127.0.0.1:${port}` }
    expect(await errorOf(readOf(FILE, PART, { env, notice: (line) => lines.push(line) }))).toMatchObject({
      code: 'system',
      message: expect.stringContaining('7 times in a row'),
    })
    expect(lines).toEqual([
      `127.0.0.1:${port} can't be reached: the connection failed: connect ECONNREFUSED 127.0.0.1:${port}; it is asked again, 6 times at most`,
    ])
  })

  test('a server that says nothing, which is told too', async () => {
    const { port, stop } = await portOf()
    const lines: string[] = []
    const how = { env: { ...anyone, HF_ENDPOINT: `http://127.0.0.1:${port}` }, patience: hasty(20) }
    await errorOf(readOf(FILE, PART, { ...how, notice: (line) => lines.push(line) }))
    stop()
    expect(lines).toEqual([
      `127.0.0.1:${port} can't be reached: nothing came for 0.02 seconds; it is asked again, 6 times at most`,
    ])
  })

  test('a port that fetch never asks is refused at once', async () => {
    const patience = hasty()
    const env = { ...anyone, HF_ENDPOINT: 'http://127.0.0.1:1' }
    expect(await errorOf(readOf(FILE, PART, { env, patience }))).toMatchObject({
      code: 'bad-input',
      message: expect.stringContaining('127.0.0.1:1 has a port of another protocol, which is never asked'),
    })
    expect(patience.waits).toEqual([])
  })

  test('what is no web server, or knows no https, is asked no second time', async () => {
    const { port, stop } = await portOf((socket) => socket.end('SSH-2.0-OpenSSH_9.2\r\n'))
    for (const [HF_ENDPOINT, words] of [
      [`http://127.0.0.1:${port}`, `what answers at 127.0.0.1:${port} is no web server`],
      [
        hub.endpoint.replace('http:', 'https:'),
        `what answers at ${hub.endpoint.slice('http://'.length)} speaks no https; check`,
      ],
    ]) {
      const patience = hasty()
      const { code, message } = await errorOf(
        readOf(FILE, PART, { env: { ...anyone, HF_ENDPOINT }, patience }),
      )
      expect([code, patience.waits]).toEqual(['system', []])
      expect(message).toContain(words)
      expect(message).not.toContain('\n')
    }
    stop()
  })

  test('what a server asks to wait', () => {
    const asked = (headers: Record<string, string>) => waitAsked(new Headers(headers), 0)
    expect(asked({})).toBeUndefined()
    expect(asked({ 'retry-after': 'soon' })).toBeUndefined()
    expect(asked({ 'retry-after': 'Wed, 31 Dec 1969 00:00:00 GMT' })).toBe(0)
  })
})

describe('a file that changes midway is noticed', () => {
  const changed = counting(LARGE.length).reverse()

  test.each([
    ['of the same length', changed],
    ['longer', counting(LARGE.length + 1)],
    ['shorter than what is asked for', counting(100)],
  ])('%s', async (_, other) => {
    const [error] = await asRun(anyone, async () => {
      hub.loose['a.safetensors'] = LARGE
      const source = await openFile(`${hub.cdn}/a.safetensors`)
      hub.loose['a.safetensors'] = other
      const { name, stamp } = source
      return [
        await errorOf(source.read(...PART)),
        await expect(assertUnchanged({ files: identityOf(name, stamp) })).rejects.toThrow('was changed'),
      ]
    })
    expect(error).toMatchObject({
      code: 'bad-input',
      message: expect.stringContaining('was changed since it was opened; run the same command again'),
    })
  })

  test('so is one that is sent whole for that', async () => {
    hub.fault = failing({ isWhole: true })
    expect((await errorOf(readOf(FILE, PART))).message).toContain('was changed since it was opened')
  })

  test('also by an ETag that is weak, which no server is asked by', async () => {
    let etag = 'W/"1"'
    hub.fault = ({ host }) => (host === 'cdn' ? { headers: { etag } } : undefined)
    expect(isExpected(await readOf(FILE, PART))).toBe(true)
    expect(hub.requests.map(({ ifRange }) => ifRange)).toEqual([undefined, undefined, undefined, undefined])
    const error = await asRun(anyone, async () => {
      const source = await openFile(FILE)
      etag = 'W/"2"'
      return errorOf(source.read(...PART))
    })
    expect(error.message).toContain('was changed since it was opened')
  })

  test('and bytes of another place are not taken for those asked for', async () => {
    hub.fault = failing({ headers: { 'content-range': `bytes 0-${expected.length - 1}/${LARGE.length}` } })
    expect((await errorOf(readOf(FILE, PART))).message).toContain('sends other bytes than those asked for')
  })

  test.each([
    ['begin elsewhere', 'bytes 5-16388/204800'],
    ['are told to be of no place', 'bytes'],
    ['are told to be of no length', 'bytes 0-16383/*'],
  ])('nor are the first ones where they %s', async (_, range) => {
    hub.fault = ({ host }) => (host === 'cdn' ? { headers: { 'content-range': range } } : undefined)
    expect((await errorOf(readOf(FILE, PART))).message).toContain('sends other bytes than those asked for')
  })

  test('and one that is the same passes', async () => {
    await asRun(anyone, async () => {
      hub.loose['a.safetensors'] = LARGE
      const { name, stamp } = await openFile(`${hub.cdn}/a.safetensors`)
      await assertUnchanged({ files: identityOf(name, stamp) })
    })
  })
})

describe('many bytes', () => {
  test('come in pieces, some at once, and all in their place', async () => {
    const bytes = counting(2 ** 20 * 20)
    hub.loose['large.npy'] = bytes
    const range = [5, bytes.length - 5] as const
    expect(Buffer.compare(await readOf(`${hub.cdn}/large.npy`, range), bytes.subarray(...range))).toBe(0)
    expect(hub.requests).toHaveLength(1 + 3)
  })

  test('are asked for ahead where they are read one after the other, and no further than their tensor', async () => {
    const bytes = counting(2 ** 20 * 5)
    hub.loose['large.npy'] = bytes
    const [begin, end, panel] = [1000, bytes.length - 5000, 300_000]
    await asRun(anyone, async () => {
      const source = readingOn(await openFile(`${hub.cdn}/large.npy`), end)
      const all = new Uint8Array(end - begin)
      for (let at = 0; at < all.length; at += panel)
        await source.readInto(all.subarray(at, at + panel), begin + at)
      expect(etagOf(all)).toBe(etagOf(bytes.slice(begin, end)))
      expect(hub.sent).toBe(end)
      expect(hub.requests.length).toBeLessThan(50)
      // out of order, past what is asked for ahead, and again in order
      for (const [from, to] of [
        [50, 60],
        [40, 70],
        [70, 90],
        [end - 5, end + 5],
        [1, 500_000],
        [500_000, 700_000],
      ] as const) {
        expect(etagOf(await source.read(from, to))).toBe(etagOf(bytes.slice(from, to)))
      }
    })
  })

  test('what is only begun is not asked for', async () => {
    hub.loose['large.npy'] = counting(2 ** 20 * 5)
    await asRun(anyone, async () => {
      const source = readingOn(await openFile(`${hub.cdn}/large.npy`), 2 ** 20 * 5)
      const [chunk, start] = [2 ** 16, 2 ** 20]
      for (const i of [0, 1, 2]) await source.read(start + i * chunk, start + (i + 1) * chunk)
      expect(hub.sent).toBeLessThanOrEqual(16 * KIB + 5 * chunk)
    })
  })

  test('and many small parts are read at once, and kept for this run and its workers', async () => {
    await asRun(anyone, async () => {
      const source = await openFile(FILE)
      const parts = [
        { begin: 190_000, end: 190_100 },
        { begin: 30_000, end: 30_100 },
        { begin: 31_000, end: 32_000 },
      ]
      hub.requests.length = 0
      await keepParts(source.name, parts)
      expect(hub.requests.map(({ range }) => range).sort()).toEqual([
        'bytes=190000-190099',
        'bytes=30000-31999',
      ])
      const kept = workerNetwork(1)?.kept.get(source.name) ?? []
      expect(kept.map(({ bytes }) => bytes.buffer instanceof SharedArrayBuffer)).toEqual([true, true])
      for (const { begin, end } of parts)
        expect(await source.read(begin, end)).toEqual(LARGE.slice(begin, end))
      expect(hub.requests).toHaveLength(2)
      // what only begins there is read anew
      expect(await source.read(31_990, 32_010)).toEqual(LARGE.slice(31_990, 32_010))
      expect(hub.requests).toHaveLength(3)
      await keepParts(source.name, [{ begin: 0, end: 2 ** 28 }])
      expect(hub.requests).toHaveLength(3)
    })
  })

  test('what can’t be kept is refused as reading it is', async () => {
    await asRun(anyone, async () => {
      const { name } = await openFile(FILE)
      hub.fault = failing({ status: 404 }, Number.POSITIVE_INFINITY)
      hub.repositories['org/open'] = { ...hub.repositories['org/open'], files: {} }
      const error = await errorOf(keepParts(name, [{ begin: 30_000, end: 31_000 }]))
      hub.repositories['org/open'] = OPEN
      expect(error.message).toContain('has no such file')
    })
  })

  test('connections are bounded, whoever asks', async () => {
    let [now, most] = [0, 0]
    await asRun(anyone, () =>
      Promise.all(
        Array.from({ length: 40 }, () =>
          network().connected(async () => {
            most = Math.max(most, ++now)
            await new Promise(setImmediate)
            now--
          }),
        ),
      ),
    )
    expect(most).toBe(16)
  })

  test('an abort ends all at once', async () => {
    const controller = new AbortController()
    const reason = new Error('enough')
    hub.fault = failing({ stallAfter: 10 }, Number.POSITIVE_INFINITY)
    const reading = readOf(FILE, PART, { signal: controller.signal, patience: hasty(120_000) })
    setTimeout(() => controller.abort(reason), 20)
    // were it waited for what is silent, the test would take two minutes, and end as one that takes too long
    await expect(reading).rejects.toBe(reason)
  })
})
