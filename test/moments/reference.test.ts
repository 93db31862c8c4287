import { expect, test } from 'vitest'
import { openCheckpoint } from '../../src/checkpoint/open.ts'
import { weighedSubject } from '../../src/compress/subject.ts'
import { createWasmEngine } from '../../src/engine/wasm/wasm-engine.ts'
import { frobeniusNorm } from '../../src/linalg/matrix/norms.ts'
import { factorsOf } from '../../src/linalg/svd/svd.ts'
import { truncatedSvd } from '../../src/linalg/truncation/truncated-svd.ts'
import { weighedNorm } from '../../src/linalg/weighting/weigh.ts'
import { matchMoments } from '../../src/moments/match.ts'
import { openMoments } from '../../src/moments/open.ts'
import { rootOfMoments } from '../../src/moments/root.ts'
import { BASE, TUNED, weightsOf } from '../cli/extract-support.ts'
import { IMATRIX, MOMENTS, REFERENCE } from '../moments-fixture.ts'

const engine = createWasmEngine({ threads: 1 })
const base = await openCheckpoint(BASE)
const [before, after] = [BASE, TUNED].map(weightsOf)
const NAMES = Object.keys(REFERENCE['1'].full.errors)
const RANKS = Object.keys(REFERENCE).map(Number)
/** The reference's norms are of float32 moments with no floor under their eigenvalues. */
const CLOSE = 1e-6

const layers = NAMES.map((name) => {
  const [rows, columns] = before.get(name)!.shape
  return { tensors: [name], rows, columns, isTransposed: false }
})
const delta = (name: string) => {
  const { shape, data } = before.get(name)!
  const tuned = after.get(name)!.data
  return { rows: shape[0], columns: shape[1], data: Float64Array.from(data, (x, i) => tuned[i] - x) }
}
const full = matchMoments(await openMoments(MOMENTS, {}), layers, base)

test.for([
  { kind: 'full' as const, file: MOMENTS },
  { kind: 'diagonal' as const, file: IMATRIX },
])('$kind moments: at every rank the errors of PyTorch, in all norms', async ({ kind, file }) => {
  const found = matchMoments(await openMoments(file, {}), layers, base)
  expect(found.map((one) => [one?.kind, one?.samples])).toEqual(NAMES.map(() => [kind, 16640]))
  let worst = 0
  for (const [i, name] of NAMES.entries()) {
    const D = delta(name)
    const frobenius = frobeniusNorm(D.data)
    const subject = weighedSubject(
      { matrix: D, frobenius },
      await rootOfMoments(found[i]!, engine),
      false,
      engine,
    )
    const inputs = await rootOfMoments(full[i]!, engine)
    const felt = weighedNorm(engine, D, inputs)
    const svd = truncatedSvd(subject.matrix, { kind: 'rank', rank: Math.max(...RANKS) }, { engine })
    const { U, V, lengths } = subject.directions(svd)
    for (const rank of RANKS) {
      const { B, A } = factorsOf({ U, S: Float64Array.from(lengths!), V }, rank)
      const expected = REFERENCE[rank][kind].errors[name]
      const left = engine.multiply(B, A).data
      const rest = { ...D, data: D.data.map((x, at) => x - left[at]) }
      const { residual, plainResidual } = subject.residuals(svd, B, A)
      const errors = {
        weighted: residual / subject.frobenius,
        plain: plainResidual! / frobenius,
        output: weighedNorm(engine, rest, inputs) / felt,
      }
      for (const norm of ['weighted', 'plain', 'output'] as const) {
        worst = Math.max(worst, Math.abs(errors[norm] / expected[norm] - 1))
      }
    }
  }
  expect(worst).toBeLessThan(CLOSE)
})
