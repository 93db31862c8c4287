import { execFileSync } from 'node:child_process'
import {
  mkdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { matricesOf } from '../../src/checkpoint/matrices.ts'
import { openCheckpoint } from '../../src/checkpoint/open.ts'
import { readBytes, readWeight } from '../../src/checkpoint/read.ts'
import { readMatrix } from '../../src/checkpoint/read-matrix.ts'
import { assertUnchanged } from '../../src/io/files.ts'
import { widenHalf } from '../../src/linalg/matrix/half.ts'
import { errorOf } from '../formats/fixtures.ts'
import { fixture, folderOf, index, safetensors } from './support.ts'

const ONE = await safetensors({ W: ['F32', [2, 3], Float32Array.of(1, 2, 3, 4, 5, 6)] }, { format: 'pt' })
const names = async (path: string) => [...(await openCheckpoint(path)).tensors.keys()]

describe('a file', () => {
  test('of safetensors, whatever its name: names, places, metadata', async () => {
    const file = join(folderOf({ 'weights.dat': ONE }), 'weights.dat')
    const { tensors, metadata, files, folder, warnings } = await openCheckpoint(file)
    expect([...tensors.values()]).toEqual([
      {
        name: 'W',
        dtype: 'F32',
        shape: [2, 3],
        bytes: 24,
        source: { kind: 'range', file, begin: ONE.length - 24, end: ONE.length },
      },
    ])
    expect([...metadata]).toEqual([['format', 'pt']])
    expect(files).toMatchObject([{ path: file, bytes: ONE.length }])
    expect({ folder, warnings }).toEqual({ folder: undefined, warnings: [] })
  })

  test('names that objects of JavaScript have are names like others', async () => {
    const tensors = {
      __proto__x: ['F32', [1, 1]],
      constructor: ['F32', [1, 1]],
      toString: ['F32', [1, 1]],
    } as const
    const bytes = await safetensors(tensors)
    // the writer's object can't hold this name, the file can
    const renamed = Buffer.from(bytes.toString('latin1').replace('__proto__x":', '__proto__" :'), 'latin1')
    const file = join(folderOf({ 'a.safetensors': renamed }), 'a.safetensors')
    expect(await names(file)).toEqual(['__proto__', 'constructor', 'toString'])
  })

  test('its tensors come in the order of their data, whatever the order of the header', async () => {
    const entry = (begin: number) => ({ dtype: 'U8', shape: [4], data_offsets: [begin, begin + 4] })
    const header = Buffer.from(JSON.stringify({ last: entry(8), first: entry(0), middle: entry(4) }))
    const length = Buffer.alloc(8)
    length.writeBigUInt64LE(BigInt(header.length))
    const bytes = Buffer.concat([length, header, Buffer.from('aaaabbbbcccc')])
    const { tensors } = await openCheckpoint(join(folderOf({ 'a.safetensors': bytes }), 'a.safetensors'))
    expect([...tensors.keys()]).toEqual(['first', 'middle', 'last'])
    expect(Buffer.from(await readBytes(tensors.get('middle')!)).toString()).toBe('bbbb')
  })

  test.each([
    'f4-little.npy',
    'f4-big.npy',
    'fortran.npy',
    'i4-little.npy',
    'savetxt.csv',
    'one.npz',
    'f2-little.npy',
  ])('of NumPy: %s', async (name) => {
    const file = fixture(`formats/${name}`)
    const expected = await readMatrix(file)
    const opened = await openCheckpoint(file)
    const { matrices } = matricesOf(opened)
    expect(matrices).toMatchObject([
      {
        name: expected.name,
        dtype: expected.dtype,
        rows: expected.matrix.rows,
        columns: expected.matrix.columns,
      },
    ])
    const read = await readWeight(matrices[0])
    expect('dtype' in read ? widenHalf(read.data, read.dtype) : read.data).toEqual(expected.matrix.data)
    expect(opened.files).toHaveLength(1)
  })

  test('.npz: its matrices, and a warning for what is none', async () => {
    const { tensors, warnings } = await openCheckpoint(fixture('formats/several.npz'))
    for (const { shape } of tensors.values()) expect(shape).toHaveLength(2)
    expect(tensors.size).toBeGreaterThan(0)
    for (const warning of warnings) expect(warning).toMatch(/array ".*" holds/)
  })

  test.each([
    ['model.gguf', 'has a GGUF header that asks for 8 bytes at byte 8'],
    [
      'pytorch.pt',
      'is a PyTorch file (pickle), which can run code when read; convert it, with all its shards: python3',
    ],
    ['cube.npy', 'holds a 3-D array of shape'],
    ['pointer.safetensors', 'is a Git LFS pointer'],
  ])('%s is refused', async (name, reason) => {
    const error = await errorOf(() => openCheckpoint(fixture(`formats/${name}`)))
    expect(error).toMatchObject({ code: 'bad-input', file: fixture(`formats/${name}`) })
    expect(error.message).toContain(reason)
  })

  test('named without its folder has the config that belongs to it', async () => {
    const folder = folderOf({
      'model.safetensors': ONE,
      'other.safetensors': ONE,
      'config.json': '{"model_type":"x"}',
    })
    expect((await openCheckpoint(join(folder, 'model.safetensors'))).config).toEqual({ model_type: 'x' })
    expect((await openCheckpoint(join(folder, 'other.safetensors'))).config).toBeUndefined()
  })
})

describe('what can be read once only', () => {
  async function* pieces(bytes: Uint8Array) {
    for (let i = 0; i < bytes.length; i += 7) yield bytes.subarray(i, i + 7)
  }

  test('standard input: the bytes of each tensor are kept', async () => {
    const bytes = await safetensors({ a: ['BF16', [2, 2], Float32Array.of(1, 2, 3, 4)], b: ['I64', [1]] })
    const opened = await openCheckpoint('-', { stdin: pieces(bytes) })
    expect(opened).toMatchObject({ path: '-', files: [] })
    const [a] = matricesOf(opened).matrices
    expect(await readWeight(a)).toEqual({
      rows: 2,
      columns: 2,
      dtype: 'bf16',
      data: Uint16Array.of(0x3f80, 0x4000, 0x4040, 0x4080),
    })
    expect((a.source as { bytes: Uint8Array }).bytes.buffer.byteLength).toBe(8)
    expect(await readBytes(opened.tensors.get('b')!)).toEqual(new Uint8Array(8))
  })

  test('standard input of text', async () => {
    const opened = await openCheckpoint('-', { stdin: pieces(Buffer.from('1 2\n3 4\n')) })
    const [weight] = matricesOf(opened).matrices
    expect(weight).toMatchObject({
      name: 'standard input',
      rows: 2,
      columns: 2,
      dtype: 'f64',
      view: 'matrix',
    })
    expect((await readWeight(weight)).data).toEqual(Float64Array.of(1, 2, 3, 4))
  })

  test.skipIf(process.platform === 'win32')('a named pipe', async () => {
    const folder = folderOf()
    const pipe = join(folder, 'pipe')
    execFileSync('mkfifo', [pipe])
    const opening = openCheckpoint(pipe)
    await writeFile(pipe, ONE)
    const [weight] = matricesOf(await opening).matrices
    expect((await readWeight(weight)).data).toEqual(Float32Array.of(1, 2, 3, 4, 5, 6))
  })
})

describe('a folder', () => {
  const W = ONE
  test.each([
    [['model.safetensors', 'extra.safetensors'], 'model.safetensors'],
    [['adapter_model.safetensors', 'optimizer.safetensors'], 'adapter_model.safetensors'],
    [
      ['diffusion_pytorch_model.safetensors', 'diffusion_pytorch_model.fp16.safetensors'],
      'diffusion_pytorch_model.safetensors',
    ],
    [['pytorch_lora_weights.safetensors', 'x.safetensors'], 'pytorch_lora_weights.safetensors'],
    [['anything.safetensors', 'pytorch_model.bin'], 'anything.safetensors'],
  ])('with %j: reads %s', async (files, chosen) => {
    const folder = folderOf(Object.fromEntries(files.map((name) => [name, name.endsWith('.bin') ? 'x' : W])))
    const opened = await openCheckpoint(folder)
    expect(opened.files.map(({ path }) => path)).toEqual([join(folder, chosen)])
    expect(opened).toMatchObject({ path: folder, folder: realpathSync(folder), warnings: [] })
  })

  test('of a model: its config; a broken one is a warning', async () => {
    expect((await openCheckpoint(fixture('digits-llama/base'))).config).toMatchObject({ model_type: 'llama' })
    for (const [config, reason] of [
      ['{"a": 1', "can't be read as JSON"],
      ['[1]', "can't be read as JSON (it holds no object)"],
      [Buffer.from([0xff]), 'is not UTF-8 text'],
    ] as const) {
      const { config: read, warnings } = await openCheckpoint(
        folderOf({ 'model.safetensors': W, 'config.json': config }),
      )
      expect(read).toBeUndefined()
      expect(warnings).toHaveLength(1)
      expect(warnings[0]).toContain(reason)
      expect(warnings[0]).toContain('gone on without it')
    }
  })

  test('of an adapter: its config, strictly', async () => {
    const folder = (config: string) =>
      folderOf({ 'adapter_model.safetensors': W, 'adapter_config.json': config })
    const good = '{"r": 8, "rank_pattern": {"^a": 1.5}, "__proto__": null}'
    const { adapterConfig, config } = await openCheckpoint(folder(good))
    expect(Object.entries(adapterConfig!)).toEqual([
      ['r', 8],
      ['rank_pattern', { '^a': 1.5 }],
      ['__proto__', null],
    ])
    expect(config).toBeUndefined()
    const byFile = await openCheckpoint(join(folder(good), 'adapter_model.safetensors'))
    expect(byFile.adapterConfig).toEqual(adapterConfig)
    for (const [bad, reason] of [
      ['{"r": 8, "r": 16}', 'the key "r" comes twice'],
      ['{"r": 8,}', 'is no right JSON'],
      ['\ufeff{}', 'is no right JSON'],
      ['[]', 'is no right JSON: expected "{"'],
      ['{"r": NaN}', 'expected a value, found "NaN}"'],
    ]) {
      const error = await errorOf(() => openCheckpoint(folder(bad)))
      expect(error.code).toBe('bad-input')
      expect(error.message).toContain(reason)
      expect(error.file).toMatch(/adapter_config\.json$/)
    }
  })

  test('of a model and an adapter: the model, with a warning', async () => {
    const opened = await openCheckpoint(
      folderOf({ 'model.safetensors': W, 'adapter_model.safetensors': W, 'adapter_config.json': '{"r":1}' }),
    )
    expect(opened.adapterConfig).toBeUndefined()
    expect(opened.warnings).toEqual([expect.stringContaining('holds a model and an adapter')])
  })

  test.each([
    [
      ['a.safetensors', 'b.safetensors'],
      'holds 2 safetensors files and no index; name one of them: "a.safetensors", "b.safetensors"',
    ],
    [
      ['pytorch_model.bin'],
      'holds no safetensors file; "pytorch_model.bin" is a PyTorch file (pickle), which can run code when read; convert it, with all its shards: python3',
    ],
    [
      ['pytorch_model-1.bin', 'pytorch_model-2.bin'],
      '"pytorch_model-1.bin" (and 1 file like it) is a PyTorch file',
    ],
    [['model.Q4_K.gguf'], '"model.Q4_K.gguf" is a GGUF file; name it itself, not its folder'],
    [['model.onnx'], '"model.onnx" is an ONNX model'],
    [['unet/a.safetensors', 'vae/b.safetensors', 'docs/x.md'], 'name one of its folders: "unet", "vae"'],
    [['README.md'], 'is a folder without a safetensors file'],
    [[], 'is an empty folder'],
  ])('with %j is refused', async (files, reason) => {
    const folder = folderOf(Object.fromEntries(files.map((name) => [name, ONE])))
    const error = await errorOf(() => openCheckpoint(folder))
    expect(error).toMatchObject({ code: 'bad-input', file: folder })
    expect(error.message).toContain(reason)
    expect(error.message).not.toContain('\n')
  })

  test.skipIf(process.platform === 'win32')('a link to nothing, and a link to itself', async () => {
    const folder = folderOf()
    symlinkSync('../blobs/gone', join(folder, 'model.safetensors'))
    const dangling = await errorOf(() => openCheckpoint(folder))
    expect(dangling.message).toContain("is a link to a file that isn't there: the download is incomplete")
    const loop = folderOf()
    symlinkSync('model.safetensors', join(loop, 'model.safetensors'))
    const circle = await errorOf(() => openCheckpoint(loop))
    expect(circle).toMatchObject({ code: 'bad-input', file: join(loop, 'model.safetensors') })
    expect(circle.message).toContain('its symbolic links go in a circle')
    symlinkSync('self', join(loop, 'self'))
    expect((await errorOf(() => openCheckpoint(join(loop, 'self')))).message).toContain('go in a circle')
  })
})

describe('a checkpoint that changes', () => {
  const copy = () => folderOf({ 'model.safetensors': ONE, 'config.json': '{}' })

  test('is noticed, by length, time or another file in its place', async () => {
    for (const change of [
      (file: string) => truncateSync(file, ONE.length - 1),
      (file: string) => utimesSync(file, 1, 1),
      (file: string) => {
        rmSync(file)
        mkdirSync(file)
      },
    ]) {
      const folder = copy()
      const file = join(folder, 'model.safetensors')
      const opened = await openCheckpoint(folder)
      await assertUnchanged(opened)
      change(file)
      const error = await errorOf(() => assertUnchanged(opened))
      expect(error).toMatchObject({ code: 'bad-input', file })
      expect(error.message).toContain('was changed since it was opened')
    }
  })

  test('cut short: reading says so', async () => {
    const folder = copy()
    const file = join(folder, 'model.safetensors')
    const [weight] = matricesOf(await openCheckpoint(folder)).matrices
    truncateSync(file, ONE.length - 1)
    const error = await errorOf(() => readWeight(weight))
    expect(error).toMatchObject({ code: 'bad-input', file, tensor: 'W' })
    expect(error.message).toContain('it was made shorter since it was opened')
  })

  test('the bytes of a fixture are those of the file', async () => {
    const path = fixture('digits-llama/base/model.safetensors')
    const whole = readFileSync(path)
    for (const tensor of (await openCheckpoint(path)).tensors.values()) {
      const { begin, end } = tensor.source as { begin: number; end: number }
      expect(Buffer.compare(await readBytes(tensor), whole.subarray(begin, end))).toBe(0)
    }
  })

  test('a file that is gone is named', async () => {
    const folder = copy()
    const opened = await openCheckpoint(folder)
    rmSync(join(folder, 'config.json'))
    const error = await errorOf(() => assertUnchanged(opened))
    expect(error.message).toContain("config.json: can't look at it again: no such file or folder")
    writeFileSync(join(folder, 'config.json'), '{}')
    expect((await errorOf(() => assertUnchanged(opened))).message).toContain('was changed')
  })
})

test('an index names itself, and its folder the same checkpoint', async () => {
  const folder = folderOf({
    'model.safetensors.index.json': index({ W: 'a.safetensors' }),
    'a.safetensors': ONE,
  })
  const [byFolder, byIndex] = [
    await openCheckpoint(folder),
    await openCheckpoint(join(folder, 'model.safetensors.index.json')),
  ]
  expect([...byIndex.tensors]).toEqual([...byFolder.tensors])
  expect(byIndex.folder).toBe(byFolder.folder)
})
