import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import { adapterGguf, modelGguf, q4_0, readTensors } from '../../bench/gguf.mjs'
import { narrowHalf, widenHalf } from '../../src/linalg/matrix/half.ts'
import { type RawTensor, raw, rawGguf, readRaw } from '../formats/gguf-support.ts'
import { temporaryFolder } from '../temporary.ts'
import { BASE, extracted, norm, TUNED } from './extract-support.ts'
import { runInProcess } from './run.ts'
import { documentOf } from './schema.ts'

// bench/gguf.mjs makes the GGUF files, with nothing of src/: a real llama.cpp has loaded what it makes

const folder = temporaryFolder('gguf-base')
const run = (...args: string[]) => runInProcess(args, { cwd: folder })

const halfOf = (x: number) => narrowHalf(Float32Array.of(x), 'f16')
const halfValue = (bits: Uint16Array) => widenHalf(bits, 'f16')[0]

/** As quantize_row_q8_0_ref of ggml/src/ggml-quants.c does. */
function q8_0(data: Float32Array): Buffer {
  const out = Buffer.alloc((data.length / 32) * 34)
  for (let block = 0; block < data.length / 32; block++) {
    const x = data.subarray(block * 32, (block + 1) * 32)
    const d = x.reduce((a, b) => Math.max(a, Math.abs(b)), 0) / 127
    out.writeUInt16LE(halfOf(d)[0], block * 34)
    for (let i = 0; i < 32; i++) out.writeInt8(d === 0 ? 0 : Math.round(x[i] / d), block * 34 + 2 + i)
  }
  return out
}

const QUANTISERS = { q4_0: { code: 2, quantise: q4_0 }, q8_0: { code: 8, quantise: q8_0 } }

/** The same file with its matrices quantised, and `change` of its tensors. */
function quantisedGguf(dtype: keyof typeof QUANTISERS, change = (tensor: RawTensor): RawTensor => tensor) {
  const file = modelGguf(BASE)
  const { infos, dataStart } = readRaw(new Uint8Array(file))
  const { code, quantise } = QUANTISERS[dtype]
  let offset = 0
  const tensors: RawTensor[] = []
  const data: Buffer[] = []
  for (const { name, dims, offset: at } of infos) {
    const count = dims.reduce((a, b) => a * b, 1)
    const numbers = new Float32Array(
      file.buffer.slice(file.byteOffset + dataStart + at, file.byteOffset + dataStart + at + 4 * count),
    )
    const bytes = dims.length === 2 ? quantise(numbers) : Buffer.from(numbers.buffer)
    tensors.push(change({ name, dims, type: dims.length === 2 ? code : 0, offset }))
    const padding = Buffer.alloc(-bytes.length & 31)
    data.push(bytes, padding)
    offset += bytes.length + padding.length
  }
  return rawGguf({
    keys: [['general.architecture', ...raw.string('llama')]],
    tensors,
    data: Buffer.concat(data),
  })
}

/** What of a change is rounding: ‖W − Q(W)‖² / ‖T − Q(W)‖², of the fixture itself, whose rows' order doesn't matter to it. */
function trueShare(name: string): { rounding: number; energy: number } {
  const [W, T] = [BASE, TUNED].map((path) => readTensors(join(path, 'model.safetensors')).get(name)!)
  const bytes = q4_0(W.data)
  const Q = W.data.map((_, i) => {
    const [block, at] = [Math.floor(i / 32), i % 32]
    const code = (bytes[block * 18 + 2 + (at % 16)] >> (4 * (at >> 4))) & 15
    return (code - 8) * halfValue(Uint16Array.of(bytes.readUInt16LE(block * 18)))
  })
  const square = (x: Float32Array) => norm(x.map((value, i) => value - Q[i])) ** 2
  return { rounding: square(W.data), energy: square(T.data) }
}

beforeAll(() => {
  writeFileSync(join(folder, 'base-f32.gguf'), modelGguf(BASE))
  writeFileSync(join(folder, 'base-q4_0.gguf'), quantisedGguf('q4_0'))
  writeFileSync(join(folder, 'base-q8_0.gguf'), quantisedGguf('q8_0'))
})

