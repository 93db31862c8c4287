import { type NamedMatrix, readMatrixFromAny } from '../../checkpoint/read-matrix.ts'
import { decompositionFlops, type EngineRequest, openEngine } from '../../engine/open.ts'
import { badInput, badUsage, ExitCode } from '../../errors.ts'
import type { FloatDtype } from '../../formats/dtype.ts'
import { assertNotRead } from '../../io/files.ts'
import { STANDARD_INPUT } from '../../io/source.ts'
import { assertWritable, writeFileAtomic } from '../../io/write-atomic.ts'
import type { Engine, EngineName } from '../../linalg/engine.ts'
import { assertFinite, assertInRange } from '../../linalg/matrix/finite.ts'
import type { Matrix } from '../../linalg/matrix/matrix.ts'
import { isSquarable, relativeResidual } from '../../linalg/matrix/norms.ts'
import { allowedTail, type RankRule } from '../../linalg/spectrum/rules.ts'
import { type Factors, factorsOf } from '../../linalg/svd/svd.ts'
import { truncatedSvd } from '../../linalg/truncation/truncated-svd.ts'
import type { TruncatedSvd } from '../../linalg/truncation/types.ts'
import { writeJson } from '../../report/json.ts'
import { noticesTo, withStatus } from '../../report/watched-jobs.ts'
import type { Terminal } from '../../terminal/terminal.ts'
import { shape } from '../../text/numbers.ts'
import { factorDocument } from './document.ts'
import { factorsChunks, readFactors } from './factors-file.ts'
import { type FactorPlan, outputDtype } from './options.ts'
import { factorTables } from './text.ts'

/** What `factor` found and wrote. */
export interface FactorResult {
  readonly plan: FactorPlan
  readonly source: NamedMatrix
  readonly engine: EngineName
  readonly truncation: TruncatedSvd
  readonly dtype: FloatDtype
  /** ‖W − B·A‖_F / ‖W‖_F of the factors as they lie on disk. */
  readonly relativeError: number
  /** Whether what is on disk does what the rule asked. */
  readonly holds: boolean
  readonly bytes: number
}

/** Up to this short side the whole spectrum is computed, in a fraction of a second, to be shown around the cut. */
const WHOLE_SPECTRUM_UP_TO = 512

/** Reads a matrix, factors it, writes the factors, measures what was written, and reports. Gives the exit code. */
export async function factor(
  plan: FactorPlan,
  request: EngineRequest,
  output: { json: boolean; quiet: boolean },
  terminal: Terminal,
): Promise<number> {
  const outputs = { '--out': plan.output }
  await assertNotRead(outputs, [{ path: plan.input }])
  await assertWritable(plan.output, { force: plan.force, onlyFile: true })
  const source = await readMatrixFromAny(plan.input, {
    tensor: plan.tensor,
    header: plan.header,
    stdin: terminal.stdin,
    env: terminal.env,
  })
  // of a folder or an index only now is known what is read
  await assertNotRead(outputs, source.files)
  assertFactorable(plan, source)
  const notice = noticesTo(terminal, output.quiet)
  for (const warning of source.warnings ?? []) notice(warning)

  const W = source.matrix
  const engine = await openEngine(request, decompositionFlops(W.rows, W.columns), notice)
  const status = `factoring ${shape(W.rows, W.columns)}`
  const truncation = await withStatus(terminal, output.quiet, status, () =>
    truncate(W, source.name, plan, engine),
  )
  assertInRange([truncation.S, truncation.spectrum, [truncation.frobenius]], placeOf(plan, source))
  const dtype = outputDtype(plan, source.dtype)
  const chunks = factorsChunks(factorsOf(truncation, truncation.rank), dtype, plan.format)
  const bytes = await writeFileAtomic(plan.output, chunks, plan)

  const written = await readFactors(plan.output)
  const relativeError = measureError(engine, W, written, truncation.frobenius)
  const result: FactorResult = {
    plan,
    source,
    engine: engine.name,
    truncation,
    dtype,
    relativeError,
    holds: holds(plan.rule, relativeError),
    bytes,
  }
  if (output.json) await writeJson(terminal, factorDocument(result))
  else if (!output.quiet) await terminal.out(factorTables(result, terminal))
  return result.holds ? ExitCode.ok : ExitCode.checkFailed
}

function truncate(
  W: Matrix,
  name: string,
  { rule, limits, seed, certify }: FactorPlan,
  engine: Engine,
): TruncatedSvd {
  const isSmall = Math.min(W.rows, W.columns) <= WHOLE_SPECTRUM_UP_TO
  return truncatedSvd(W, rule, { engine, limits, name, seed, certify, ...(isSmall && { largestShare: 0 }) })
}

function placeOf({ input, tensor }: FactorPlan, { name }: NamedMatrix) {
  const file = input === '-' ? STANDARD_INPUT : input
  return tensor === undefined ? { file } : { file, tensor: name }
}

function assertFactorable(plan: FactorPlan, source: NamedMatrix): void {
  const W = source.matrix
  const place = placeOf(plan, source)
  const { file } = place
  const most = Math.min(W.rows, W.columns)
  if (most === 0) {
    throw badInput(
      `${file}: holds a matrix of ${W.rows} × ${W.columns}; give one with at least a row and a column`,
      place,
    )
  }
  assertFinite(W, place)
  const asked = {
    '--rank': plan.rule.kind === 'rank' ? plan.rule.rank : 0,
    '--min-rank': plan.limits.minRank ?? 0,
  }
  for (const [flag, rank] of Object.entries(asked)) {
    if (rank > most) {
      throw badUsage(
        `${flag} ${rank}: ${file} is ${W.rows} × ${W.columns}, so its rank is ${most} at most; use ${flag} ${most} or less`,
      )
    }
  }
}

const holds = (rule: RankRule, relativeError: number): boolean => relativeError ** 2 <= allowedTail(rule)

/**
 * ‖W − B·A‖_F / ‖W‖_F in float64: swept by the engine, or by plain loops that also scale where squares would leave the
 * range of numbers. `frobenius` is ‖W‖_F.
 */
export function measureError(engine: Engine, W: Matrix, { B, A }: Factors, frobenius: number): number {
  if (engine.name === 'js' || !isSquarable(frobenius)) return relativeResidual(W, B, A)
  const resident = engine.resident(W)
  try {
    return Math.sqrt(resident.residualSquared(B, A) / resident.frobeniusSquared())
  } finally {
    resident.release()
  }
}
