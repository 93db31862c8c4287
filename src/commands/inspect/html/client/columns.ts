import type { IntegerRange, Interval } from '../../../../linalg/spectrum/spectrum.ts'
import { bytes, grouped, percent, shape, short } from '../../../../text/numbers.ts'
import type { LoaderScale } from '../../result.ts'
import type { MatrixData } from '../data.ts'
import { intervalText, NONE, numberText, rangeText } from '../format.ts'
import { figuresAt, type Item, type Model, type RankFigures } from './model.ts'

/** A column of the table: what its cells say and by what they sort. */
export interface Column {
  readonly id: string
  readonly group: string
  readonly head: string
  /** The head in full, where it is short for something. */
  readonly title?: string
  readonly isText?: true
  text(item: Item): string
  /** Numbers sort from the largest at first, texts from A; undefined comes last. */
  key(item: Item): number | string | undefined
}

/** A column whose cells depend on the rank of the slider. */
export interface RankColumn extends Omit<Column, 'text' | 'key'> {
  text(figures: RankFigures): string
  key(figures: RankFigures): number
}

export const RANK_COLUMNS: readonly RankColumn[] = [
  {
    id: 'error',
    group: 'rank',
    head: 'error',
    title: 'relative error ‖A − A_r‖ / ‖A‖',
    text: ({ error }) => intervalText(error),
    key: ({ error }) => error.atMost,
  },
  {
    id: 'factors',
    group: 'rank',
    head: 'size',
    title: 'bytes of the factors',
    text: (f) => bytes(f.bytes),
    key: (f) => f.bytes,
  },
  {
    id: 'parameters',
    group: 'rank',
    head: 'parameters',
    text: (f) => grouped(f.parameters),
    key: (f) => f.parameters,
  },
  {
    id: 'share',
    group: 'rank',
    head: 'of dense',
    title: 'share of the dense size',
    text: (f) => percent(f.share),
    key: (f) => f.share,
  },
]

/** A rank column at a fixed rank. */
export const atRank = (column: RankColumn, rank: () => number): Column => ({
  ...column,
  text: (item) => column.text(figuresAt(item, rank())),
  key: (item) => column.key(figuresAt(item, rank())),
})

const VERDICTS = {
  zero: 'zero',
  'low-rank': 'low-rank',
  'partly-low-rank': 'partly low-rank',
  'not-low-rank': 'not low-rank',
  unrelated: 'unrelated',
  'below-rounding': 'below rounding',
  open: 'open',
} as const

const number = (
  id: string,
  group: string,
  head: string,
  title: string,
  of: (m: MatrixData) => number | undefined,
  say: (x: number) => string = numberText,
): Column => ({
  id,
  group,
  head,
  title,
  text: ({ matrix }) => {
    const found = of(matrix)
    // JSON has null for what is not finite
    return typeof found === 'number' ? say(found) : NONE
  },
  key: ({ matrix }) => of(matrix) ?? undefined,
})

const interval = (
  id: string,
  group: string,
  head: string,
  title: string,
  of: (m: MatrixData) => Interval,
): Column => ({
  id,
  group,
  head,
  title,
  text: ({ matrix }) => intervalText(of(matrix)),
  key: ({ matrix }) => of(matrix).atMost,
})

const range = (
  id: string,
  group: string,
  head: string,
  title: string,
  of: (m: MatrixData) => IntegerRange | undefined,
): Column => ({
  id,
  group,
  head,
  title,
  text: ({ matrix, order }) => {
    const found = of(matrix)
    return found ? rangeText(found, order) : NONE
  },
  key: ({ matrix }) => of(matrix)?.atMost,
})

const text = (id: string, group: string, head: string, of: (m: MatrixData) => string): Column => ({
  id,
  group,
  head,
  isText: true,
  text: ({ matrix }) => of(matrix),
  key: ({ matrix }) => of(matrix),
})

