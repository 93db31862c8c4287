import { mkdirSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { isRepositoryName } from '../../src/checkpoint/folder.ts'
import { openCheckpoint } from '../../src/checkpoint/open.ts'
import { hubCacheFolder } from '../../src/io/remote/settings.ts'
import { errorOf } from '../formats/fixtures.ts'
import { folderOf, index, safetensors } from './support.ts'

const BYTES = await safetensors({ W: ['F32', [2, 2]] })
const COMMIT = 'a'.repeat(40)
const OTHER = 'b'.repeat(40)

/** A cache as huggingface_hub lays it out: snapshots of links to blobs. */
function cacheWith(
  snapshots: Record<string, Record<string, Uint8Array | string>>,
  main?: string,
  name = 'models--org--name',
) {
  const cache = folderOf()
  const repository = join(cache, name)
  mkdirSync(join(repository, 'blobs'), { recursive: true })
  mkdirSync(join(repository, 'refs'))
  mkdirSync(join(repository, 'snapshots'))
  let blobs = 0
  for (const [commit, files] of Object.entries(snapshots)) {
    mkdirSync(join(repository, 'snapshots', commit))
    for (const [name, content] of Object.entries(files)) {
      const blob = `blob${blobs++}`
      writeFileSync(join(repository, 'blobs', blob), content)
      symlinkSync(`../../blobs/${blob}`, join(repository, 'snapshots', commit, name))
    }
  }
  if (main !== undefined) writeFileSync(join(repository, 'refs', 'main'), main)
  return { cache, repository, env: { HF_HUB_CACHE: cache }, home: '/nowhere' }
}

const MODEL = { 'model.safetensors': BYTES, 'config.json': '{"model_type":"x"}' }

describe.skipIf(process.platform === 'win32')('a model in the cache', () => {
  test('by its name, by its folder, by its snapshot', async () => {
    const { repository, env, home } = cacheWith({ [COMMIT]: MODEL, [OTHER]: {} }, `${COMMIT}\n`)
    const snapshot = join(repository, 'snapshots', COMMIT)
    for (const path of ['org/name', repository, snapshot]) {
      const opened = await openCheckpoint(path, { env, home })
      expect(opened).toMatchObject({ path, folder: realpathSync(snapshot), config: { model_type: 'x' } })
      expect(opened.tensors.get('W')).toMatchObject({ source: { file: join(snapshot, 'model.safetensors') } })
    }
  })

  test('of shards', async () => {
    const { env, home } = cacheWith(
      { [COMMIT]: { 'model.safetensors.index.json': index({ W: 'x.safetensors' }), 'x.safetensors': BYTES } },
      COMMIT,
    )
    expect([...(await openCheckpoint('org/name', { env, home })).tensors.keys()]).toEqual(['W'])
  })

  test('with one snapshot and no refs/main', async () => {
    const { env, home } = cacheWith({ [OTHER]: MODEL })
    expect((await openCheckpoint('org/name', { env, home })).folder).toMatch(OTHER)
  })

  test('by a bare name, where it is there', async () => {
    const { env, home } = cacheWith({ [COMMIT]: MODEL }, COMMIT, 'models--gpt2')
    expect((await openCheckpoint('gpt2', { env, home })).folder).toMatch(COMMIT)
    const { message } = await errorOf(() => openCheckpoint('gpt3', { env, home }))
    expect(message).toBe('gpt3: no such file; check the path')
  })

  test('a folder of that name here comes first', async () => {
    const { env, home } = cacheWith({ [COMMIT]: MODEL }, COMMIT)
    const here = folderOf({ 'org/name/model.safetensors': BYTES })
    const before = process.cwd()
    process.chdir(here)
    try {
      expect((await openCheckpoint('org/name', { env, home })).folder).toBe(
        realpathSync(join(here, 'org/name')),
      )
    } finally {
      process.chdir(before)
    }
  })

  test('whose download is incomplete is refused', async () => {
    const missing = cacheWith({ [OTHER]: MODEL }, COMMIT)
    expect((await errorOf(() => openCheckpoint('org/name', missing))).message).toBe(
      `${missing.repository}: refs/main names the snapshot "${COMMIT}", which isn't there: the download is incomplete; fetch it again (hf download), or name a folder in snapshots/ that has weights: "${OTHER}"`,
    )
    const bare = cacheWith({ [COMMIT]: { 'config.json': '{}' }, [OTHER]: MODEL }, COMMIT)
    expect((await errorOf(() => openCheckpoint('org/name', bare))).message).toBe(
      `${bare.repository}: refs/main names the snapshot "${COMMIT}", which holds no weights: the download is incomplete; fetch it again (hf download), or name a folder in snapshots/ that has weights: "${OTHER}"`,
    )
    const none = cacheWith({})
    expect((await errorOf(() => openCheckpoint('org/name', none))).message).toContain('holds no snapshot')
    const dangling = cacheWith({ [COMMIT]: MODEL }, COMMIT)
    rmSync(join(dangling.repository, 'blobs', 'blob0'))
    expect((await errorOf(() => openCheckpoint('org/name', dangling))).message).toContain(
      "model.safetensors: is a link to a file that isn't there: the download is incomplete",
    )
  })

  test('with several snapshots and no refs/main is asked for more exactly', async () => {
    const several = cacheWith({ [COMMIT]: MODEL, [OTHER]: MODEL })
    const { message } = await errorOf(() => openCheckpoint('org/name', several))
    expect(message).toContain(
      `holds 2 snapshots and no refs/main; name one of the folders in snapshots/: "${COMMIT}"`,
    )
  })

  test.each(['../../../../etc', '/etc', '.', '', 'x'.repeat(2000)])(
    'refs/main %j leads nowhere',
    async (main) => {
      const options = cacheWith({ [COMMIT]: MODEL }, main)
      const error = await errorOf(() => openCheckpoint('org/name', options))
      expect(error.code).toBe('bad-input')
      expect(error.message).toMatch(/refs\/main names the snapshot|the file is 2000 bytes long/)
    },
  )

  test('that is not there: says where it was looked for, and how to get it', async () => {
    const cache = folderOf()
    const error = await errorOf(() =>
      openCheckpoint('org/name', { env: { HF_HUB_CACHE: cache }, home: '/nowhere' }),
    )
    expect(error).toMatchObject({ code: 'bad-input', file: 'org/name' })
    expect(error.message).toBe(
      `org/name: no such file or folder, and no such model in the Hugging Face cache (${cache}); check the path, read it from the Hub with --online, or download it: hf download org/name`,
    )
  })
})

test('the cache is where huggingface_hub keeps it', () => {
  const home = '/home/me'
  const of = (env: Record<string, string>) => hubCacheFolder({ env, home })
  expect(of({})).toBe('/home/me/.cache/huggingface/hub')
  expect(of({ XDG_CACHE_HOME: '/cache' })).toBe('/cache/huggingface/hub')
  expect(of({ HF_HOME: '~/hf', XDG_CACHE_HOME: '/cache' })).toBe('/home/me/hf/hub')
  expect(of({ HUGGINGFACE_HUB_CACHE: '/old', HF_HOME: '/hf' })).toBe('/old')
  expect(of({ HF_HUB_CACHE: '~/hub', HUGGINGFACE_HUB_CACHE: '/old', HF_HOME: '/hf' })).toBe('/home/me/hub')
  expect(of({ HF_HUB_CACHE: '' })).toBe('/home/me/.cache/huggingface/hub')
})

test('names of repositories', () => {
  for (const name of ['org/name', 'TinyLlama/TinyLlama-1.1B-Chat_v1.0', '0x/1'])
    expect(isRepositoryName(name)).toBe(true)
  for (const name of ['name', 'a/b/c', '../b', 'a/..', '/a/b', 'a/b/', './a', 'a/b--c', 'a\\b', '']) {
    expect(isRepositoryName(name)).toBe(false)
  }
})
