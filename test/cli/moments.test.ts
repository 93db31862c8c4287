import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { readSafetensorsFile } from '../lora/peft-rules.ts'
import { datFile, float32File, IMATRIX, MOMENTS, REFERENCE } from '../moments-fixture.ts'
import { BASE, extracted, filesOf, TUNED, weightsOf } from './extract-support.ts'
import { runInProcess, temporaryFolder } from './run.ts'
import { documentOf } from './schema.ts'

const folder = temporaryFolder()
const weights = weightsOf(BASE)
const stored = readSafetensorsFile(MOMENTS)
const NAMES = Object.keys(REFERENCE['1'].full.errors).filter((name) => name.includes('layers.1.'))
/** One of the three layers: that the others hold too, test/moments says. */
const ONLY = ['--include', '*layers.1.*proj*', '--dtype', 'f32']
let files = 0
const place = (bytes: Uint8Array, end = 'safetensors') => {
  const path = join(folder, `moments-${files++}.${end}`)
  writeFileSync(path, bytes)
  return path
}
const out = () => join(folder, `out-${files++}`)
const inputsOf = (name: string) => weights.get(name)!.shape[1]
const momentsOf = (name: string) => ({
  shape: [inputsOf(name), inputsOf(name)],
  data: stored.get(`${name}.second_moment`)!.data,
})
const identity = (k: number) => ({
  shape: [k, k],
  data: Float32Array.from({ length: k * k }, (_, i) => (i % (k + 1) === 0 ? 1 : 0)),
})
const lineOf = async (args: readonly string[]) => {
  const { code, stdout, stderr } = await runInProcess(args, {})
  expect(stdout).toBe('')
  return { code, line: stderr.trimEnd() }
}

describe.each(['full', 'diagonal'] as const)('%s moments', (kind) => {
  test('an adapter has the errors of PyTorch in both norms, and verify finds them on disk', async () => {
    const file = kind === 'full' ? MOMENTS : IMATRIX
    const path = out()
    const { layers, totals, warnings } = await extracted(BASE, TUNED, path, [
      ...['--rank', '4', ...ONLY, '--moments', file],
    ])
    const { errors } = REFERENCE['4'][kind]
    const plain = REFERENCE['4'].plain.errors
    expect(layers.map(({ name }: { name: string }) => name)).toEqual(NAMES)
    for (const { name, relativeError, optimalError, output } of layers) {
      expect(relativeError).toBeCloseTo(errors[name].plain, 6)
      expect(output.relativeError).toBeCloseTo(errors[name].weighted, 6)
      expect(output.optimalError.atLeast).toBeLessThanOrEqual(errors[name].weighted + 1e-7)
      expect(output.optimalError.atMost).toBeGreaterThanOrEqual(errors[name].weighted - 1e-7)
      // beside it the best in the plain norm
      expect(optimalError.atMost).toBeCloseTo(plain[name].plain, 6)
      expect(output).toMatchObject({ moments: kind, samples: 16640 })
    }
    expect(totals.output).toMatchObject({ layers: NAMES.length, unweighed: [] })
    expect(warnings.filter((line: string) => line.includes('moments'))).toEqual([])
    const { stdout, code } = await runInProcess(
      [
        'verify',
        path,
        BASE,
        TUNED,
        ...ONLY.slice(0, 2),
        '--moments',
        MOMENTS,
        '--max-output-error',
        '0.5',
        '--json',
      ],
      {},
    )
    const verified = documentOf(stdout, 'verify-1')
    for (const { name, output } of verified.layers) {
      expect(output.relativeError).toBeCloseTo(errors[name].output, 6)
    }
    const most = Math.max(...NAMES.map((name) => errors[name].output))
    expect(verified.output.worst.relativeError).toBeCloseTo(most, 6)
    expect([code, verified.holds]).toEqual(most > 0.5 ? [1, false] : [0, true])
  })
})

