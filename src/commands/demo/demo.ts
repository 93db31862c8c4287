import { decompositionFlops, type EngineRequest, openEngine } from '../../engine/open.ts'
import { ExitCode } from '../../errors.ts'
import type { FloatArray, FloatType } from '../../linalg/matrix/matrix.ts'
import { seedrandomNormals } from '../../random/seedrandom.ts'
import { torchNormals } from '../../random/torch.ts'
import { writeJson } from '../../report/json.ts'
import { noticesTo, withStatus } from '../../report/watched-jobs.ts'
import type { Terminal } from '../../terminal/terminal.ts'
import { shape } from '../../text/numbers.ts'
import { demoDocument } from './document.ts'
import { createNotebookMath } from './math.ts'
import { measure, type NotebookOptions, runNotebook, type Tolerances } from './notebook.ts'
import { demoTables } from './text.ts'

export interface DemoOptions extends NotebookOptions, Tolerances, EngineRequest {
  readonly seed: bigint
  readonly rng: 'seedrandom' | 'torch'
  readonly dtype: FloatType
}

export interface DemoOutput {
  readonly json: boolean
  readonly quiet: boolean
  /** Print the matrices in the report, as the notebook does. */
  readonly show: boolean
  /** Put the matrices into the JSON document. */
  readonly matrices: boolean
}

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
