import type { MatrixPair } from '../checkpoint/types.ts'
import { differenceBytes } from '../delta/difference.ts'
import type { TruncationOptions } from '../linalg/truncation/truncated-svd.ts'
import { rootBytes, rootFlops } from '../moments/root.ts'
import type { LayerMoments } from '../moments/types.ts'
import type { FactorForm, RankRequest } from './layer-result.ts'

/** What a worker is asked: plain data. */
export interface LayerJob {
  readonly pair: MatrixPair
  readonly ask: RankRequest
  readonly certify: NonNullable<TruncationOptions['certify']>
  readonly seed: bigint
  /** Of the factors that will be written. */
  readonly form: FactorForm
  /** The rank will be this layer's own, whatever the others have: what will be stored can be measured at once. */
  readonly isSettled: boolean
  /** Of the layer's inputs, which then weigh its columns. */
  readonly moments?: LayerMoments
  /** As messages call the checkpoints. */
  readonly basePath: string
  readonly tunedPath: string
}

/** The flops of a job, in the measure by which engines are chosen. */
export function flopsOf({ pair: { tuned }, ask, moments }: LayerJob): number {
  const { rows, columns } = tuned
  const order = Math.min(rows, columns)
  const plain = rows * columns * basisOf(ask, order)
  if (moments === undefined) return plain
  return plain + rootFlops(moments, moments.side === 'rows' ? columns : rows)
}

/** Products of the matrix with as many columns as the rank that finding, bounding and measuring the triplets takes. */
const SWEEPS = 8
/** What rules that look for a rank mostly end at. */
const ADAPTIVE_RANK = 64

/** The columns of all those products together. */
const basisOf = ({ rule }: RankRequest, order: number): number =>
  Math.min(order, SWEEPS * ((rule.kind === 'rank' ? rule.rank : ADAPTIVE_RANK) + 8))

/** The most memory that a job takes at one time. */
export function bytesOf({ pair, ask, moments }: LayerJob): number {
  const { rows, columns } = pair.tuned
  const order = Math.min(rows, columns)
  const basis = basisOf(ask, order)
  const square = 2 * basis > order ? 4 * 8 * order * order + 8 * rows * columns : 0
  const weighing = moments === undefined ? 0 : rootBytes(moments) + 3 * 8 * rows * columns
  return differenceBytes(pair) + 4 * rows * columns + 3 * 8 * (rows + columns) * basis + square + weighing
}
