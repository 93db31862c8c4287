import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { beforeEach, expect, test } from 'vitest'
import { openFile, readTextFile } from '../../src/io/source.ts'
import { temporaryName } from '../../src/io/temporary.ts'
import { temporaryFolder } from '../temporary.ts'
import { asRun, etagOf, hasty, type LoopbackHub, loopbackHub } from './loopback-hub.ts'

/**
 * What is kept of the Hub, held to the layout that huggingface_hub reads and writes (src/huggingface_hub/file_download.py of 18 August 2026:
 * the docstring of hf_hub_download, _normalize_etag, _create_symlink, _cache_commit_hash_for_specific_revision).
 */

const [COMMIT, NEWER] = ['1'.repeat(40), '2'.repeat(40)]
const SECRET = 'hf_SecretOfTheTests'
const WEIGHTS = new Uint8Array(100_000).map((_, i) => i * 7 + (i >> 8))
const FILE = 'hf://org/name/model.safetensors'
const SHA256 = createHash('sha256').update(WEIGHTS).digest('hex')

const hub: LoopbackHub = await loopbackHub({})
const hubOf = (commit: string, files: Record<string, Uint8Array | string>) => ({
  commit,
  files,
  token: SECRET,
})

beforeEach(() => {
  hub.repositories['org/name'] = hubOf(COMMIT, {
    'model.safetensors': WEIGHTS,
    'config.json': '{"a": 1}\n',
    'unet/part.safetensors': WEIGHTS.subarray(0, 5000),
  })
  hub.requests.length = 0
  hub.fault = () => undefined
})

/** A home of Hugging Face's tools in which nothing is kept yet. */
function emptyHome() {
  const home = temporaryFolder('hf-home')
  const folder = join(home, 'hub', 'models--org--name')
  const env = { HF_ENDPOINT: hub.endpoint, HF_HOME: home, HF_TOKEN: SECRET }
  const below = (path: string) => readdirSync(join(folder, path)).sort()
  const run = <T>(work: () => Promise<T>, more: Record<string, string> = {}, how = {}) =>
    asRun({ ...env, ...more }, work, { keeps: true, ...how })
  return { home, folder, below, run, at: (path: string) => join(folder, path) }
}

async function bytesOf(address: string): Promise<Uint8Array> {
  const source = await openFile(address)
  try {
    return await source.read(0, source.byteLength)
  } finally {
    await source.close()
  }
}

const isSame = (a: Uint8Array, b: Uint8Array) => Buffer.compare(a, b) === 0
const asked = () => hub.requests.map(({ host, path }) => `${host} ${path.replace(/\?.*/, '')}`)

