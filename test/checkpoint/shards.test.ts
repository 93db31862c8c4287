import { symlinkSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { openCheckpoint } from '../../src/checkpoint/open.ts'
import { errorOf } from '../formats/fixtures.ts'
import { fixture, folderOf, index, safetensors } from './support.ts'

const INDEX = 'model.safetensors.index.json'
const A = await safetensors(
  { a: ['F32', [2, 2], Float32Array.of(1, 2, 3, 4)], a2: ['F32', [1]] },
  { format: 'pt' },
)
const B = await safetensors({ b: ['BF16', [2, 2]] })
const MAP = { a: '1.safetensors', a2: '1.safetensors', b: '2.safetensors' }
const SHARDS = { '1.safetensors': A, '2.safetensors': B }

/** The template so many times, with the digits of 0, 1, 2 … in the place of ########. */
function numbered(template: string, count: number): Buffer {
  const bytes = Buffer.alloc(template.length * count, template)
  const last = template.indexOf('########') + 7
  for (let i = 0; i < count; i++) {
    for (let n = i, place = 0; place < 8; n = Math.floor(n / 10), place++) {
      bytes[i * template.length + last - place] = 0x30 + (n % 10)
    }
  }
  return bytes
}

/** The error of opening a folder with these files; it names a file of that folder, or the folder. */
async function refusal(files: Readonly<Record<string, Uint8Array | string>>) {
  const folder = folderOf(files)
  const error = await errorOf(() => openCheckpoint(folder))
  expect(error.code).toBe('bad-input')
  expect(error.message).not.toContain('\n')
  expect(error.message.startsWith(`${error.file!}: `) || error.file!.startsWith(folder)).toBe(true)
  return {
    message: error.message.replaceAll(`${folder}/`, ''),
    file: error.file!.replace(`${folder}/`, ''),
    tensor: error.tensor,
  }
}

describe('a sharded checkpoint', () => {
  test('is the tensors of its shards, in the order of the files', async () => {
    const folder = folderOf({ [INDEX]: index(MAP, { total_size: 28 }), ...SHARDS })
    const { tensors, metadata, files, warnings } = await openCheckpoint(folder)
    expect([...tensors.keys()]).toEqual(['a', 'a2', 'b'])
    expect(tensors.get('b')).toMatchObject({ dtype: 'BF16', source: { file: join(folder, '2.safetensors') } })
    expect([...metadata]).toEqual([['format', 'pt']])
    expect(files.map(({ path }) => path.slice(folder.length + 1))).toEqual([...Object.keys(SHARDS), INDEX])
    expect(warnings).toEqual([])
  })

  test('written by transformers', async () => {
    const { tensors, warnings, config } = await openCheckpoint(fixture('digits-llama/tuned-bf16-sharded'))
    const base = await openCheckpoint(fixture('digits-llama/base'))
    expect([...tensors.keys()].sort()).toEqual([...base.tensors.keys()].sort())
    expect(warnings).toEqual([])
    expect(config).toMatchObject({ torch_dtype: 'bfloat16' })
  })

  test.each([
    'diffusion_pytorch_model.safetensors.index.json',
    'model.safetensors.index.fp16.json',
    'custom.safetensors.index.json',
  ])('by the index %s', async (name) => {
    expect((await openCheckpoint(folderOf({ [name]: index(MAP), ...SHARDS }))).tensors.size).toBe(3)
  })

  test('of many shards, opened a few at a time, comes in order', async () => {
    const shards = Array.from({ length: 40 }, (_, i) => `model-${String(i).padStart(5, '0')}.safetensors`)
    const map = Object.fromEntries(shards.map((shard, i) => [`t${i}`, shard]))
    const files = await Promise.all(
      shards.map(
        async (shard, i) => [shard, await safetensors({ [`t${i}`]: ['U8', [1 + (i % 7)]] })] as const,
      ),
    )
    const { tensors } = await openCheckpoint(folderOf({ [INDEX]: index(map), ...Object.fromEntries(files) }))
    expect([...tensors.keys()]).toEqual(Object.keys(map))
  })

  test.each([
    [{ total_size: 27 }, ['says that its tensors take 27 bytes; they take 28']],
    [{ total_size: 28.0 }, []],
    [{ total_size: '28' }, []],
    [{ total_size: null, more: [1, { deep: true }] }, []],
    [null, []],
    [[], []],
  ])('metadata %j: %j', async (metadata, expected) => {
    const { warnings } = await openCheckpoint(folderOf({ [INDEX]: index(MAP, metadata), ...SHARDS }))
    expect(warnings).toEqual(expected.map((warning) => expect.stringContaining(warning)))
  })

  test('a tensor that the index does not name is read, with a warning', async () => {
    const { tensors, warnings } = await openCheckpoint(
      folderOf({ [INDEX]: index({ a: '1.safetensors', b: '2.safetensors' }), ...SHARDS }),
    )
    expect([...tensors.keys()]).toEqual(['a', 'a2', 'b'])
    expect(warnings).toEqual([
      expect.stringContaining('does not name 1 tensor of its shards, which is read too: "a2"'),
    ])
  })
})

describe('an index is refused', () => {
  test.each([
    ['no JSON', 'weights', 'expected "{", found "weights" at character 1'],
    ['a byte-order mark', `\ufeff${index(MAP)}`, 'expected "{", found'],
    ['something after its end', `${index(MAP)}x`, 'expected nothing more'],
    ['an array', '[]', 'expected "{"'],
    ['weight_map twice', `{"weight_map":{"a":"1.safetensors"},"weight_map":{}}`, '"weight_map" comes twice'],
    [
      'a tensor twice',
      `{"weight_map":{"a":"1.safetensors","a":"2.safetensors"}}`,
      'the tensor "a" comes twice',
    ],
    [
      'a tensor twice, once escaped',
      `{"weight_map":{"a":"1.safetensors","\\u0061":"2.safetensors"}}`,
      'the tensor "a" comes twice',
    ],
    ['weight_map an array', '{"weight_map":["a"]}', 'expected "{", found'],
    ['weight_map null', '{"weight_map":null}', 'expected "{", found'],
    ['a shard that is a number', '{"weight_map":{"a":1}}', String.raw`expected "\"", found "1}}"`],
    ['no weight_map', '{"metadata":{}}', 'has no "weight_map"'],
    ['no tensors', '{"weight_map":{}}', 'names no tensor'],
    ['nested too deep', `{"x":${'['.repeat(200)}`, 'character'],
    ['half a surrogate pair', '{"weight_map":{"\\ud800":"1.safetensors"}}', 'half a surrogate pair'],
    ['not UTF-8', Buffer.from([0x7b, 0xff]), 'is not UTF-8 text'],
    ['cut off', index(MAP).slice(0, -2), 'found the end'],
  ])('%s', async (_, text, reason) => {
    const { message, file } = await refusal({ [INDEX]: text, ...SHARDS })
    expect(file).toBe(INDEX)
    expect(message).toContain(reason)
  })

  test.each([
    '../1.safetensors',
    '/etc/passwd',
    'sub/1.safetensors',
    'sub\\1.safetensors',
    '..',
    '.',
    '',
    'C:1.safetensors',
    '..\\1.safetensors',
    'a\u0000.safetensors',
    './1.safetensors',
  ])('a shard named %j leads elsewhere', async (shard) => {
    const { message, file } = await refusal({
      [INDEX]: index({ a: '1.safetensors', b: shard }),
      ...SHARDS,
      'sub/1.safetensors': B,
    })
    expect(file).toBe(INDEX)
    expect(message).toContain('of tensor "b" is no plain file name')
  })

  test('no string of an index ever opens a file outside its folder', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.string({ unit: fc.constantFrom('.', '/', '\\', 'a', ':', '\0', ' '), maxLength: 8 }),
        async (shard) => {
          const folder = folderOf({ [INDEX]: index({ x: shard }) })
          const { message } = await errorOf(() => openCheckpoint(folder))
          const isPlain = /^[^/\\:\0]+$/.test(shard) && shard !== '.' && !shard.includes('..')
          // a colon is a drive after one letter only
          const isRefused = message.includes('is no plain file name')
          expect(isRefused || message.includes('1 is missing')).toBe(true)
          if (!isRefused) expect(/[/\\\0]|\.\./.test(shard)).toBe(false)
          if (isPlain) expect(isRefused).toBe(false)
        },
      ),
      { numRuns: 100 },
    )
  })

  test('one larger than any is, by its length alone', async () => {
    const folder = folderOf({ [INDEX]: '{}' })
    truncateSync(join(folder, INDEX), 100_000_001)
    const error = await errorOf(() => openCheckpoint(folder))
    expect(error.message).toContain('the file is 100000001 bytes long; at most 100000000 are read')
  })

  test('one of 50 MB, for what is wrong in it', async () => {
    const folder = folderOf({ ...SHARDS })
    const text = Buffer.concat([
      Buffer.from('{"weight_map":{'),
      numbered(`"${'x'.repeat(74)}########":"1.safetensors",`, 500_000),
      Buffer.from('"a":"1.safetensors"}}'),
    ])
    expect(text.length).toBeGreaterThan(50e6)
    writeFileSync(join(folder, INDEX), text)
    const error = await errorOf(() => openCheckpoint(folder))
    expect(error.message).toMatch(
      /says that the tensor "x+…x*0{8}" is in "1\.safetensors", but no shard holds it/,
    )
  })
})

