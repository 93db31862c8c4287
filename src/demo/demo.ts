import { openEngine } from '../engine/open-engine.ts'
import { decompositionFlops } from '../engine/policy.ts'
import { ExitCode } from '../errors.ts'
import type { FloatArray } from '../matrix/matrix.ts'
import { seedrandomNormals } from '../random/seedrandom-normal.ts'
import { torchNormals } from '../random/torch-normal.ts'
import { writeJson } from '../report/json.ts'
import { noticesTo } from '../report/notice.ts'
import { shape } from '../report/numbers.ts'
import { withStatus } from '../report/status.ts'
import type { Terminal } from '../terminal/terminal.ts'
import { demoDocument } from './document.ts'
import { createNotebookMath } from './math.ts'
import { measure } from './measure.ts'
import { runNotebook } from './notebook.ts'
import type { DemoOptions, DemoOutput } from './options.ts'
import { demoTables } from './tables.ts'

/** Runs the notebook, reports, and returns the exit code: whether y is allclose to yRef. */
export async function demo(options: DemoOptions, output: DemoOutput, terminal: Terminal): Promise<number> {
  const engine = await openEngine(
    options,
    decompositionFlops(options.d, options.k),
    noticesTo(terminal, output.quiet),
  )
  const math = createNotebookMath(randnOf(options), options.dtype, engine)
  const status = `decomposing ${shape(options.d, options.k)}`
  const [notebook, figures] = await withStatus(terminal, output.quiet, status, () => {
    const notebook = runNotebook(math, options)
    return [notebook, measure(notebook, options.dtype, options)] as const
  })
  if (output.json) await writeJson(terminal, demoDocument(options, notebook, figures, output.matrices))
  else if (!output.quiet) await terminal.out(demoTables(options, notebook, figures, output.show, terminal))
  return figures.allclose.allclose ? ExitCode.ok : ExitCode.checkFailed
}

/** The `randn` of a run: the next `count` numbers of the stream in the arithmetic's float type. */
function randnOf({ rng, seed, dtype }: DemoOptions): (count: number) => FloatArray {
  if (rng === 'seedrandom') {
    const stream = seedrandomNormals(seed)
    return (count) => stream.normals(count, dtype)
  }
  const stream = torchNormals(seed)
  if (dtype === 'f32') return (count) => stream.normals(count, 'f32')
  // The notebook draws float32: with float64 arithmetic the numbers are the same ones, widened.
  return (count) => Float64Array.from(stream.normals(count, 'f32'))
}