test('lies as Hugging Face’s tools lay it, and the next run asks for the revision alone', async () => {
  const { run, below, at, home } = emptyHome()
  const read = () =>
    run(async () => [
      await bytesOf(FILE),
      await bytesOf('hf://org/name/unet/part.safetensors'),
      (await readTextFile('hf://org/name/config.json', 100)).text,
    ])
  const first = await read()
  expect(isSame(first[0] as Uint8Array, WEIGHTS)).toBe(true)
  const git = createHash('sha1').update('blob 9\0{"a": 1}\n').digest('hex')
  expect(below('')).toEqual(['blobs', 'refs', 'snapshots'])
  expect(below('blobs')).toEqual([etagOf(WEIGHTS.subarray(0, 5000)).slice(1, -1), SHA256, git].sort())
  expect(below('snapshots')).toEqual([COMMIT])
  expect(below(`snapshots/${COMMIT}`)).toEqual(['config.json', 'model.safetensors', 'unet'])
  expect(readlinkSync(at(`snapshots/${COMMIT}/model.safetensors`))).toBe(`../../blobs/${SHA256}`)
  expect(readlinkSync(at(`snapshots/${COMMIT}/unet/part.safetensors`))).toMatch(/^\.\.\/\.\.\/\.\.\/blobs\//)
  expect(readFileSync(at('refs/main'), 'utf8')).toBe(COMMIT)
  expect(isSame(readFileSync(at(`snapshots/${COMMIT}/model.safetensors`)), WEIGHTS)).toBe(true)
  for (const entry of readdirSync(home, { recursive: true, withFileTypes: true }))
    if (entry.isFile()) expect(readFileSync(join(entry.parentPath, entry.name)).includes(SECRET)).toBe(false)

  hub.requests.length = 0
  expect(await read()).toEqual(first)
  expect(asked()).toEqual(['hub /api/models/org/name/revision/main'])
})

test('nothing is kept where that isn’t asked for, and the identity of a file is the same', async () => {
  const { run, home } = emptyHome()
  const stampOf = async () => {
    const { stamp, name, close } = await openFile(FILE)
    await close()
    return { stamp, name }
  }
  const without = await run(stampOf, {}, { keeps: false })
  expect(readdirSync(home)).toEqual([])
  expect(await run(stampOf)).toEqual(without)
})

test('a file that another commit has too is not fetched again, and a branch means the newer one', async () => {
  const { run, below, at } = emptyHome()
  await run(() => bytesOf(FILE))
  hub.repositories['org/name'] = hubOf(NEWER, { 'model.safetensors': WEIGHTS })
  hub.requests.length = 0
  await run(() => bytesOf(FILE))
  expect(hub.requests.filter(({ host }) => host === 'cdn').map(({ range }) => range)).toEqual(['bytes=0-0'])
  expect([below('blobs'), below('snapshots')]).toEqual([[SHA256], [COMMIT, NEWER]])
  expect(readFileSync(at('refs/main'), 'utf8')).toBe(NEWER)
})

test('a commit that was named itself is no revision to note', async () => {
  const { run, below } = emptyHome()
  await run(() => bytesOf(`hf://org/name@${COMMIT}/model.safetensors`))
  expect(below('')).toEqual(['blobs', 'snapshots'])
})

/** What came of bytes that were asked for, after those that only tell the length. */
const ranges = () =>
  hub.requests.flatMap(({ host, range }) => (host === 'cdn' && range !== 'bytes=0-0' ? [range] : []))

test('a connection that drops is resumed at its byte', async () => {
  const { run, below } = emptyHome()
  let drops = 1
  hub.fault = ({ host, range }) =>
    host === 'cdn' && range !== 'bytes=0-0' && drops-- > 0 ? { dropAfter: 40_000 } : undefined
  expect(isSame(await run(() => bytesOf(FILE)), WEIGHTS)).toBe(true)
  const [first, second] = ranges()
  expect(first).toBe('bytes=0-99999')
  expect(second).toMatch(/^bytes=[1-9]\d*-99999$/)
  expect(below('blobs')).toEqual([SHA256])
})

test('what a run that failed has fetched, the next one goes on from', async () => {
  const { run, below } = emptyHome()
  hub.fault = ({ host, range }) =>
    host === 'cdn' && range?.startsWith('bytes=0-9')
      ? { dropAfter: 30_000 }
      : host === 'cdn' && range !== 'bytes=0-0'
        ? { status: 503 }
        : undefined
  await expect(run(() => bytesOf(FILE))).rejects.toMatchObject({ code: 'system' })
  expect(below('blobs')).toEqual([`${SHA256}.lora-svd.incomplete`])
  expect(below('snapshots')).toEqual([COMMIT])
  hub.fault = () => undefined
  hub.requests.length = 0
  const counted: number[] = []
  const bytes = await run(() => bytesOf(FILE), {}, { received: (count: number) => counted.push(count) })
  expect(isSame(bytes, WEIGHTS)).toBe(true)
  expect(ranges()).toHaveLength(1)
  expect(ranges()[0]).toMatch(/^bytes=[1-9]\d*-99999$/)
  expect(counted.reduce((sum, count) => sum + count, 0)).toBeLessThan(100_000)
  expect(below('blobs')).toEqual([SHA256])
})

test('what a killed process left is gone on with, and what a living one writes is left alone', async () => {
  const { run, below, at } = emptyHome()
  mkdirSync(at('blobs'), { recursive: true })
  const gone = spawnSync('true').pid
  const mine = temporaryName()
  const dead = mine.replace(`-${process.pid}-`, `-${gone}-`)
  writeFileSync(at(`blobs/${SHA256}${mine}`), WEIGHTS.subarray(0, 700))
  writeFileSync(at(`blobs/${SHA256}${dead}`), WEIGHTS.subarray(0, 500))
  expect(isSame(await run(() => bytesOf(FILE)), WEIGHTS)).toBe(true)
  expect(ranges()).toEqual(['bytes=500-99999'])
  expect(below('blobs')).toEqual([SHA256, `${SHA256}${mine}`])
})

test('what isn’t what its ETag says is refused and goes, and the next run fetches it anew', async () => {
  const { run, below, at } = emptyHome()
  mkdirSync(at('blobs'), { recursive: true })
  writeFileSync(at(`blobs/${SHA256}.lora-svd.incomplete`), new Uint8Array(500))
  const error = await run(() => bytesOf(FILE)).catch((thrown: unknown) => thrown as Error)
  expect(error).toMatchObject({ code: 'system' })
  expect((error as Error).message).toMatch(
    /^hf:\/\/org\/name@1+\/model\.safetensors: what came is not what the Hub says it is \(SHA-256 [0-9a-f]{64}, not [0-9a-f]{64}\), and is not kept; try again later$/,
  )
  expect([below('blobs'), below(`snapshots/${COMMIT}`)]).toEqual([[], []])
  expect(isSame(await run(() => bytesOf(FILE)), WEIGHTS)).toBe(true)
  writeFileSync(at('blobs/x'), '')
  const { run: again, at: there } = emptyHome()
  const git = createHash('sha1').update('blob 9\0{"a": 1}\n').digest('hex')
  mkdirSync(there('blobs'), { recursive: true })
  writeFileSync(there(`blobs/${git}.lora-svd.incomplete`), '{"b": 1}')
  await expect(again(() => readTextFile('hf://org/name/config.json', 100))).rejects.toThrow("git's SHA-1")
})

test('more than the file has is thrown away', async () => {
  const { run, at } = emptyHome()
  mkdirSync(at('blobs'), { recursive: true })
  writeFileSync(at(`blobs/${SHA256}.lora-svd.incomplete`), new Uint8Array(100_001))
  expect(isSame(await run(() => bytesOf(FILE)), WEIGHTS)).toBe(true)
})

test('where links can’t be made the file itself is in the snapshot', async () => {
  const { run, below, at } = emptyHome()
  const noLinks = { HF_HUB_DISABLE_SYMLINKS: '1' }
  await run(() => bytesOf(FILE), noLinks)
  expect([below('blobs'), lstatSync(at(`snapshots/${COMMIT}/model.safetensors`)).isFile()]).toEqual([
    [],
    true,
  ])
  // a blob that others may link to stays
  const linked = emptyHome()
  await linked.run(() => bytesOf(FILE))
  hub.repositories['org/name'] = hubOf(NEWER, { 'model.safetensors': WEIGHTS })
  expect(isSame(await linked.run(() => bytesOf(FILE), noLinks), WEIGHTS)).toBe(true)
  expect(linked.below('blobs')).toEqual([SHA256])
  expect(lstatSync(linked.at(`snapshots/${NEWER}/model.safetensors`)).isFile()).toBe(true)
})

test('a link whose file is gone is made anew', async () => {
  const { run, at } = emptyHome()
  await run(() => bytesOf(FILE))
  spawnSync('rm', [at(`blobs/${SHA256}`)])
  expect(isSame(await run(() => bytesOf(FILE)), WEIGHTS)).toBe(true)
})

test('a blob that is no longer as long as the Hub says is fetched anew', async () => {
  const { run, at, below } = emptyHome()
  await run(() => bytesOf(FILE))
  truncateSync(at(`blobs/${SHA256}`), 50)
  hub.repositories['org/name'] = hubOf(NEWER, { 'model.safetensors': WEIGHTS })
  expect(isSame(await run(() => bytesOf(FILE)), WEIGHTS)).toBe(true)
  expect(below('blobs')).toEqual([SHA256])
})

test('of two files to which a server gives one ETag that is no digest, the second is read by ranges', async () => {
  const { run } = emptyHome()
  hub.repositories['org/name'] = hubOf(COMMIT, { 'config.json': '{"a": 1}\n', 'other.json': '{}' })
  hub.fault = ({ path }) => (path.endsWith('.json') ? { headers: { etag: '"same"' } } : undefined)
  const texts = await run(async () => [
    (await readTextFile('hf://org/name/config.json', 100)).text,
    (await readTextFile('hf://org/name/other.json', 100)).text,
  ])
  expect(texts).toEqual(['{"a": 1}\n', '{}'])
})

test('a cache that is a link to nothing is told of by its name', async () => {
  const { run, home } = emptyHome()
  symlinkSync(join(home, 'unmounted'), join(home, 'hub'))
  await expect(run(() => bytesOf(FILE))).rejects.toThrow(
    `${join(home, 'hub')}: is no folder, or a link to one that isn't there`,
  )
})

test.skipIf(!existsSync('/proc/self'))('a file system that makes no folders ends the run', async () => {
  const { run } = emptyHome()
  const nowhere = { HF_HUB_CACHE: '/proc/nowhere/hub' }
  await expect(run(() => bytesOf(FILE), nowhere)).rejects.toThrow("/proc/nowhere: can't make this folder: ")
})

test('a file past the limit is refused before it is fetched', async () => {
  const { run, below } = emptyHome()
  await expect(run(() => openFile(FILE, { limit: 10 }))).rejects.toThrow('at most 10 are read of such a file')
  expect(ranges()).toEqual([])
  expect(() => below('')).toThrow('ENOENT')
})

test('without an ETag it is read by ranges, which is told', async () => {
  const { run, home } = emptyHome()
  const lines: string[] = []
  hub.repositories['org/name'] = hubOf(COMMIT, { 'model.safetensors': WEIGHTS })
  hub.fault = ({ host }) => (host === 'hub' ? undefined : { headers: { etag: '""' } })
  const etagless = { notice: (line: string) => lines.push(line), patience: hasty() }
  hub.linkedEtag = false
  try {
    const twice = async () => [await bytesOf(FILE), await bytesOf(FILE)]
    for (const bytes of await run(twice, {}, etagless)) expect(isSame(bytes, WEIGHTS)).toBe(true)
  } finally {
    hub.linkedEtag = true
  }
  expect(lines).toEqual([
    `hf://org/name@${COMMIT}/model.safetensors: has no ETag by which it could be kept, and is read by ranges`,
  ])
  expect(readdirSync(home)).toEqual([])
})
