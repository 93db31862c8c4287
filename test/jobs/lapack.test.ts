import { afterAll, beforeAll, expect, test } from 'vitest'
import { runJobs } from '../../src/jobs/run-jobs.ts'
import { describeLapack } from '../engine/lapack-suite.ts'
import { type Bundles, bundle } from './bundle.ts'
import { type Decomposed, decompose } from './test-worker.ts'

describeLapack({ 'in several workers': testWorkers })

function testWorkers(): void {
  let bundles: Bundles
  beforeAll(async () => {
    bundles = await bundle(['test/jobs/test-worker.ts'])
  })
  afterAll(() => bundles.remove())

  const jobs = Array.from({ length: 24 }, (_, i) => ({ order: 150 + 10 * (i % 4), seed: i % 6 }))

  async function run(threads: number): Promise<Decomposed[]> {
    const results: Decomposed[] = []
    const options = {
      kind: 'decompose',
      work: decompose,
      threads,
      engine: 'lapack',
      flopsOf: () => 1e9,
      bytesOf: () => 1,
      memory: 1e9,
      notice: () => {},
      workerFile: bundles.url('test-worker.js'),
    } as const
    for await (const result of runJobs(jobs, options)) results.push(result)
    return results
  }

  test('each calls the library with one thread, and all get the bits that a single one gets', async () => {
    const expected = await run(1)
    expect(new Set(expected.map(({ engine }) => engine))).toEqual(new Set(['lapack']))
    for (let round = 0; round < 2; round++) expect(await run(6)).toEqual(expected)
  })
}