test('C = I gives the adapter that there is without moments, byte for byte', async () => {
  const file = place(
    float32File(Object.fromEntries(NAMES.map((name) => [`${name}.second_moment`, identity(inputsOf(name))]))),
  )
  const [plain, weighed] = [out(), out()]
  await extracted(BASE, TUNED, plain, ['--error', '0.3', ...ONLY])
  const { layers } = await extracted(BASE, TUNED, weighed, ['--error', '0.3', ...ONLY, '--moments', file])
  const [a, b] = [filesOf(plain), filesOf(weighed)]
  for (const name of ['adapter_model.safetensors', 'adapter_config.json'])
    expect(b.get(name)).toEqual(a.get(name))
  for (const { relativeError, output } of layers) expect(output.relativeError).toBe(relativeError)
  expect(b.get('README.md')!.toString()).toMatch(/lora-svd extract .* --moments moments-\d+\.safetensors/)
})

describe('rank rules are about the error of outputs', () => {
  test('--error and --energy', async () => {
    const args = [...ONLY, '--layout', 'pattern', '--moments', MOMENTS]
    const { layers } = await extracted(BASE, TUNED, out(), ['--error', '0.2', ...args])
    for (const { relativeError, output, rank } of layers) {
      expect(output.relativeError).toBeLessThanOrEqual(0.2)
      if (rank > 3) expect(relativeError).toBeGreaterThan(0.2)
    }
    const other = await extracted(BASE, TUNED, out(), ['--energy', '0.96', ...args])
    expect(other.layers.map(({ rank }: { rank: number }) => rank)).toEqual(
      layers.map(({ rank }: { rank: number }) => rank),
    )
  })

  test('--budget spends bytes where outputs gain most, and --uniform gives all the largest rank', async () => {
    const args = ['--budget', '60KiB', ...ONLY, '--layout', 'pattern']
    const path = out()
    const weighed = await extracted(BASE, TUNED, path, [...args, '--moments', MOMENTS])
    const plain = out()
    await extracted(BASE, TUNED, plain, args)
    const felt = async (adapter: string) => {
      const { stdout } = await runInProcess(
        ['verify', adapter, BASE, TUNED, ...ONLY.slice(0, 2), '--moments', MOMENTS, '--json'],
        {},
      )
      return documentOf(stdout, 'verify-1').output.relativeError
    }
    expect(await felt(path)).toBeCloseTo(weighed.totals.output.relativeError, 9)
    expect(await felt(path)).toBeLessThan(0.7 * (await felt(plain)))
    const uniform = await extracted(BASE, TUNED, out(), [
      '--error',
      '0.3',
      '--uniform',
      ...ONLY,
      '--moments',
      MOMENTS,
    ])
    expect(new Set(uniform.layers.map(({ rank }: { rank: number }) => rank)).size).toBe(1)
  })
})

test('shards joined are the run of one, and shards of other moments are not taken', async () => {
  const args = ['--rank', '4', ...ONLY]
  const whole = out()
  await extracted(BASE, TUNED, whole, [...args, '--moments', MOMENTS, '--threads', '1'])
  const joined = out()
  const shard = (which: string, file: string) =>
    runInProcess(
      ['extract', BASE, TUNED, '-o', joined, ...args, '--moments', file, '--shard', which, '-q'],
      {},
    )
  expect((await shard('1/2', MOMENTS)).code).toBe(0)
  const other = await shard('2/2', IMATRIX)
  expect(other.code).toBe(2)
  expect(other.stderr).toContain('is of other options (moments) than this')
  expect((await shard('2/2', MOMENTS)).code).toBe(0)
  await extracted(BASE, TUNED, joined, [...args, '--moments', MOMENTS, '--join'])
  expect(filesOf(joined)).toEqual(filesOf(whole))
})

