import { assertNotRead } from '../checkpoint/not-read.ts'
import { readMatrixFromAny } from '../checkpoint/read-matrix-from-any.ts'
import type { Engine } from '../engine/engine.ts'
import { openEngine } from '../engine/open-engine.ts'
import { decompositionFlops, type EngineRequest } from '../engine/policy.ts'
import { badInput, badUsage, ExitCode } from '../errors.ts'
import { assertFinite, assertInRange } from '../formats/finite.ts'
import { type NamedMatrix, STANDARD_INPUT } from '../formats/read-matrix.ts'
import { assertWritable, writeFileAtomic } from '../formats/write-atomic.ts'
import type { Matrix } from '../matrix/matrix.ts'
import { allowedTail } from '../rank/allowed-tail.ts'
import type { RankRule } from '../rank/rules.ts'
import { writeJson } from '../report/json.ts'
import { noticesTo } from '../report/notice.ts'
import { shape } from '../report/numbers.ts'
import { withStatus } from '../report/status.ts'
import { factorsOf } from '../svd/factors.ts'
import { removingTemporaries } from '../terminal/interrupt.ts'
import type { Terminal } from '../terminal/terminal.ts'
import { truncatedSvd } from '../truncation/truncated-svd.ts'
import type { TruncatedSvd } from '../truncation/types.ts'
import { factorDocument } from './document.ts'
import { factorsChunks, readFactors } from './factors-file.ts'
import { measureError } from './measure-error.ts'
import { type FactorPlan, outputDtype } from './plan.ts'
import type { FactorResult } from './result.ts'
import { factorTables } from './tables.ts'

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
  const bytes = await removingTemporaries(() => writeFileAtomic(plan.output, chunks, plan))

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
