import { type NamedMatrix, readMatrixFrom, readMatrixFromAny } from '../../checkpoint/read-matrix.ts'
import type { WeighedOutput } from '../../combine/result.ts'
import { plainSubject, weighedSubject } from '../../compress/subject.ts'
import { decompositionFlops } from '../../engine/choice.ts'
import { openEngine } from '../../engine/open.ts'
import { badInput, badUsage } from '../../errors.ts'
import { type FloatDtype, findOverflow, type StoredDtype, vanishes } from '../../formats/dtype.ts'
import type { NpyFloat } from '../../formats/npy.ts'
import { writeNpz } from '../../formats/npz.ts'
import { safetensorsDtypeOf } from '../../formats/safetensors-dtype.ts'
import { layoutSafetensors, safetensorsChunks } from '../../formats/safetensors-writer.ts'
import { assertNotRead, assertUnchanged } from '../../io/files.ts'
import { asRead } from '../../io/remote/hub.ts'
import { openFile, STANDARD_INPUT } from '../../io/source.ts'
import { assertWritable, type Chunks, writeFileAtomic } from '../../io/write-atomic.ts'
import { doOne, inContext, type RunContext } from '../../jobs/context.ts'
import type { Engine, EngineName } from '../../linalg/engine.ts'
import { assertFinite, assertInRange } from '../../linalg/matrix/finite.ts'
import { epsilonOf, floatType, type Matrix, matrix, toFloat64 } from '../../linalg/matrix/matrix.ts'
import { frobeniusNorm, isSquarable, largestAbs, relativeResidual } from '../../linalg/matrix/norms.ts'
import { numericalRank } from '../../linalg/spectrum/ranks.ts'
import { allowedTail, type RankLimits, type RankRule } from '../../linalg/spectrum/rules.ts'
import type { ElementCounts } from '../../linalg/svd/svd.ts'
import { elementCounts, type Factors, factorsOf } from '../../linalg/svd/svd.ts'
import {
  type Certificate,
  type Interval,
  type TruncatedSvd,
  truncatedSvd,
} from '../../linalg/truncation/truncated-svd.ts'
import { weighedNorm } from '../../linalg/weighting/weigh.ts'
import { shape } from '../../text/numbers.ts'
import { type MatrixMoments, matrixMoments } from './moments.ts'
import {
  type FactorOptions,
  type FactorSettings,
  type FactorsFormat,
  factorSettings,
  outputDtype,
} from './options.ts'

/** What `factor` found and wrote. */
export interface FactorResult {
  readonly source: {
    /** As it was given. */
    readonly path: string
    /** The tensor's or array's name, or the file's. */
    readonly name: string
    readonly dtype: StoredDtype
  }
  readonly rule: RankRule
  readonly limits: RankLimits
  readonly shape: readonly [rows: number, columns: number]
  readonly rank: number
  /** As NumPy's matrix_rank counts; where all singular values are known. */
  readonly numericalRank?: number
  /** All singular values where `complete`, else the leading ones, non-increasing. */
  readonly singularValues: Float64Array
  readonly complete: boolean
  /** ‖W‖_F */
  readonly frobenius: number
  /** Float type of the factors. */
  readonly dtype: FloatDtype
  /** ‖W − B·A‖_F / ‖W‖_F of the factors as they lie on disk. */
  readonly relativeError: number
  /** In the norm that the inputs of W feel, where moments of them were given: spectrum, certificate and rule are then about it. */
  readonly weighed?: Omit<WeighedOutput, 'optimalError'> & {
    /** ‖W − B·A‖_F / ‖W‖_F of the best factors of that rank in the plain norm. */
    readonly plainOptimalError: Interval
    /** As `relativeError`, and the best possible, in the norm of the inputs. */
    readonly optimalError: Interval
  }
  /** The same of the best approximation of that rank. */
  readonly optimalError: Interval
  readonly certificate: Certificate
  readonly method: TruncatedSvd['method']
  readonly engine: EngineName
  /** Whether what is on disk does what the rule asked. */
  readonly holds: boolean
  readonly elements: ElementCounts
  readonly output: { readonly path: string; readonly format: FactorsFormat; readonly bytes: number }
}

/** Up to this short side the whole spectrum is computed, in a fraction of a second, to be shown around the cut. */
const WHOLE_SPECTRUM_UP_TO = 512

