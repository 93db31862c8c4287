import { closeSync, openSync, readFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { PICKLE_PROBLEM } from '../../src/formats/sniff.ts'
import { f32, fileOf, folderOf, indexOf, noise } from './checkpoints.ts'
import { testErrors } from './errors.ts'
import { safetensorsFile, tensor } from './files.ts'
import { runCli, runInProcess } from './run.ts'
import { documentOf } from './schema.ts'

const fixture = (name: string) =>
  readFileSync(fileURLToPath(new URL(`../fixtures/formats/${name}`, import.meta.url)))

const matrix = f32([8, 8], noise(64, 1))
const [first, second] = [fileOf({ 'a.weight': matrix }), fileOf({ 'b.weight': matrix })]
const [SHARD1, SHARD2] = ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors']
const INDEX = 'model.safetensors.index.json'
const map = { 'a.weight': SHARD1, 'b.weight': SHARD2 }

/** A folder of two shards with something else in place of some of them. */
function sharded(name: string, changes: Record<string, Uint8Array | string | undefined>) {
  const files = { [SHARD1]: first, [SHARD2]: second, [INDEX]: indexOf(map), ...changes }
  return Object.fromEntries(
    Object.entries(files).flatMap(([file, content]) => (content ? [[`${name}/${file}`, content]] : [])),
  )
}

const entry = (begin: number) => JSON.stringify(tensor('F32', [2, 2], [begin, begin + 16]))

const cwd = folderOf({
  ...sharded('missing', { [SHARD2]: undefined }),
  ...sharded('cut', { [SHARD2]: second.subarray(0, -8) }),
  ...sharded('escaping', { [INDEX]: indexOf({ ...map, 'b.weight': `../cut/${SHARD1}` }) }),
  ...sharded('absolute', { [INDEX]: indexOf({ ...map, 'b.weight': '/etc/passwd' }) }),
  ...sharded('absent', { [INDEX]: indexOf({ ...map, 'c.weight': SHARD2 }) }),
  ...sharded('twice', { [INDEX]: `{"weight_map":{"a.weight":"${SHARD1}","a.weight":"${SHARD2}"}}` }),
  ...sharded('no-map', { [INDEX]: '{"metadata":{}}' }),
  'ok/model.safetensors': first,
  'cut.safetensors': first.subarray(0, -1),
  'duplicate.safetensors': safetensorsFile(`{"a.weight":${entry(0)},"a.weight":${entry(16)}}`, 32),
  'overlap.safetensors': safetensorsFile(`{"a.weight":${entry(0)},"b.weight":${entry(12)}}`, 28),
  'several/a.safetensors': first,
  'several/b.safetensors': second,
  'pipeline/unet/diffusion_pytorch_model.safetensors': first,
  'pipeline/vae/diffusion_pytorch_model.safetensors': first,
  'pickles/pytorch_model.bin': fixture('legacy.bin'),
  'pickles/optimizer.pt': fixture('pytorch.pt'),
  'ggufs/model.gguf': fixture('model.gguf'),
  'pytorch_model.bin': fixture('legacy.bin'),
  'pytorch.pt': fixture('pytorch.pt'),
  'model.gguf': fixture('model.gguf'),
  'model.onnx': fixture('model.onnx'),
  'weights.h5': fixture('weights.h5'),
  'pointer.safetensors': fixture('pointer.safetensors'),
  'readme/README.md': 'nothing',
})

const CONVERT = PICKLE_PROBLEM
const GGUF =
  'the file has a GGUF header that asks for 8 bytes at byte 8, and ends at byte 8: it is cut off or damaged; fetch it again'
const inspect = (path: string, says: string, place: { file?: string; tensor?: string } = {}) => ({
  args: ['inspect', path],
  kind: 'bad-input' as const,
  file: place.file ?? path,
  ...(place.tensor && { tensor: place.tensor }),
  says,
})
const ofIndex = (folder: string, problem: string, place: { file?: string; tensor?: string } = {}) =>
  inspect(folder, `${folder}/${INDEX}: ${problem}`, { file: `${folder}/${INDEX}`, ...place })

testErrors('a broken checkpoint', cwd, [
  ofIndex('missing', `names 2 shards, of which 1 is missing: "${SHARD2}"; fetch what is missing`, {
    file: `missing/${SHARD2}`,
  }),
  inspect(
    'cut',
    `cut/${SHARD2}: the file has 248 bytes of data, the header speaks of 256: it is cut off; fetch it again`,
    {
      file: `cut/${SHARD2}`,
    },
  ),
  ofIndex(
    'escaping',
    `is no right index: the shard "../cut/${SHARD1}" of tensor "b.weight" is no plain file name at character 128; correct it or fetch it again`,
  ),
  ofIndex(
    'absolute',
    'is no right index: the shard "/etc/passwd" of tensor "b.weight" is no plain file name at character 100; correct it or fetch it again',
  ),
  ofIndex(
    'absent',
    `says that the tensor "c.weight" is in "${SHARD2}", but no shard holds it; fetch index and shards again`,
    { tensor: 'c.weight' },
  ),
  ofIndex(
    'twice',
    'is no right index: the tensor "a.weight" comes twice at character 73; correct it or fetch it again',
  ),
  ofIndex('no-map', 'has no "weight_map", which names the shard of each tensor; fetch it again'),
  inspect(
    'cut.safetensors',
    'cut.safetensors: the file has 255 bytes of data, the header speaks of 256: it is cut off; fetch it again',
  ),
  {
    ...inspect(
      'ok',
      'cut.safetensors: the file has 255 bytes of data, the header speaks of 256: it is cut off; fetch it again',
      { file: 'cut.safetensors' },
    ),
    args: ['inspect', 'ok', '--base', 'cut.safetensors'],
  },
  inspect(
    'duplicate.safetensors',
    'duplicate.safetensors: the file has a wrong header: the name comes twice at character 76 (in "a.weight")',
    { tensor: 'a.weight' },
  ),
  inspect(
    'overlap.safetensors',
    'overlap.safetensors: tensor "b.weight" starts at byte 12 of the data, expected 16 (an overlap)',
    { tensor: 'b.weight' },
  ),
  inspect(
    'several',
    'several: holds 2 safetensors files and no index; name one of them: "a.safetensors", "b.safetensors"',
  ),
  inspect('pipeline', 'pipeline: holds no safetensors file itself; name one of its folders: "unet", "vae"'),
  inspect('pickles', `pickles: holds no safetensors file; "optimizer.pt" (and 1 file like it) ${CONVERT}`),
  inspect(
    'ggufs',
    `ggufs: holds no safetensors file; "model.gguf" is a GGUF file; name it itself, not its folder`,
  ),
  inspect('pytorch_model.bin', `pytorch_model.bin: ${CONVERT}`),
  inspect('pytorch.pt', `pytorch.pt: ${CONVERT}`),
  inspect('model.gguf', `model.gguf: ${GGUF}`),
  inspect(
    'model.onnx',
    'model.onnx: is an ONNX model; save the weight with numpy.save(file, onnx.numpy_helper.to_array(initializer))',
  ),
  inspect(
    'weights.h5',
    'weights.h5: is an HDF5 file (Keras, MATLAB 7.3); save the matrix with numpy.save(file, h5py.File(path)["name"][()])',
  ),
  inspect(
    'pointer.safetensors',
    'pointer.safetensors: is a Git LFS pointer, not the file itself; fetch that with git lfs pull',
  ),
  inspect(
    'readme',
    'readme: is a folder without a safetensors file; name one that holds a checkpoint, or a file inside it',
  ),
  inspect('nowhere', 'nowhere: no such file; check the path'),
])

test('a folder with nothing in it', async () => {
  const empty = folderOf({})
  const { code, stdout, stderr } = await runInProcess(['inspect', empty])
  expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
  expect(stderr).toBe(`lora-svd: ${empty}: is an empty folder; name a checkpoint\n`)
})

test('a repository that is in no cache', async () => {
  const { code, stderr } = await runInProcess(['inspect', 'org/name'], { cwd, env: { HF_HOME: '/nowhere' } })
  expect(code).toBe(2)
  expect(stderr).toBe(
    'lora-svd: org/name: no such file or folder, and no such model in the Hugging Face cache (/nowhere/hub); check the path, read it from the Hub with --online, or download it: hf download org/name\n',
  )
})

test('a header of 89 MB with 1.5 million overlapping tensors, in a heap of 256 MB', async () => {
  const file = join(folderOf({}), 'hostile.safetensors')
  writeHostile(file)
  const { code, stdout, stderr } = await runCli(['inspect', file, '--json'], {
    env: { NODE_OPTIONS: '--max-old-space-size=256' },
  })
  const message = `${file}: tensor "t0000001" starts at byte 0 of the data, expected 4 (an overlap)`
  expect(stderr).toBe(`lora-svd: ${message}\n`)
  expect(code).toBe(2)
  expect(documentOf(stdout, 'error-1').error).toEqual({
    code: 'bad-input',
    message,
    file,
    tensor: 't0000001',
  })
})

/** As many tensors at one place as fit a header of the allowed size, written a piece at a time. */
function writeHostile(path: string): void {
  const [pieces, tensorsOfOne] = [150, 10_000]
  const entryOf = (i: number) =>
    `"t${String(i).padStart(7, '0')}":{"dtype":"F16","shape":[2],"data_offsets":[0,4]}`
  const bytes = pieces * tensorsOfOne * (entryOf(0).length + 1) + 1
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(bytes))
  const file = openSync(path, 'w')
  writeSync(file, length)
  for (let piece = 0; piece < pieces; piece++) {
    const entries = Array.from({ length: tensorsOfOne }, (_, i) => entryOf(piece * tensorsOfOne + i))
    writeSync(file, `${piece === 0 ? '{' : ','}${entries.join(',')}`)
  }
  writeSync(file, Buffer.concat([Buffer.from('}'), Buffer.alloc(4)]))
  closeSync(file)
}