describe('extract with a base in GGUF', () => {
  test('in float32: the very factors of the safetensors base', async () => {
    const args = ['--rank', '4', '--embeddings']
    await extracted(BASE, TUNED, join(folder, 'plain'), args)
    const { layers, totals, warnings } = await extracted('base-f32.gguf', TUNED, join(folder, 'same'), args, {
      cwd: folder,
    })
    const bytesOf = (name: string) => readFileSync(join(folder, name, 'adapter_model.safetensors'))
    expect(bytesOf('same').equals(bytesOf('plain'))).toBe(true)
    expect([layers.length, totals.unmatched, totals.matched, warnings]).toEqual([23, 0, 30, []])
    expect(totals.quantisation).toBeUndefined()
    const { stdout, code } = await run('verify', 'same', 'base-f32.gguf', TUNED, '--json')
    expect([code, documentOf(stdout, 'verify-1').layers.length]).toEqual([0, 23])
    // the same adapter for llama.cpp
    await extracted('base-f32.gguf', TUNED, join(folder, 'factors'), ['--rank', '4'], { cwd: folder })
    writeFileSync(join(folder, 'factors.gguf'), adapterGguf(join(folder, 'factors'), BASE))
    const errors = []
    for (const adapter of ['factors', 'factors.gguf']) {
      const verified = await run('verify', adapter, 'base-f32.gguf', TUNED, '--json')
      errors.push(documentOf(verified.stdout, 'verify-1').totals.relativeError)
    }
    expect(errors[1]).toBeCloseTo(errors[0], 12)
    const piped = await runInProcess(['verify', 'same', '-', TUNED, '--json'], {
      cwd: folder,
      input: readFileSync(join(folder, 'base-f32.gguf')),
    })
    const { totals: ofPipe } = documentOf(piped.stdout, 'verify-1')
    expect([piped.code, ofPipe]).toEqual([0, documentOf(stdout, 'verify-1').totals])
  })

  test('in 4 bits: the share that is rounding, layer by layer and in all, and what the rank carries', async () => {
    const document = await extracted('base-q4_0.gguf', TUNED, join(folder, 'q4'), ['--rank', '8'], {
      cwd: folder,
    })
    const sums = { rounding: 0, energy: 0 }
    for (const { name, quantisation } of document.layers) {
      const { rounding, energy } = trueShare(name)
      expect(quantisation.dtype).toBe('q4_0')
      expect(Math.abs(quantisation.share / (rounding / energy) - 1)).toBeLessThan(0.12)
      expect(quantisation.carried).toBeGreaterThan(0.1)
      expect(quantisation.carried).toBeLessThan(0.5)
      sums.rounding += rounding
      sums.energy += energy
    }
    const { quantisation, relativeError } = document.totals
    expect(quantisation).toMatchObject({ layers: 22, dtypes: ['q4_0'] })
    expect(Math.abs(quantisation.share / (sums.rounding / sums.energy) - 1)).toBeLessThan(0.05)
    const rest = (quantisation.share * (1 - quantisation.carried)) / relativeError ** 2
    expect(quantisation.ofRest).toBeCloseTo(Math.min(1, rest), 6)
    expect(document.warnings[0]).toContain('the adapter belongs to the numbers of base-q4_0.gguf')
    const config = JSON.parse(readFileSync(join(folder, 'q4', 'adapter_config.json'), 'utf8'))
    expect(config.base_model_name_or_path).toBe('base-q4_0.gguf')

    const verified = await run('verify', 'q4', 'base-q4_0.gguf', TUNED, '--json')
    expect(verified.code).toBe(0)
    expect(documentOf(verified.stdout, 'verify-1').totals.relativeError).toBeCloseTo(relativeError, 12)

    const planned = await run(
      'extract',
      'base-q4_0.gguf',
      TUNED,
      '-o',
      'new',
      '--rank',
      '8',
      '--dry-run',
      '--json',
    )
    const plan = documentOf(planned.stdout, 'extract-plan-1')
    expect(Math.abs(plan.totals.quantisation.share / quantisation.share - 1)).toBeLessThan(0.15)
    expect(plan.totals.quantisation.carriedAtMost).toBeGreaterThan(quantisation.carried)
  })

  test('in words, in the plan and in the report', async () => {
    const words =
      /about 1\d % of this change is rounding of the base \(Q4_0\), spread over all directions: rank 8 carries (at most )?\d\d % of it/
    const text = (stdout: string) => stdout.replace(/[│\s]+/g, ' ')
    const args = ['extract', 'base-q4_0.gguf', TUNED, '-o', 'words', '--rank', '8']
    const plan = text((await run(...args, '--dry-run')).stdout)
    expect(plan).toMatch(words)
    expect(plan).toContain('(by a sample of rows)')
    const report = text((await run(...args)).stdout)
    expect(report).toMatch(words)
    expect(report).toMatch(/about \d\d % of what is left of the change is that rounding/)
  })

  test('in 8 bits, with what stands above the noise', async () => {
    const { layers, totals } = await extracted(
      'base-q8_0.gguf',
      TUNED,
      join(folder, 'q8'),
      ['--noise-floor'],
      {
        cwd: folder,
      },
    )
    expect(totals.quantisation.share).toBeGreaterThan(5e-4)
    expect(totals.quantisation.share).toBeLessThan(5e-3)
    for (const { rank, noiseFloor } of layers) {
      expect(rank).toBeGreaterThan(10)
      expect(noiseFloor).toBeGreaterThan(0)
    }
  })
})