/**
 * Reads a matrix W [d, k], factors it into lora_B = U_r·diag(S_r) [d, r] and lora_A = V_rᵀ [r, k], writes these to a file, reads them
 * back, and measures what they leave. Throws LoraSvdError: `bad-usage` and `bad-input` for what can't be done, `output-exists`,
 * `not-finite` on NaN and infinity, `system` where the machine fails, `interrupted`.
 */
export async function factor(options: FactorOptions): Promise<FactorResult> {
  const settings = factorSettings(options)
  return inContext(options, (context) => factored(settings, context))
}

async function factored(settings: FactorSettings, context: RunContext): Promise<FactorResult> {
  const { input, output, format, rule, limits } = settings
  const outputs = { '--out': output }
  await assertNotRead(outputs, [{ path: input }])
  await assertWritable(output, { force: settings.force, onlyFile: true })
  const { tensor, header } = settings
  const source = await readMatrixFromAny(input, { tensor, header, ...context.opening })
  // of a folder or an index only now is known what is read
  await assertNotRead(outputs, source.files)
  assertFactorable(settings, source)
  for (const warning of source.warnings ?? []) context.notice(warning)

  const W = source.matrix
  const flops = decompositionFlops(W.rows, W.columns)
  const engine = await openEngine(context.request, flops, context.notice)
  const weighing =
    settings.moments === undefined
      ? undefined
      : await matrixMoments(settings.moments, source.name, W, engine, context)
  const ofW = weighing && frobeniusNorm(W.data)
  const subject =
    weighing === undefined || ofW === undefined || weighing.root.kind === 'unit'
      ? plainSubject(W, 0, engine)
      : weighedSubject({ matrix: W, frobenius: ofW }, weighing.root, false, engine)
  const truncation = await doOne('factoring', shape(W.rows, W.columns), flops, context, () =>
    truncate(subject.matrix, source.name, settings, engine),
  )
  assertInRange([truncation.S, truncation.spectrum, [truncation.frobenius]], placeOf(settings, source))
  const { rank, spectrum, frobenius } = truncation
  const dtype = outputDtype(settings, source.dtype)
  await assertUnchanged({ files: source.identity })
  const { U, V, lengths } = subject.directions(truncation)
  const S = lengths === undefined ? truncation.S : Float64Array.from(lengths)
  const chunks = factorsChunks(factorsOf({ U, S, V }, rank), dtype, format)
  const bytes = await writeFileAtomic(output, chunks, settings)

  const stored = await readFactors(output)
  const relativeError = measureError(engine, W, stored, ofW ?? frobenius)
  const weighed = weighing && weighedFields(weighing, W, stored, truncation, settings, engine)
  const felt = weighed?.relativeError ?? relativeError
  if (weighing !== undefined) await assertUnchanged(weighing.file)
  return {
    source: { path: asRead(input), name: source.name, dtype: source.dtype },
    rule,
    limits,
    shape: [W.rows, W.columns],
    rank,
    ...(spectrum !== undefined && {
      numericalRank: numericalRank(spectrum, W.rows, W.columns, epsilonOf[floatType(W)]),
    }),
    singularValues: spectrum ?? truncation.S,
    complete: spectrum !== undefined,
    frobenius,
    dtype,
    relativeError,
    ...(weighed !== undefined && { weighed }),
    optimalError: weighed?.plainOptimalError ?? truncation.optimalError,
    certificate: truncation.certificate,
    method: truncation.method,
    engine: engine.name,
    holds: felt ** 2 <= allowedTail(rule),
    elements: elementCounts(W, rank),
    output: { path: output, format, bytes },
  }
}

/** The factors in the norm of the inputs, and what the best in the plain norm would be there. */
function weighedFields(
  { moments, root }: MatrixMoments,
  W: Matrix,
  { B, A }: Factors,
  { rank, optimalError, frobenius }: TruncatedSvd,
  settings: FactorSettings,
  engine: Engine,
): NonNullable<FactorResult['weighed']> {
  const rest = residualMatrix(engine, W, B, A)
  const { samples, kind } = moments
  const plainly = truncate(
    W,
    'plain',
    { ...settings, rule: { kind: 'rank', rank: Math.max(1, rank) }, limits: {} },
    engine,
  )
  return {
    ...{ moments: kind, frobenius, relativeError: weighedNorm(engine, rest, root) / frobenius },
    ...{
      optimalError,
      plainOptimalError: plainly.optimalError,
      floored: root.kind === 'unit' ? 0 : root.floored,
    },
    ...(samples !== undefined && { samples }),
  }
}

