import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { BASE, extracted, TUNED } from './extract-support.ts'
import { runInProcess, temporaryFolder } from './run.ts'
import { documentOf } from './schema.ts'

/**
 * moments-reference.json was made by PyTorch in float64 on the fixture's own model: at each rank the best factors in the plain norm, in that of
 * the diagonals and in that of the full second moments, with their error in their own norm, in the plain one, and in that of the full moments.
 */
const digits = (name: string) => fileURLToPath(new URL(`../fixtures/digits-llama/${name}`, import.meta.url))
const MOMENTS = digits('moments.safetensors')
const FLAGS = {
  plain: [],
  diagonal: ['--moments', digits('imatrix.gguf')],
  full: ['--moments', MOMENTS],
} as const

interface Errors {
  readonly weighted: number
  readonly plain: number
  readonly output: number
}
type Kind = keyof typeof FLAGS

const REFERENCE: Readonly<Record<string, Record<Kind, { readonly errors: Record<string, Errors> }>>> =
  JSON.parse(readFileSync(digits('moments-reference.json'), 'utf8')).ranks

/** Float32 moments are the reference's own rounded, so that the norms differ by their rounding. */
const CLOSE = 1e-6

const cases = Object.keys(REFERENCE).flatMap((rank) =>
  (Object.keys(FLAGS) as Kind[]).map((kind) => ({ rank, kind })),
)

test.for(cases)(
  'rank $rank, $kind: the errors are those of PyTorch, in both norms',
  async ({ rank, kind }) => {
    const folder = temporaryFolder()
    const { errors } = REFERENCE[rank][kind]
    const wanted = ['--rank', rank, '--include', '*proj*', '--dtype', 'f32']
    const document = await extracted(BASE, TUNED, `${folder}/adapter`, [...wanted, ...FLAGS[kind]])
    expect(document.layers).toHaveLength(Object.keys(errors).length)
    for (const layer of document.layers) {
      const { weighted, plain } = errors[layer.name]
      expect(Math.abs(layer.relativeError / plain - 1), layer.name).toBeLessThan(CLOSE)
      if (kind === 'plain') {
        expect(layer.output).toBeUndefined()
        continue
      }
      expect(layer.output.moments).toBe(kind)
      expect(Math.abs(layer.output.relativeError / weighted - 1), layer.name).toBeLessThan(CLOSE)
      expect(layer.output.optimalError.atLeast).toBeLessThanOrEqual(weighted * (1 + CLOSE))
      expect(layer.output.optimalError.atMost).toBeGreaterThanOrEqual(weighted * (1 - CLOSE))
    }
    const verified = await runInProcess(
      ['verify', `${folder}/adapter`, BASE, TUNED, '--include', '*proj*', '--moments', MOMENTS, '--json'],
      {},
    )
    expect(verified.stderr).toBe('')
    const { layers } = documentOf(verified.stdout, 'verify-1')
    for (const { name, output } of layers) {
      expect(Math.abs(output.relativeError / errors[name].output - 1), name).toBeLessThan(CLOSE)
    }
  },
)
