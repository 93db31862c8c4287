import { spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { describe, expect, test } from 'vitest'
import { type Frame, HELPER, type Profile, samplesOf } from '../bench/profile/attribute.mjs'
import { buildCounting, EDITS } from '../bench/profile/build.mjs'
import { PHASES } from '../bench/profile/table.mjs'
import { makePair, recipeOf } from '../bench/tinyllama-pair.mjs'
import { temporaryFolder } from './cli/run.ts'

const source = (file: string) => readFileSync(fileURLToPath(new URL(`../${file}`, import.meta.url)), 'utf8')

/** Whether a source has a function of this name: one that is declared, a constant, or a method. */
const defines = (text: string, name: string) =>
  new RegExp(`(function\\*?|const) ${name}\\b|^\\s+(async )?${name}\\(`, 'm').test(text)

describe('the table of phases', () => {
  const named = PHASES.flatMap(({ name, functions }) =>
    Object.entries(functions).map(([file, names]) => ({ phase: name, file, names })),
  )

  test.each(named)('$phase: all that it names of $file is there', ({ file, names }) => {
    const text = source(file)
    if (names === '*') expect(text).toMatch(/function|=>/)
    else expect(names.filter((name) => !defines(text, name))).toEqual([])
  })

  test('a function belongs to one phase', () => {
    const all = named.flatMap(({ file, names }) =>
      names === '*' ? [`${file} *`] : names.map((name) => `${file} ${name}`),
    )
    expect(all.filter((one, i) => all.indexOf(one) !== i)).toEqual([])
  })

  test('parts are phases', () => {
    const names = new Set(PHASES.map(({ name }) => name))
    expect(PHASES.flatMap(({ parts = [] }) => parts).filter((part) => !names.has(part))).toEqual([])
  })

  test('what the bench replaces in sources is there', () => {
    const edits = Object.values(EDITS).flatMap((edit) => Object.entries(edit))
    const missing = edits.filter(([file, replacements]) =>
      replacements.some(([before]) => !source(file).includes(before)),
    )
    expect(missing).toEqual([])
    expect(defines(source('src/engine/wasm/help.ts'), HELPER)).toBe(true)
  })
})

describe('samples of a profile', () => {
  const folder = temporaryFolder()
  const bundle = join(folder, 'bundle.js')
  writeFileSync(
    bundle,
    [
      'import',
      '// src/linalg/truncation/krylov.ts',
      'startBasis',
      '// src/linalg/truncation/orthonormalize.ts',
      'orthonormalize',
      '// src/linalg/truncation/complement-bound.ts',
      'complementBounds',
      '// src/delta/sweep.ts',
      'sweepOver',
      '// src/text/names.ts',
      'unnamed',
      '// src/commands/extract/write.ts',
      'writeOutput',
    ].join('\n'),
  )
  const lines = readFileSync(bundle, 'utf8').split('\n')
  const frame = (functionName: string, url = pathToFileURL(bundle).href): Frame => ({
    functionName,
    url,
    lineNumber: Math.max(
      0,
      lines.findIndex((line) => line !== '' && functionName.startsWith(line)),
    ),
  })

  /** A profile of samples of one millisecond, each the stack of calls from the outermost on. */
  function profileOf(stacks: readonly (readonly Frame[])[]): Profile {
    const nodes: { id: number; callFrame: Frame; children: number[] }[] = [
      { id: 1, callFrame: frame('(root)', ''), children: [] },
    ]
    const samples = stacks.map((stack) =>
      stack.reduce((parent, callFrame) => {
        const id = nodes.length + 1
        nodes.push({ id, callFrame, children: [] })
        nodes[parent - 1].children.push(id)
        return id
      }, 1),
    )
    return { nodes, samples, startTime: 0, timeDeltas: samples.map(() => 1000) }
  }
  const phasesOf = (...stacks: Frame[][]) => samplesOf(profileOf(stacks)).map(({ phase }) => phase)
  const idle = [frame('(idle)', '')]
  const kernel = frame('assembly/pack/pack<f32>', 'wasm://wasm/1')

  test('belong to the innermost function that the table names', () => {
    const [basis, ortho, unnamed] = ['startBasis', 'orthonormalize', 'unnamed'].map((name) => frame(name))
    expect(phasesOf([basis], [basis, unnamed, kernel], [basis, ortho], [ortho, basis])).toEqual([
      'basis products',
      'basis products',
      'orthonormalisation',
      'basis products',
    ])
  })

  test('what the probe has others do is its own, by parts', () => {
    const [probe, basis, numbered] = ['complementBounds', 'startBasis', 'orthonormalize2'].map((name) =>
      frame(name),
    )
    expect(phasesOf([probe], [probe, basis], [probe, basis, numbered])).toEqual([
      'probe',
      'probe: basis products',
      'probe: orthonormalisation',
    ])
  })

  test('before any phase are the start, after it another row', () => {
    const unnamed = [frame('unnamed')]
    expect(phasesOf(unnamed, idle, [frame('startBasis')], unnamed, [frame('(program)', '')])).toEqual([
      'start',
      'idle',
      'basis products',
      'other',
      'without a stack',
    ])
  })

  test('without a stack are of the phase around them, as calls of libraries are', () => {
    const [basis, ortho, none] = ['startBasis', 'orthonormalize', '(program)'].map((name) => [frame(name)])
    expect(phasesOf(basis, none, none, basis, none, ortho)).toEqual([
      ...Array(4).fill('basis products'),
      'without a stack',
      'orthonormalisation',
    ])
  })

  test('an idle thread waits for files in the middle of reading, and may do so in that of writing', () => {
    const [reading, writing] = [[frame('sweepOver')], [frame('writeOutput')]]
    const samples = samplesOf(profileOf([reading, idle, reading, idle, writing, idle, writing]))
    expect(samples.map(({ phase, isWait, mayWait }) => [phase, isWait, mayWait])).toEqual([
      ['read + subtract', undefined, undefined],
      ['read + subtract', true, undefined],
      ['read + subtract', undefined, undefined],
      ['idle', undefined, undefined],
      ['write', undefined, undefined],
      ['idle', undefined, 'write'],
      ['write', undefined, undefined],
    ])
  })

  test('of an engine’s thread are idle but for its kernels', () => {
    const helper = frame(HELPER)
    expect(phasesOf([helper], [helper, kernel], [helper])).toEqual(['idle', 'helping', 'idle'])
  })

  test('add up to the time of the profile', () => {
    const samples = samplesOf(profileOf([[frame('startBasis')], idle, [frame('unnamed')], [kernel]]))
    expect(samples.reduce((sum, { time }) => sum + time, 0)).toBe(4000)
    expect(samples.at(-1)?.at).toBe(4000)
  })
})

/** Krylov's method takes over where the short side is longer than 128. */
test('every call of an engine in inspect, extract and verify belongs to a phase', async () => {
  const folder = temporaryFolder()
  makePair(folder, recipeOf({ layers: 1, hidden: 256 }))
  const program = await buildCounting(join(folder, 'programs'))
  const [base, tuned, adapter] = ['base', 'tuned', 'adapter'].map((name) => join(folder, name))
  const file = join(folder, 'counts.json')
  const phasesOf = (...args: string[]) => {
    const { status, stderr } = spawnSync(process.execPath, [program, ...args, '--engine', 'wasm'], {
      env: { ...process.env, PROFILE_COUNTS: file },
      encoding: 'utf8',
    })
    expect(stderr.includes('Error') ? stderr : '').toBe('')
    expect(status).toBe(0)
    const counts: { phase: string; flops: number }[] = JSON.parse(readFileSync(file, 'utf8'))
    return [...new Set(counts.map(({ phase }) => phase))].sort()
  }
  const truncation = [
    'Rayleigh–Ritz',
    'basis products',
    'into the engine',
    'orthonormalisation',
    'probe',
    'probe: basis products',
    'probe: orthonormalisation',
  ]
  const triplets = [
    'A·V of the triplets',
    'full decompositions',
    'measure',
    'triplets',
    'triplets: orthonormalisation',
  ]
  expect(phasesOf('extract', base, tuned, '-o', adapter, '--rank', '16')).toEqual(
    [...truncation, ...triplets].sort(),
  )
  expect(phasesOf('verify', adapter, base, tuned)).toEqual(['measure'])
  expect(phasesOf('inspect', tuned, '--base', base)).toEqual(['full decompositions'])
})
