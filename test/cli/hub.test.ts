import { readdirSync, readFileSync, realpathSync, rmSync, statSync, truncateSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { beforeEach, describe, expect, test } from 'vitest'
import { inspect } from '../../src/commands/inspect/inspect.ts'
import { withPatience } from '../../src/io/remote/network.ts'
import type { ProgressEvent } from '../../src/jobs/context.ts'
import { hasty, type LoopbackHub, loopbackHub } from '../io/loopback-hub.ts'
import { f32, fileOf, folderOf, indexOf, type Tensor } from './checkpoints.ts'
import { BASE, extracted, TUNED_BF16 } from './extract-support.ts'
import { float64s, npyDict, npyFile } from './files.ts'
import { type InProcessOptions, type Result, runInProcess, temporaryFolder } from './run.ts'
import { documentOf, type SchemaName } from './schema.ts'

/** Checkpoints and adapters that lie elsewhere, read from a server on this machine that speaks as the Hub does. */

const SECRET = 'hf_SecretOfTheTests'
const COMMIT = { base: 'a'.repeat(40), tuned: 'b'.repeat(40), pair: 'c'.repeat(40), adapter: 'd'.repeat(40) }

const filesOf = (folder: string) =>
  Object.fromEntries(
    readdirSync(folder).map((name) => [name, new Uint8Array(readFileSync(join(folder, name)))]),
  )

const [ROWS, COLUMNS] = [2048, 1024]

/** Two layers in a shard each, the second of numbers from 0.5 to 1; odd rows have `more` steps of bfloat16 more. */
function model(more: number): Record<string, Uint8Array | string> {
  const halves = new Uint16Array(ROWS * COLUMNS)
  for (let i = 0, x = 1; i < halves.length; i++) {
    x = (Math.imul(x, 1664525) + 1013904223) >>> 0
    halves[i] = 0x3f00 + ((x >>> 24) % 126) + (Math.floor(i / COLUMNS) % 2) * more
  }
  const layer = (bytes: Uint8Array): Tensor => ({ dtype: 'BF16', shape: [ROWS, COLUMNS], bytes })
  const [first, second] = [0, 1].map((i) => `model.layers.${i}.self_attn.q_proj.weight`)
  return {
    'config.json': '{}',
    'model.safetensors.index.json': indexOf({
      [first]: 'model-1.safetensors',
      [second]: 'model-2.safetensors',
    }),
    'model-1.safetensors': fileOf({ [first]: layer(new Uint8Array(halves.byteLength)) }),
    'model-2.safetensors': fileOf({ [second]: layer(new Uint8Array(halves.buffer)) }),
  }
}

const hub: LoopbackHub = await loopbackHub({
  'org/base': { commit: COMMIT.base, files: filesOf(BASE) },
  'org/tuned': { commit: COMMIT.tuned, files: filesOf(TUNED_BF16), token: SECRET },
  'org/pair': {
    commit: COMMIT.pair,
    token: SECRET,
    files: Object.fromEntries(
      (['base', 'tuned'] as const).flatMap((which, i) =>
        Object.entries(model(i)).map(([name, bytes]) => [`${which}/${name}`, bytes]),
      ),
    ),
  },
})
const hfHome = temporaryFolder()
const env = { HF_ENDPOINT: hub.endpoint, HF_HOME: hfHome, HF_TOKEN: SECRET }
const TUNED = 'hf://org/tuned'
const pinnedTuned = `hf://org/tuned@${COMMIT.tuned}`
const pinnedBase = `hf://org/base@${COMMIT.base}`

beforeEach(() => {
  hub.requests.length = 0
  hub.sent = 0
  hub.fault = () => undefined
})

async function run(args: readonly string[], options: InProcessOptions = {}): Promise<Result> {
  const result = await withPatience(hasty(), () => runInProcess(args, { env, ...options }))
  expect(result.stdout + result.stderr).not.toContain(SECRET)
  return result
}

async function document(args: readonly string[], name: SchemaName, code = 0) {
  const result = await run([...args, '--json'])
  expect(result.stderr).toBe('')
  expect(result.code).toBe(code)
  return documentOf(result.stdout, name)
}

const message = async (...[args, options]: Parameters<typeof run>) => {
  const { code, stdout, stderr } = await run(args, options)
  expect([code, stdout]).toEqual([2, ''])
  expect(stderr).toMatch(/^lora-svd: [^\n]+\n$/)
  return stderr
}

describe('inspect', () => {
  test('of one layer of a pair reads that layer and headers, in worker threads that know the token', async () => {
    const args = [
      'inspect',
      'hf://org/pair/tuned',
      '--base',
      'hf://org/pair/base',
      '--include',
      '*layers.1.*',
    ]
    const { matrices, source } = await document([...args, '--leading', '8'], 'inspect-1')
    expect(source).toEqual({
      path: `hf://org/pair@${COMMIT.pair}/tuned`,
      base: `hf://org/pair@${COMMIT.pair}/base`,
    })
    expect(matrices.map(({ name }: { name: string }) => name)).toEqual([
      'model.layers.1.self_attn.q_proj.weight',
    ])
    const wanted = Object.entries(hub.repositories['org/pair'].files).reduce((sum, [name, content]) => {
      if (!name.endsWith('.safetensors')) return sum + content.length
      return sum + (name.endsWith('2.safetensors') ? content.length : content.length - 2 * ROWS * COLUMNS)
    }, 0)
    expect(hub.sent).toBeGreaterThan(2 * 2 * ROWS * COLUMNS)
    // the worker, which isn't told where the Hub sends, asks again for the file that this thread has opened
    const asked = hub.requests.filter(
      ({ host, path }) => host === 'hub' && path.endsWith('/tuned/model-2.safetensors'),
    )
    expect(asked).toHaveLength(2)
    expect(hub.sent).toBeLessThan(1.02 * wanted)
    const tokens = (host: string) =>
      new Set(hub.requests.filter((one) => one.host === host).map((one) => one.authorization))
    expect([tokens('hub'), tokens('cdn')]).toEqual([new Set([`Bearer ${SECRET}`]), new Set([undefined])])
  })

  test('tells how many bytes came of those that will, also of what its threads fetch', async () => {
    const events: ProgressEvent[] = []
    await withPatience(hasty(), () =>
      inspect({
        ...{ path: 'hf://org/pair/tuned', base: 'hf://org/pair/base', include: ['*layers.1.*'], leading: 8 },
        ...{ env, onProgress: (event: ProgressEvent) => void events.push(event) },
      }),
    )
    const of = (phase: string) => events.filter((event) => event.phase === phase)
    expect([of('reading').at(0)?.kind, of('reading').at(-1)?.kind]).toEqual(['start', 'end'])
    const wanted = 2 * 2 * ROWS * COLUMNS
    expect(of('inspecting').at(0)?.received).toEqual({ bytes: 0, expected: wanted })
    expect(of('inspecting').at(-1)?.received).toEqual({ bytes: wanted, expected: wanted })
    expect((of('reading').at(-1)?.received?.bytes ?? 0) + wanted).toBe(hub.sent)
  })

  test('says in its report which commit was read', async () => {
    const { stdout, code } = await run(['inspect', TUNED, '--include', '*layers.1.*down_proj*'])
    expect(code).toBe(0)
    expect(stdout).toContain(pinnedTuned)
  })

  test('of a pipeline, and of one of its folders', async () => {
    hub.repositories['org/pipeline'] = {
      commit: COMMIT.base,
      files: {
        'model_index.json': JSON.stringify({
          _class_name: 'P',
          unet: ['diffusers', 'U'],
          vae: ['diffusers', 'V'],
        }),
        'unet/config.json': '{}',
        'unet/diffusion_pytorch_model.safetensors': fileOf({ 'a.weight': f32([2, 2], [1, 2, 3, 4]) }),
        'vae/diffusion_pytorch_model.safetensors': fileOf({ 'b.weight': f32([2, 2], [1, 2, 3, 4]) }),
      },
    }
    const names = async (path: string) =>
      (await document(['inspect', path], 'inspect-1')).matrices.map(({ name }: { name: string }) => name)
    expect(await names('hf://org/pipeline')).toEqual(['unet.a.weight', 'vae.b.weight'])
    expect(await names('hf://org/pipeline/unet')).toEqual(['a.weight'])
  })

  test('of a GGUF file', async () => {
    const here = fileURLToPath(new URL('../fixtures/gguf/every.gguf', import.meta.url))
    hub.repositories['org/gguf'] = { commit: COMMIT.base, files: { 'every.gguf': readFileSync(here) } }
    const figures = async (path: string) => {
      const { matrices } = await document(['inspect', path], 'inspect-1')
      return matrices.map(({ name, frobenius }: { name: string; frobenius: number }) => [name, frobenius])
    }
    expect(await figures('hf://org/gguf/every.gguf')).toEqual(await figures(here))
  })

  test('of a file that someone links to', async () => {
    const numbers = Array.from({ length: 16 }, (_, i) => i)
    hub.loose['W.npy'] = npyFile(npyDict('<f8', '(4, 4)'), float64s(...numbers))
    const { matrices, source } = await document(['inspect', `${hub.cdn}/W.npy`], 'inspect-1')
    expect(matrices[0]).toMatchObject({ shape: [4, 4], rank: 2 })
    expect(source.path).toBe(`${hub.cdn}/W.npy`)
  })
})

describe('extract, verify and what reads adapters', () => {
  test('give the same as from disk', async () => {
    const out = temporaryFolder()
    const fromHub = join(out, 'hub')
    const how = ['--rank', '4', '--include', '*layers.1.*', '--base-name', 'org/base']
    const hubDocument = await document(
      ['extract', 'hf://org/base', TUNED, '-o', fromHub, ...how],
      'extract-1',
    )
    expect(hubDocument.source).toEqual({ base: pinnedBase, tuned: pinnedTuned })
    await extracted(BASE, TUNED_BF16, join(out, 'disk'), how)
    for (const name of ['adapter_model.safetensors', 'adapter_config.json']) {
      expect(readFileSync(join(fromHub, name)).equals(readFileSync(join(out, 'disk', name))), name).toBe(true)
    }
    const card = readFileSync(join(fromHub, 'README.md'), 'utf8')
    expect(card).toContain(`${pinnedBase} ${pinnedTuned}`)
    expect(card).not.toContain(SECRET)

    hub.repositories['org/adapter'] = { commit: COMMIT.adapter, files: filesOf(fromHub) }
    const adapter = 'hf://org/adapter'
    const pinnedAdapter = `hf://org/adapter@${COMMIT.adapter}`
    const verified = await document(
      ['verify', adapter, 'hf://org/base', TUNED, '--include', '*layers.1.*'],
      'verify-1',
    )
    expect(verified.source).toEqual({ adapter: pinnedAdapter, base: pinnedBase, tuned: pinnedTuned })
    expect(verified.totals.relativeError).toBeCloseTo(hubDocument.totals.relativeError, 12)

    const checked = await document(['check', adapter, '--base', 'hf://org/base'], 'check-1')
    expect(checked.source).toEqual({
      adapter: pinnedAdapter,
      file: `${pinnedAdapter}/adapter_model.safetensors`,
      base: pinnedBase,
    })
    const compared = await document(['compare', adapter, fromHub], 'compare-1')
    expect(compared.source.adapters).toEqual([pinnedAdapter, fromHub])
    hub.requests.length = 0
    for (const [path, name] of [
      [adapter, 'small-hub'],
      [fromHub, 'small-disk'],
    ]) {
      await document(['resize', path, '-o', join(out, name), '--rank', '2'], 'resize-1')
    }
    // the list, config, header, and all factors as one
    expect(hub.requests.map(({ host }) => host)).toEqual(['hub', 'hub', 'cdn', 'hub', 'cdn'])
    const weights = (name: string) => readFileSync(join(out, name, 'adapter_model.safetensors'))
    expect(weights('small-hub').equals(weights('small-disk'))).toBe(true)
    const merged = await document(
      ['merge', adapter, fromHub, '-o', join(out, 'merged'), '--dry-run'],
      'merge-plan-1',
    )
    expect(merged.source.adapters[0].path).toBe(pinnedAdapter)
    const converted = await document(
      ['convert', adapter, '-o', join(out, 'mlx'), '--format', 'mlx', '--base', 'hf://org/base', '--dry-run'],
      'convert-plan-1',
    )
    expect(converted.source.adapter).toBe(pinnedAdapter)
    const applied = await document(['apply', BASE, adapter, '-o', join(out, 'applied')], 'apply-1')
    expect(applied.source.adapters[0].path).toBe(pinnedAdapter)
  })

  test('the base is called by its name on the Hub', async () => {
    const out = join(temporaryFolder(), 'adapter')
    await document(
      ['extract', 'hf://org/base', TUNED, '-o', out, '--rank', '2', '--include', '*layers.1.*'],
      'extract-1',
    )
    const { base_model_name_or_path } = JSON.parse(readFileSync(join(out, 'adapter_config.json'), 'utf8'))
    expect(base_model_name_or_path).toBe('org/base')
  })

  test('factor takes one matrix of a repository', async () => {
    const out = join(temporaryFolder(), 'W.npz')
    const matrix = 'model.layers.1.mlp.down_proj.weight'
    const { source } = await document(
      ['factor', 'hf://org/base', '--tensor', matrix, '-o', out, '--rank', '2'],
      'factor-1',
    )
    expect(source).toMatchObject({ path: pinnedBase, name: matrix })
  })

  test('nothing else is written, and no request is for more than is used', async () => {
    const cwd = temporaryFolder()
    const { code } = await run(['inspect', 'hf://org/base', '--include', '*down_proj*', '-q'], { cwd })
    expect([code, readdirSync(cwd), readdirSync(hfHome)]).toEqual([0, [], []])
    expect(hub.requests.filter(({ path }) => /README|tokenizer/.test(path))).toEqual([])
  })
})

test('shards that read the Hub and shards that read copies in the cache are of one job', async () => {
  const out = temporaryFolder()
  const at = (name: string) => join(out, name)
  const here = temporaryFolder()
  const how = ['org/base', 'org/tuned', '--rank', '2', '--include', '*layers.1.*', '-q']
  const cached = { env: { ...env, HF_HOME: here } }
  const fill = (name: string) =>
    run(['inspect', name, '--online', '--cache', '--leading', '1', '-q', '--include', '*.norm.*'], cached)
  for (const name of ['org/base', 'org/tuned']) await fill(name)
  hub.requests.length = 0
  const shard = (n: string, to: string, options: InProcessOptions, ...more: string[]) =>
    run(['extract', ...how, '-o', at(to), '--shard', n, ...more], options)
  expect((await shard('1/2', 'disk', cached)).code).toBe(0)
  expect(hub.requests).toEqual([])
  expect((await shard('2/2', 'hub', {}, '--online')).code).toBe(0)
  expect(hub.requests.length).toBeGreaterThan(0)
  const join2 = ['extract', ...how, '-o', at('joined'), '--join', at('disk.partial'), at('hub.partial')]
  const joined = await run(join2, cached)
  expect([joined.code, joined.stderr]).toEqual([0, ''])
  expect((await run(['extract', ...how, '-o', at('one')], cached)).code).toBe(0)
  const weights = (name: string) => readFileSync(join(at(name), 'adapter_model.safetensors'))
  expect(weights('joined').equals(weights('one'))).toBe(true)
})

describe('--cache', () => {
  test('gives the same figures and bytes, asks for revisions alone the next time, and then org/name is there', async () => {
    const out = temporaryFolder()
    const options = { env: { ...env, HF_HOME: temporaryFolder() } }
    const figures = async (name: string, ...how: string[]) => {
      const args = ['extract', 'hf://org/base', TUNED, '-o', join(out, name), '--rank', '2', '--json', ...how]
      const { stdout, stderr, code } = await run([...args, '--include', '*layers.1.*'], options)
      expect([code, stderr]).toEqual([0, ''])
      const { source, layers, totals } = documentOf(stdout, 'extract-1')
      return { source, totals, layers: layers.map(({ seconds, ...rest }: { seconds: number }) => rest) }
    }
    const without = await figures('without')
    expect(readdirSync(options.env.HF_HOME)).toEqual([])
    const kept = await figures('kept', '--cache')
    hub.requests.length = 0
    const again = await figures('again', '--cache')
    expect(hub.requests.map(({ path }) => path)).toEqual([
      '/api/models/org/base/revision/main',
      '/api/models/org/tuned/revision/main',
    ])
    expect([kept, again]).toEqual([without, without])
    const written = (name: string) =>
      readdirSync(join(out, name)).map((file) => {
        const text = readFileSync(join(out, name, file), 'latin1')
        return [file, text.replaceAll(join(out, name), 'OUT')]
      })
    expect(written('kept')).toEqual(written('without'))
    expect(written('again')).toEqual(written('without'))
    hub.requests.length = 0
    const offline = await run(['inspect', 'org/base', '--include', '*down_proj*', '-q'], options)
    expect([offline.code, offline.stderr, hub.requests]).toEqual([0, '', []])
  })

  test('of org/name with --online goes on with what an earlier run began', async () => {
    const HF_HOME = folderOf({ 'hub/models--org--base/blobs/x.lora-svd.incomplete': '' })
    const args = ['inspect', 'org/base', '--online', '--include', '*down_proj*', '-q']
    const options = { env: { ...env, HF_HOME } }
    expect(await message(args, options)).toContain('the download is incomplete')
    expect((await run([...args, '--cache'], options)).code).toBe(0)
    hub.requests.length = 0
    expect((await run(args, options)).code).toBe(0)
    expect(hub.requests).toEqual([])
  })

  test('of one that was damaged since it is told where it lies, and without it all is well again', async () => {
    const home = temporaryFolder()
    const args = ['inspect', 'hf://org/tuned', '--include', '*layers.1.mlp*', '-q', '--cache']
    const options = { env: { ...env, HF_HOME: home } }
    expect((await run(args, options)).code).toBe(0)
    const blobs = join(home, 'hub', 'models--org--tuned', 'blobs')
    const largest = readdirSync(blobs)
      .map((name) => join(realpathSync(blobs), name))
      .sort((a, b) => statSync(b).size - statSync(a).size)[0]
    truncateSync(largest, 100_000)
    const { code, stderr } = await run(args, options)
    expect(code).toBe(2)
    expect(stderr).toContain(`fetch it again (read from ${largest}: delete that to have it fetched anew)\n`)
    rmSync(largest)
    expect((await run(args, options)).code).toBe(0)
  })

  test('what threads read is read from there', async () => {
    const options = { env: { ...env, HF_HOME: temporaryFolder() } }
    const args = [
      'inspect',
      'hf://org/pair/tuned',
      '--base',
      'hf://org/pair/base',
      '--include',
      '*layers.1.*',
    ]
    expect((await run([...args, '--leading', '8', '-q', '--cache'], options)).code).toBe(0)
    const files = hub.repositories['org/pair'].files
    const weights = Object.entries(files).filter(([name]) => name.endsWith('.safetensors'))
    const all = weights.reduce((sum, [, content]) => sum + content.length, 0)
    // each file once, but for a byte of each that tells its length
    expect(hub.sent).toBeLessThan(all + 4096)
    hub.sent = 0
    expect((await run([...args, '--leading', '8', '-q', '--cache'], options)).code).toBe(0)
    expect(hub.sent).toBe(0)
  })
})

describe('org/name', () => {
  test('is read from the Hub with --online where the cache lacks it', async () => {
    const { source } = await document(
      ['inspect', 'org/base', '--online', '--include', '*down_proj*'],
      'inspect-1',
    )
    expect(source.path).toBe(pinnedBase)
  })

  test('and without it from the cache alone', async () => {
    expect(await message(['inspect', 'org/base'])).toContain('read it from the Hub with --online')
    for (const name of ['org/base@v1', 'org/base@refs/pr/3'])
      expect(await message(['inspect', name, '--online'])).toBe(
        `lora-svd: ${name}: no such file or folder; a revision of a model on the Hub is hf://${name}\n`,
      )
    expect(hub.requests).toEqual([])
  })

  test('what the cache has is not asked for', async () => {
    const folder = 'models--org--base'
    const snapshot = Object.entries(filesOf(BASE)).map(([name, bytes]) => [
      `${folder}/snapshots/${COMMIT.base}/${name}`,
      bytes,
    ])
    const HF_HUB_CACHE = folderOf({ ...Object.fromEntries(snapshot), [`${folder}/refs/main`]: COMMIT.base })
    const options = { env: { ...env, HF_HUB_CACHE } }
    const { code } = await run(['inspect', 'org/base', '--online', '--include', '*down_proj*', '-q'], options)
    expect([code, hub.requests]).toEqual([0, []])
  })
})

describe('what can’t be done is said in one line', () => {
  test.each([
    [['inspect', 'hf://org/none'], 'hf://org/none'],
    [['inspect', 'hf://org/base/none'], 'has no file or folder "none"'],
    [['inspect', 'hf://name'], 'names no repository of the Hub; write hf://org/name'],
    [['inspect', 'https://example.org/x.safetensors?key=abc'], 'a query'],
    [
      ['extract', BASE, TUNED, '-o', 'hf://org/x', '--rank=2'],
      'an address, and results are written to this machine',
    ],
  ])('%j', async (args, words) => {
    expect(await message(args)).toContain(words)
  })

  test('a server that refuses for long is the machine’s failure, and leaves nothing', async () => {
    hub.fault = ({ host }) => (host === 'cdn' ? { status: 503 } : undefined)
    const cwd = temporaryFolder()
    const { code, stderr } = await run(
      ['extract', 'hf://org/base', TUNED, '-o', 'adapter', '--rank', '2', '-q'],
      {
        cwd,
      },
    )
    expect([code, readdirSync(cwd)]).toEqual([3, []])
    expect(stderr).toMatch(/^lora-svd: hf:\/\/.*HTTP 503.*try again later\n$/)
  })

  test('an interruption ends it while a server is silent', async () => {
    const controller = new AbortController()
    hub.fault = ({ host }) => {
      if (host !== 'cdn') return undefined
      setTimeout(() => controller.abort(), 10)
      return { stallAfter: 10 }
    }
    // it would be asked again, and not be an interruption, were the silence waited out
    const { code } = await run(['inspect', 'hf://org/base'], { signal: controller.signal })
    expect(code).toBe(130)
  })
})
