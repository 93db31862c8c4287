import type { ChalkInstance } from 'chalk'
import { type FloatArray, type Matrix, matrix } from '../../linalg/matrix/matrix.ts'
import { spectrumTable } from '../../report/spectrum.ts'
import { table } from '../../report/table.ts'
import { tensorText } from '../../report/tensor-text.ts'
import type { Terminal } from '../../terminal/terminal.ts'
import { grouped, percent, shape, short } from '../../text/numbers.ts'
import { wrap } from '../../text/width.ts'
import type { DemoResult } from './notebook.ts'
import { failureReason } from './reason.ts'

/** Of a section's text under its number. */
const INDENT = '   '

/** The notebook's story in its order: W, its rank, its spectrum, the two factors, the comparison, the count. */
export function demoTables(
  result: DemoResult,
  show: boolean,
  terminal: Pick<Terminal, 'paint' | 'columns'>,
): string {
  const { paint, columns } = terminal
  const story = { result, options: result.options, show, paint, columns }
  const sections = [title, lowRankMatrix, spectrum, factors, comparison, count]
  return `${sections.map((section) => section(story)).join('\n\n')}\n`
}

interface Story {
  readonly result: DemoResult
  readonly options: DemoResult['options']
  readonly show: boolean
  readonly paint: ChalkInstance
  readonly columns: number
}

function title({ options, paint, columns }: Story): string {
  const { d, k, rank, rng, seed, draw, dtype } = options
  const about = `random numbers: ${rng}, seed ${seed}${draw > 1 ? `, draw ${draw}` : ''} · arithmetic: ${dtype}`
  return [
    paint.bold(
      wrap(`lora-svd demo: a ${shape(d, k)} matrix of rank ${rank}, and two factors in its place`, columns),
    ),
    paint.dim(wrap(about, columns)),
  ].join('\n')
}

function lowRankMatrix(story: Story): string {
  const { d, k, rank, noise } = story.options
  const noiseTerm = noise === 0 ? '' : ` + ${noise} · randn(${d}, ${k})`
  const why =
    noise === 0
      ? `Every row of W is ${rank === 1 ? 'a multiple of one row' : `a mix of the same ${rank} rows`}, so its rank can't be more than ${rank}.`
      : `The product alone has rank ${rank}; the noise fills every direction a little.`
  const facts = [
    ['shape of W', shape(d, k)],
    ['rank of W', story.paint.cyan(grouped(story.result.rank))],
  ]
  const formula = `W = randn(${d}, ${rank}) · randn(${rank}, ${k})${noiseTerm}`
  return section(story, 1, formula, why, table(facts, story.columns), { W: story.result.W })
}

function spectrum(story: Story): string {
  const { result, options } = story
  const { rank, singularValues: S } = result
  const stand = `${rank === 1 ? '1 singular value stands' : `${rank} singular values stand`} above rounding`
  const isNoisy = options.noise > 0 && options.rank < rank
  const why =
    rank < S.length
      ? `${stand}: that count is the rank. After ${rank === 1 ? 'it' : 'them'} the spectrum falls off a cliff.`
      : `${stand}, so the rank is full${isNoisy ? `; all after the first ${options.rank} come from the noise` : ''}.`
  return section(story, 2, 'W = U · diag(S) · Vᵀ', why, spectrumTable(S, options.truncate, story))
}

function factors(story: Story): string {
  const { options, result, paint } = story
  const { truncate: r, d, k } = options
  const facts = [
    ['shape of B', shape(d, r)],
    ['shape of A', shape(r, k)],
    ['‖W − B·A‖ / ‖W‖', paint.cyan(short(result.relativeError, 3))],
    [`the best of rank ${r}`, short(result.optimalError, 3)],
  ]
  const formula = `B = U[:, :${r}] · diag(S[:${r}])   A = V[:, :${r}]ᵀ`
  const why = `The leading ${r === 1 ? 'direction' : `${r} directions`} of W: no other matrix of rank ${r} is nearer to it.`
  return section(story, 3, formula, why, table(facts, story.columns), { B: result.B, A: result.A })
}

function comparison(story: Story): string {
  const { result, options, paint, columns } = story
  const { allclose, bias, x, yRef, y } = result
  const verdict = allclose ? paint.green('true') : paint.red('false')
  const facts = [
    ['allclose(yRef, y)', verdict],
    ['max |yRef − y|', short(result.maxAbsError, 3)],
    ['normwise error', short(result.normwiseError, 3)],
  ]
  const why = `The same input through W and through B·A; allclose is |yRef − y| ≤ ${short(options.atol)} + ${short(options.rtol)}·|yRef|, entry by entry.`
  const body = allclose
    ? table(facts, story.columns)
    : `${table(facts, story.columns)}\n${paint.yellow(wrap(failureReason(result), columns, INDENT))}`
  return section(story, 4, 'yRef = W·x + bias   y = (B·A)·x + bias', why, body, {
    bias: column(bias),
    x: column(x),
    y_ref: column(yRef),
    y: column(y),
  })
}

function count(story: Story): string {
  const { result, paint } = story
  const { W, B, A, factors, ratio } = result.elements
  const facts = [
    ['elements of W', grouped(W)],
    ['elements of B + A', `${grouped(B)} + ${grouped(A)} = ${paint.cyan(grouped(factors))}`],
    ['share of W', ratio < 1 ? paint.green(percent(ratio)) : paint.yellow(percent(ratio))],
  ]
  const why =
    ratio < 1
      ? 'What LoRA stores in place of W.'
      : 'At this rank the factors hold no fewer numbers than W: there is nothing to save.'
  return section(story, 5, 'what it takes', why, table(facts, story.columns))
}

function section(
  { paint, columns, show }: Story,
  number: number,
  formula: string,
  why: string,
  body: string,
  matrices: Record<string, Matrix> = {},
): string {
  const shown = show ? Object.entries(matrices).map(([name, M]) => `${name}\n${matrixText(M)}\n`) : []
  return [
    `${paint.bold.cyan(String(number))}  ${paint.bold(wrap(formula, columns, INDENT).slice(INDENT.length))}`,
    paint.dim(wrap(why, columns, INDENT)),
    ...shown,
    body,
  ].join('\n')
}

const matrixText = (M: Matrix) => tensorText(M, M.columns === 1 ? 1 : 2)

const column = (vector: FloatArray) => matrix(vector.length, 1, vector)