test('layers without moments are extracted in the plain norm, and listed', async () => {
  const some = NAMES.filter((name) => name.includes('self_attn'))
  const file = place(
    float32File(Object.fromEntries(some.map((name) => [`${name}.second_moment`, momentsOf(name)]))),
  )
  const args = [BASE, TUNED, '-o', out(), '--rank', '4', ...ONLY, '--moments', file]
  const planned = documentOf(
    (await runInProcess(['extract', ...args, '--dry-run', '--json'], {})).stdout,
    'extract-plan-1',
  )
  const others = NAMES.filter((name) => !some.includes(name))
  expect(planned.totals.moments).toEqual({ layers: some.length, unweighed: others })
  const { layers, totals, warnings } = documentOf(
    (await runInProcess(['extract', ...args, '--json'], {})).stdout,
    'extract-1',
  )
  expect(totals.output).toMatchObject({ layers: some.length, unweighed: others })
  expect(warnings.join('\n')).toContain(
    `has no moments of 3 layers, which the plain norm weighs: 3 tensors (${others.join(', ')})`,
  )
  for (const { name, relativeError, output } of layers) {
    const expected = REFERENCE['4'][some.includes(name) ? 'full' : 'plain'].errors[name]
    expect(relativeError).toBeCloseTo(expected.plain, 6)
    expect(output?.relativeError).toEqual(
      some.includes(name) ? expect.closeTo(expected.weighted, 6) : undefined,
    )
  }
})

test('moments of few inputs, and factors that fit them alone, are called out', async () => {
  const [name] = NAMES.filter((one) => one.endsWith('1.mlp.up_proj.weight'))
  const k = inputsOf(name)
  // one input alone, again and again
  const x = Float64Array.from({ length: k }, (_, i) => Math.sin(i + 1))
  const data = Float32Array.from({ length: k * k }, (_, i) => x[Math.floor(i / k)] * x[i % k])
  const file = place(
    float32File({
      [`${name}.second_moment`]: { shape: [k, k], data },
      [`${name}.count`]: { shape: [1], data: [1] },
    }),
  )
  const { layers, warnings } = await extracted(BASE, TUNED, out(), [
    ...['--rank', '64', '--include', name, '--dtype', 'f32', '--moments', file],
  ])
  expect(layers[0].output).toMatchObject({ samples: 1 })
  // but for rounding in float32
  expect(layers[0].output.floored).toBeGreaterThan(k / 2)
  expect(warnings.join('\n')).toContain(`are of fewer inputs than the layer has columns (1 of ${k})`)
  const { layers: low, warnings: called } = await extracted(BASE, TUNED, out(), [
    ...['--rank', '1', '--include', name, '--dtype', 'f32', '--moments', file],
  ])
  expect(low[0].output.relativeError).toBeLessThan(0.01)
  expect(low[0].relativeError).toBeLessThanOrEqual(1)
  expect(called.length).toBeGreaterThan(0)
})

test('the older .dat says what the GGUF says', async () => {
  const roles: Record<string, string> = {
    ...{ q_proj: 'attn_q', k_proj: 'attn_k', v_proj: 'attn_v', o_proj: 'attn_output' },
    ...{ gate_proj: 'ffn_gate', up_proj: 'ffn_up', down_proj: 'ffn_down' },
  }
  const entries = NAMES.map((name) => {
    const [, layer, role] = /layers\.(\d+)\.\w+\.(\w+)\.weight$/.exec(name)!
    const { data } = momentsOf(name)
    const k = inputsOf(name)
    return {
      name: `blk.${layer}.${roles[role]}.weight`,
      calls: 4,
      values: Array.from({ length: k }, (_, i) => data[i * (k + 1)]),
    }
  })
  const dat = place(datFile(entries), 'dat')
  const { layers } = await extracted(BASE, TUNED, out(), ['--rank', '2', ...ONLY, '--moments', dat])
  for (const { name, output } of layers) {
    expect(output.samples).toBeUndefined()
    expect(output.relativeError).toBeCloseTo(REFERENCE['2'].diagonal.errors[name].weighted, 6)
  }
  const cut = place(readFileSync(dat).subarray(0, 1000), 'dat')
  expect(await lineOf(['extract', BASE, TUNED, '-o', out(), '--rank', '2', '--moments', cut])).toEqual({
    code: 2,
    line: `lora-svd: ${cut}: ends at byte 1000, and the values of "blk.1.ffn_down.weight" (entry 1 of 7) at byte 1061: it is cut off; fetch it again`,
  })
})