/** The columns that these matrices have something for, beside name and rank columns. */
export function columnsOf({ items }: Model): Column[] {
  const has = (part: (m: MatrixData) => unknown) => items.some(({ matrix }) => part(matrix) !== undefined)
  const loaders = [
    ...new Set(items.flatMap(({ matrix }) => matrix.adapter?.scales.map(({ loader }) => loader) ?? [])),
  ]
  return [
    ...(has((m) => m.adapter) ? adapterColumns(loaders) : []),
    range(
      'numerical',
      'ranks',
      'numerical',
      'numerical rank, as matrix_rank of NumPy counts it',
      (m) => m.rank,
    ),
    interval('stable', 'ranks', 'stable', 'stable rank ‖A‖²_F / ‖A‖²₂', (m) => m.stableRank),
    ...(has((m) => m.effectiveRank)
      ? [
          number(
            'effective',
            'ranks',
            'effective',
            'effective rank: exp of the entropy of the spectrum',
            (m) => m.effectiveRank,
          ),
        ]
      : []),
    ...(['0.5', '0.9', '0.95', '0.99'] as const).map((share) => {
      const percentage = `${Number(share) * 100} %`
      return range(
        `energy-${share}`,
        'ranks',
        percentage,
        `rank that keeps ${percentage} of the energy`,
        (m) => m.energyRanks[share],
      )
    }),
    ...(has((m) => m.base) ? deltaColumns() : []),
    ...(has((m) => m.noise) ? noiseColumns() : []),
    number('frobenius', 'size', '‖·‖_F', 'Frobenius norm', (m) => m.spectrum.frobenius),
    interval('spectral', 'size', 'σ₁', 'largest singular value: the spectral norm', (m) => m.spectral),
    {
      ...text('shape', 'size', 'shape', (m) => shape(...m.shape)),
      isText: true,
      key: ({ matrix }) => matrix.shape[0] * matrix.shape[1],
    },
    text('dtype', 'size', 'dtype', (m) => m.dtype),
    {
      ...number('bytes', 'size', 'bytes', 'stored bytes', (m) => m.bytes),
      text: ({ matrix }) => bytes(matrix.bytes),
    },
    {
      ...text('verdict', 'verdict', 'verdict', (m) => m.verdict.text),
      key: ({ matrix }) => `${VERDICTS[matrix.verdict.kind]} ${matrix.verdict.text}`,
    },
  ]
}

const deltaColumns = (): Column[] => [
  number('change', 'change', 'relative', 'relative change ‖Δ‖ / ‖base‖', (m) => m.base?.relativeChange),
  number('base', 'change', '‖base‖_F', 'Frobenius norm of the base', (m) => m.base?.frobenius),
  text('base-dtype', 'change', 'base dtype', (m) => m.base?.dtype ?? NONE),
]

const noiseColumns = (): Column[] => [
  number(
    'floor',
    'rounding',
    'noise floor',
    'singular values up to this can’t be told from rounding',
    (m) => m.noise?.floor,
  ),
  range(
    'above',
    'rounding',
    'rank above',
    'singular values above the noise floor',
    (m) => m.noise?.rankAbove,
  ),
  {
    ...number('changed', 'rounding', 'changed', 'share of entries that differ', (m) => m.noise?.changedShare),
    text: ({ matrix: { noise } }) =>
      noise ? `${percent(noise.changedShare)}${noise.isSubUlp ? ', below one ulp' : ''}` : NONE,
  },
]

const adapterColumns = (loaders: readonly LoaderScale['loader'][]): Column[] => [
  number(
    'nominal',
    'adapter',
    'nominal',
    'rank the adapter has room for',
    (m) => m.adapter?.nominalRank,
    short,
  ),
  number(
    'wasted',
    'adapter',
    'wasted',
    'nominal rank less the numerical rank',
    (m) => m.adapter?.wasted,
    short,
  ),
  number('alpha', 'adapter', 'alpha', 'lora_alpha', (m) => m.adapter?.alpha, short),
  number(
    'scale',
    'adapter',
    'scale',
    'by which B·A is multiplied, as the adapter’s format says',
    (m) => m.adapter?.scale,
    short,
  ),
  ...loaders.map((loader): Column => {
    const found = (m: MatrixData) => m.adapter?.scales.find((scale) => scale.loader === loader)
    return {
      id: `scale-${loader}`,
      group: 'scale by loader',
      head: loader,
      title: `by which ${loader} multiplies B·A`,
      text: ({ matrix }) => {
        const { scale, refusal } = found(matrix) ?? {}
        return scale === undefined ? (refusal ? `not loaded: ${refusal}` : NONE) : short(scale)
      },
      key: ({ matrix }) => found(matrix)?.scale,
    }
  }),
]

/** Whether a cell disagrees with the adapter's own scale, and should stand out. */
export function differs(column: Column, { matrix: { adapter } }: Item): boolean {
  const found = adapter?.scales.find(({ loader }) => column.id === `scale-${loader}`)
  return found !== undefined && found.scale !== adapter?.scale
}

export const verdictLabel = ({ verdict }: MatrixData) => VERDICTS[verdict.kind]