/** W − B·A in float64. */
function residualMatrix(engine: Engine, W: Matrix, B: Matrix, A: Matrix): Matrix {
  const product = engine.multiply(toFloat64(B), A)
  return matrix(
    W.rows,
    W.columns,
    Float64Array.from(W.data, (x, i) => x - product.data[i]),
  )
}

function truncate(
  W: Matrix,
  name: string,
  { rule, limits, seed, certify }: FactorSettings,
  engine: Engine,
): TruncatedSvd {
  const isSmall = Math.min(W.rows, W.columns) <= WHOLE_SPECTRUM_UP_TO
  return truncatedSvd(W, rule, { engine, limits, name, seed, certify, ...(isSmall && { largestShare: 0 }) })
}

function placeOf({ input, tensor }: FactorSettings, { name }: NamedMatrix) {
  const file = input === '-' ? STANDARD_INPUT : input
  return tensor === undefined ? { file } : { file, tensor: name }
}

function assertFactorable(settings: FactorSettings, source: NamedMatrix): void {
  const W = source.matrix
  const place = placeOf(settings, source)
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
    '--rank': settings.rule.kind === 'rank' ? settings.rule.rank : 0,
    '--min-rank': settings.limits.minRank ?? 0,
  }
  for (const [flag, rank] of Object.entries(asked)) {
    if (rank > most) {
      throw badUsage(
        `${flag} ${rank}: ${file} is ${W.rows} × ${W.columns}, so its rank is ${most} at most; use ${flag} ${most} or less`,
      )
    }
  }
}

/**
 * ‖W − B·A‖_F / ‖W‖_F in float64: swept by the engine, or by plain loops that also scale where squares would leave the
 * range of numbers. `frobenius` is ‖W‖_F.
 */
function measureError(engine: Engine, W: Matrix, { B, A }: Factors, frobenius: number): number {
  if (engine.name === 'js' || !isSquarable(frobenius)) return relativeResidual(W, B, A)
  const resident = engine.resident(W)
  try {
    return Math.sqrt(resident.residualSquared(B, A) / resident.frobeniusSquared())
  } finally {
    resident.release()
  }
}

/** The names of the two factors in the file. */
const NAMES = { A: 'lora_A', B: 'lora_B' } as const

/** The bytes of a file with `lora_A` and `lora_B`. Throws `bad-input` where an entry is too large for the dtype. */
function factorsChunks({ A, B }: Factors, dtype: FloatDtype, format: FactorsFormat): Chunks {
  refuseLoss(NAMES.A, A, dtype)
  refuseLoss(NAMES.B, B, dtype)
  if (format === 'npz') {
    // the plan has refused bf16, which NumPy doesn't have
    const stored = dtype as NpyFloat
    return [
      writeNpz([
        { name: NAMES.A, array: A, dtype: stored },
        { name: NAMES.B, array: B, dtype: stored },
      ]),
    ]
  }
  const tensor = (name: string, M: Matrix) => ({
    name,
    dtype: safetensorsDtypeOf(dtype),
    shape: [M.rows, M.columns],
    data: M.data,
  })
  return safetensorsChunks(layoutSafetensors([tensor(NAMES.A, A), tensor(NAMES.B, B)], { format: 'pt' }))
}

/** The factors as they lie on disk. */
async function readFactors(path: string): Promise<Factors> {
  const source = await openFile(path)
  try {
    const A = await readMatrixFrom(source, { tensor: NAMES.A })
    const B = await readMatrixFrom(source, { tensor: NAMES.B })
    return { A: A.matrix, B: B.matrix }
  } finally {
    await source.close()
  }
}

/** Throws `bad-input` where the dtype can't hold an entry, or where nothing would be left of the factor. */
function refuseLoss(tensor: string, M: Matrix, dtype: FloatDtype): void {
  const wider = dtype === 'f16' ? '--dtype bf16 or f32' : '--dtype f64'
  const at = findOverflow(M.data, dtype)
  if (at >= 0) {
    throw badInput(
      `${tensor} has an entry of ${M.data[at].toPrecision(3)}, too large for ${dtype}; use ${wider}`,
      { tensor },
    )
  }
  if (!vanishes(M.data, dtype)) return
  throw badInput(
    `${tensor} has no entry beyond ${largestAbs(M.data).toPrecision(3)}, and all are zero in ${dtype}; use ${wider}`,
    { tensor },
  )
}