test('a layer may share the moments of another, which the metadata names', async () => {
  const [q, k] = ['q', 'k'].map((one) => `model.layers.1.self_attn.${one}_proj.weight`)
  const file = place(float32File({ [`${q}.second_moment`]: momentsOf(q) }, { [k]: q }))
  const { layers } = await extracted(BASE, TUNED, out(), [
    ...['--rank', '4', '--include', '*layers.1.self_attn.[qk]_proj*', '--dtype', 'f32', '--moments', file],
  ])
  for (const { name, output } of layers) {
    expect(output.relativeError).toBeCloseTo(REFERENCE['4'].full.errors[name].weighted, 6)
  }
})

describe('bad moments are one line each', () => {
  const name = 'model.layers.1.mlp.up_proj.weight'
  const entry = `${name}.second_moment`
  const good = momentsOf(name)
  const k = inputsOf(name)
  const changed = (change: (data: Float32Array) => void) => {
    const data = Float32Array.from(good.data)
    change(data)
    return float32File({ [entry]: { shape: [k, k], data } })
  }
  test.each([
    [
      'another size',
      float32File({ [entry]: identity(64) }),
      `${JSON.stringify(entry)} is [64, 64], and "${name}" takes 96 inputs: moments of [96, 96] are expected; are they of this model?`,
    ],
    [
      'NaN',
      changed((data) => {
        data[97] = Number.NaN
      }),
      `${JSON.stringify(entry)} has NaN at row 2, column 2; make the moments again`,
    ],
    [
      'a negative mean square',
      changed((data) => {
        data[0] = -1
      }),
      `${JSON.stringify(entry)} has the mean square -1 of input 1: it is no second moment; make the moments again`,
    ],
    [
      'what is not symmetric',
      changed((data) => {
        data[1] += 1
      }),
      /isn't symmetric: \S+ at row 2, column 1, and \S+ across; make the moments again$/,
    ],
    [
      'a negative eigenvalue',
      changed((data) => {
        const most = Math.sqrt(data[0] * data[97])
        data[1] = 2 * most
        data[96] = 2 * most
      }),
      /has the eigenvalue -1\.6 of its mean: second moments have none below 0 but for rounding; make them again, in float32 or wider$/,
    ],
    [
      'zeros',
      float32File({ [entry]: { shape: [k, k], data: new Float32Array(k * k) } }),
      `${JSON.stringify(entry)} is all zeros: nothing can be weighed by it; make the moments again`,
    ],
    [
      'another model',
      float32File({ 'transformer.h.0.mlp.c_fc.weight.second_moment': identity(96) }),
      `none of its 1 entry is of a layer here: its first is of "transformer.h.0.mlp.c_fc.weight"; that of the first layer is called "${name}"; are the moments of this model?`,
    ],
    [
      'a checkpoint',
      float32File({ [name]: identity(96) }),
      `holds no moments: none of its tensors ends in .second_moment or .second_moment_diagonal, as "${name}" shows`,
    ],
  ])('%s', async (_, bytes, problem) => {
    const file = place(bytes)
    const path = out()
    const { code, line } = await lineOf([
      'extract',
      BASE,
      TUNED,
      '-o',
      path,
      '--rank',
      '4',
      '--include',
      name,
      '--moments',
      file,
    ])
    expect(code).toBe(2)
    expect(line.split('\n')).toHaveLength(1)
    expect(line.startsWith(`lora-svd: ${file}: `), line).toBe(true)
    if (typeof problem === 'string') expect(line).toBe(`lora-svd: ${file}: ${problem}`)
    else expect(line).toMatch(problem)
  })

  test('options that do not go together', async () => {
    const args = ['extract', BASE, TUNED, '-o', out(), '--moments', MOMENTS]
    expect((await lineOf([...args, '--noise-floor'])).line).toMatch(
      /--noise-floor is about the rounding of numbers/,
    )
    expect((await lineOf([...args.slice(0, -1), '-', '--rank', '1'])).line).toMatch(
      /--moments: standard input/,
    )
    const verify = ['verify', 'adapter', BASE, TUNED, '--max-output-error', '0.1']
    expect((await lineOf(verify)).line).toMatch(
      /--max-output-error is about the inputs that --moments tells of/,
    )
  })
})