describe('shards are refused', () => {
  test('that are missing', async () => {
    expect(await refusal({ [INDEX]: index(MAP), '1.safetensors': A })).toEqual({
      message: `${INDEX}: names 2 shards, of which 1 is missing: "2.safetensors"; fetch what is missing`,
      file: '2.safetensors',
      tensor: undefined,
    })
  })

  test('that are links to nothing', async () => {
    const folder = folderOf({ [INDEX]: index(MAP), '1.safetensors': A })
    symlinkSync('../../blobs/0123', join(folder, '2.safetensors'))
    const error = await errorOf(() => openCheckpoint(folder))
    expect(error.message).toContain(
      "2.safetensors: is a link to a file that isn't there: the download is incomplete",
    )
  })

  test.each([
    ['cut off', A.subarray(0, -1), 'bytes of data, the header speaks of 20: it is cut off; fetch it again'],
    ['cut off in the header', A.subarray(0, 40), 'announces a header of'],
    ['longer than they say', Buffer.concat([A, Buffer.alloc(1)]), 'bytes are left over'],
    ['empty', Buffer.alloc(0), 'the file is 0 bytes long; a safetensors file has at least 8'],
    ['LFS pointers', 'version https://git-lfs.github.com/spec/v1\n', 'is a Git LFS pointer'],
    ['pickles', Buffer.from('\x80\x04\x95', 'latin1'), 'is a PyTorch file (pickle)'],
    ['pages of an error', '<!DOCTYPE html>', 'is HTML or XML'],
  ])('that are %s', async (_, bytes, reason) => {
    const { message, file } = await refusal({
      [INDEX]: index(MAP),
      '1.safetensors': bytes,
      '2.safetensors': B,
    })
    expect(file).toBe('1.safetensors')
    expect(message).toContain(reason)
  })

  test('that are folders', async () => {
    const { message } = await refusal({ [INDEX]: index(MAP), '1.safetensors/x': '', '2.safetensors': B })
    expect(message).toContain('1.safetensors: is a folder')
  })

  test('that are no safetensors files by name and content', async () => {
    const { message } = await refusal({ [INDEX]: index({ a: 'weights.txt' }), 'weights.txt': '1 2\n' })
    expect(message).toBe('weights.txt: is no safetensors file; fetch it again')
  })

  test('that both hold a tensor', async () => {
    expect(await refusal({ [INDEX]: index(MAP), '1.safetensors': A, '2.safetensors': A })).toEqual({
      message: `${INDEX}: the tensor "a" is in two shards, "1.safetensors" and "2.safetensors"; fetch them again`,
      file: INDEX,
      tensor: 'a',
    })
  })

  test('without the tensor that the index puts there', async () => {
    const { message, tensor } = await refusal({ [INDEX]: index({ ...MAP, c: '2.safetensors' }), ...SHARDS })
    expect(message).toContain('says that the tensor "c" is in "2.safetensors", but no shard holds it')
    expect(tensor).toBe('c')
    const swapped = await refusal({ [INDEX]: index({ ...MAP, a: '2.safetensors' }), ...SHARDS })
    expect(swapped.message).toContain(
      'says that the tensor "a" is in "2.safetensors", but it is in "1.safetensors"',
    )
  })

  test('with a header of 1.6 million entries that overlap', async () => {
    const header = Buffer.concat([
      Buffer.from('{'),
      numbered('"########":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},', 1_600_000),
      Buffer.from('"last":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}'),
    ])
    const length = Buffer.alloc(8)
    length.writeBigUInt64LE(BigInt(header.length))
    expect(header.length).toBeGreaterThan(90e6)
    const folder = folderOf({ [INDEX]: index(MAP), '1.safetensors': A })
    writeFileSync(join(folder, '2.safetensors'), Buffer.concat([length, header, Buffer.alloc(4)]))
    const error = await errorOf(() => openCheckpoint(folder))
    expect(error.message).toBe(
      `${join(folder, '2.safetensors')}: tensor "00000001" starts at byte 0 of the data, expected 4 (an overlap)`,
    )
  })
})
