import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { unzipSync } from 'fflate'
import { afterAll, describe, expect, test } from 'vitest'
import { badInput, LoraSvdError } from '../src/errors.ts'
import { type Mutator, mutateBytes } from './fuzz/bytes.ts'
import { chance } from './fuzz/chance.ts'
import { mutateJson } from './fuzz/json.ts'
import { problemOf, problemOfLine } from './fuzz/judge.ts'
import { removeScratch } from './fuzz/scratch.ts'
import { mutateNpz, mutateSafetensors } from './fuzz/structures.ts'
import { TARGETS } from './fuzz/targets.ts'
import type { Target } from './fuzz/told.ts'
import { problemWith } from './fuzz/trial.ts'

/** The short form of bench/fuzz.mjs: the inputs that it kept, and changes of them. */

const CORPUS = fileURLToPath(new URL('fixtures/fuzz-corpus/', import.meta.url))
const SEED = Number(process.env.FAST_CHECK_SEED ?? 1)
const CHANGED = { slow: 30, other: 200 }
const MOST_MILLISECONDS = 1000

afterAll(removeScratch)

const corpusOf = ({ name }: Pick<Target, 'name'>): Uint8Array[] =>
  readdirSync(join(CORPUS, name))
    .sort()
    .map((file) => readFileSync(join(CORPUS, name, file)))

/** What was wrong with an input, which the message holds whole. */
async function problemIn(target: Target, input: Uint8Array): Promise<string | undefined> {
  const start = performance.now()
  const problem = await problemWith(target, input)
  const wrong = problem ?? (await slowness(target, input, performance.now() - start))
  return wrong && `${wrong}\n${Buffer.from(input).toString('base64')}`
}

/** A busy machine may stop: what is slow is slow again. */
async function slowness(
  target: Target,
  input: Uint8Array,
  milliseconds: number,
): Promise<string | undefined> {
  if (milliseconds <= MOST_MILLISECONDS) return undefined
  const start = performance.now()
  await problemWith(target, input)
  const again = performance.now() - start
  return again > MOST_MILLISECONDS ? `took ${again.toFixed(0)} ms` : undefined
}

describe.each(TARGETS.map((target) => ({ ...target, target })))('$name', ({ target }) => {
  const corpus = corpusOf(target)

  test('the inputs that were kept are read or refused in one line', async () => {
    expect(corpus.length).toBeGreaterThan(2)
    for (const input of corpus) expect(await problemIn(target, input)).toBeUndefined()
  })

  test('so are changes of them', async () => {
    const { below, of, ...rest } = chance(SEED)
    for (let i = 0; i < (target.isSlow ? CHANGED.slow : CHANGED.other); i++) {
      const pool = { other: of(corpus), words: [] }
      const input = of(target.mutators)(of(corpus), { below, of, ...rest }, pool)
      expect(await problemIn(target, input.subarray(0, 8192))).toBeUndefined()
    }
  })
})

test('each folder of inputs is a parser’s', () => {
  expect(existsSync(CORPUS) && readdirSync(CORPUS).sort()).toEqual(TARGETS.map(({ name }) => name).sort())
})

describe('what counts as wrong', () => {
  test('an error that is not ours, with its place', () => {
    const crash = new TypeError('x is undefined')
    expect(problemOf(crash, false)).toMatch(/^TypeError: x is undefined \(at .*fuzz\.test\.ts/)
    expect(problemOf('text', false)).toBe('threw text')
  })

  test('a refusal of the machine’s, but from a server', () => {
    const refusal = new LoraSvdError('system', 'host: fails')
    expect(problemOf(refusal, false)).toBe('refused as system: host: fails')
    expect(problemOf(refusal, true)).toBeUndefined()
  })

  test.each([
    ['two\nlines', /more than one line/],
    ['turned \u202e round', /more than one line/],
    ['long '.repeat(500), /2500 characters/],
    ['', /without a word/],
  ])('a message that begins %.20s', (message, problem) => {
    expect(problemOf(badInput(message), false)).toMatch(problem)
  })

  test('a line that names something as it is stored is none: it is made printable where it is printed', () => {
    expect(problemOf(badInput('a: is no file; name another'), false)).toBeUndefined()
    expect(problemOfLine('tensor a\nb')).toBeUndefined()
    expect(problemOfLine('x'.repeat(2001))).toMatch('2001 characters')
  })

  test('a target that throws, tells or says it', async () => {
    const target = (run: Target['run']): Target => ({ name: 'any', run, mutators: [] })
    const nothing = new Uint8Array(0)
    expect(
      await problemWith(
        target(async () => {}),
        nothing,
      ),
    ).toBeUndefined()
    const throwing = target(async () => {
      throw new RangeError('outside')
    })
    expect(await problemWith(throwing, nothing)).toMatch('RangeError: outside')
    const telling = target(async (_, { refused }) => refused(badInput('a\nb')))
    expect(await problemWith(telling, nothing)).toMatch('more than one line')
    expect(
      await problemWith(
        target(async (_, { said }) => said('')),
        nothing,
      ),
    ).toMatch('without a word')
  })
})

describe('mutators', () => {
  const mutants = (name: string, mutate: Mutator, count = 200) => {
    const corpus = corpusOf({ name })
    const chances = chance(7)
    return Array.from({ length: count }, () =>
      mutate(chances.of(corpus), chances, { other: chances.of(corpus), words: ['F32', 'shape'] }),
    )
  }
  const share = (all: readonly Uint8Array[], test: (one: Uint8Array) => boolean) =>
    all.filter((one) => doesNotThrow(() => test(one))).length / all.length
  const doesNotThrow = (test: () => boolean) => {
    try {
      return test()
    } catch {
      return false
    }
  }

  test('the same seed makes the same', () => {
    expect(mutants('npy', mutateBytes, 50)).toEqual(mutants('npy', mutateBytes, 50))
    expect(new Set(mutants('npy', mutateBytes, 50).map(String)).size).toBeGreaterThan(40)
  })

  test.each(TARGETS)('$name: what is changed stays as it is', (target) => {
    const corpus = corpusOf(target)
    const before = corpus.map((input) => Buffer.from(input).toString('hex'))
    const chances = chance(3)
    for (let i = 0; i < 300; i++) {
      const pool = { other: chances.of(corpus), words: ['F32'] }
      chances.of(target.mutators)(chances.of(corpus), chances, pool)
    }
    expect(corpus.map((input) => Buffer.from(input).toString('hex'))).toEqual(before)
  })

  test('that know a format leave its frame whole, so that a parser goes on past it', () => {
    const saysLength = (bytes: Uint8Array) => {
      const length = Number(Buffer.from(bytes).readBigUInt64LE(0))
      return bytes.length >= 8 + length && bytes[8] === 0x7b
    }
    expect(share(mutants('safetensors', mutateSafetensors), saysLength)).toBeGreaterThan(0.5)
    expect(share(mutants('npz', mutateNpz), (bytes) => unzipSync(bytes) !== undefined)).toBeGreaterThan(0.5)
    const isJson = (bytes: Uint8Array) => JSON.parse(Buffer.from(bytes).toString()) !== undefined
    expect(share(mutants('adapter-config', mutateJson), isJson)).toBeGreaterThan(0.5)
  })
})