test('inspect sets a GGUF file beside a checkpoint: either is the base', async () => {
  const one = documentOf(
    (await run('inspect', TUNED, '--base', 'base-f32.gguf', '--json')).stdout,
    'inspect-1',
  )
  const other = documentOf((await run('inspect', TUNED, '--base', BASE, '--json')).stdout, 'inspect-1')
  const figures = (document: typeof one) =>
    document.matrices.map(({ name, frobenius }: { name: string; frobenius: number }) => [name, frobenius])
  expect(figures(one)).toEqual(figures(other))
  // what rounding did to the model
  const rounding = await run('inspect', 'base-q4_0.gguf', '--base', BASE, '--json')
  const { matrices } = documentOf(rounding.stdout, 'inspect-1')
  const found = matrices.find(
    ({ name }: { name: string }) => name === 'model.layers.1.self_attn.q_proj.weight',
  )
  expect(found.frobenius ** 2).toBeCloseTo(trueShare(found.name).rounding, 6)
})

test('a tensor that is not read is in the verdict and in the exit code', async () => {
  // of the same length: 18 bytes for 32 numbers
  writeFileSync(
    join(folder, 'part.gguf'),
    quantisedGguf('q4_0', (tensor) =>
      tensor.name === 'blk.1.attn_q.weight' ? { ...tensor, type: 20 } : tensor,
    ),
  )
  const { notCarried, totals, holds } = await extracted(
    'part.gguf',
    TUNED,
    join(folder, 'part'),
    ['--rank', '1'],
    {
      cwd: folder,
      code: 1,
    },
  )
  expect([totals.unmatched, holds]).toEqual([1, false])
  expect(
    notCarried.map(({ name, reason }: { name: string; reason: string }) => [name, reason]),
  ).toContainEqual(['model.layers.1.self_attn.q_proj.weight', 'stored in a dtype that is not read'])
})

test.each([
  [
    ['extract', 'base-q4_0.gguf', 'base-f32.gguf', '-o', 'no', '--rank', '1'],
    'as the tuned model name the safetensors checkpoint',
  ],
  [['verify', 'q4', 'base-q4_0.gguf', 'base-f32.gguf'], 'as the tuned model name the safetensors checkpoint'],
  [['apply', 'base-f32.gguf', 'q4', '-o', 'no'], 'is a GGUF file'],
  [['apply', 'base-q4_0.gguf', 'q4', '-o', 'no'], 'is quantised with GGUF (Q4_0)'],
  [
    ['inspect', 'q4', '--base', 'base-f32.gguf'],
    "is a GGUF file, whose names and order of rows are llama.cpp's, and q4 has transformers'",
  ],
  [
    ['compare', 'q4', 'q4', '--base', 'base-f32.gguf'],
    "is a GGUF file, whose names and order of rows are llama.cpp's, and q4 has transformers'",
  ],
])('one line where it can not be: %j', async (args, message) => {
  const { stdout, stderr, code } = await run(...args)
  expect([code, stdout]).toEqual([2, ''])
  expect(stderr.trimEnd().split('\n')).toHaveLength(1)
  expect(stderr).toContain(message)
})
