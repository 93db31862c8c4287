import { type Summand, warningsOf } from '../../combine/modules.ts'
import { asRead } from '../../io/remote/hub.ts'
import { COPY_OF_BASE } from '../../lora/read/peft.ts'
import { groupsOf, NEAR } from './groups.ts'
import type { CompareSettings } from './options.ts'
import type {
  ComparedAdapter,
  ComparedLayer,
  ComparedPair,
  CompareResult,
  NotCompared,
  PairLayer,
} from './result.ts'
import { figuresIn, type ShapedOverlap, type Totals, totalsOf } from './totals.ts'

/** What is said of adapters, from what each layer gave. */
export function resultOf(
  summands: readonly Summand[],
  layers: readonly ShapedOverlap[],
  { adapters: paths, base, top }: CompareSettings,
  seconds: number,
): CompareResult {
  const count = summands.length
  const totals = totalsOf(layers, count)
  const table = (cell: (i: number, j: number) => number) =>
    summands.map((_, i) => summands.map((_, j) => cell(i, j)))
  const cosines = table((i, j) => totals.of(i, j).cosine)
  const alone = layers.filter(({ adapters }) => adapters.length === 1)
  const inAll = layers.filter(({ adapters }) => adapters.length === count).length
  return {
    source: { adapters: paths.map(asRead), ...(base !== undefined && { base: asRead(base) }) },
    adapters: summands.map((summand, i) => adapterOf(summand, i, layers, totals)),
    layers: layers.map((layer) => layerOf(layer, count)),
    alone: alone.map(({ name, adapters: [adapter] }) => ({ name, adapter })),
    totals: {
      layers: layers.length,
      inAll,
      inSome: layers.length - inAll - alone.length,
      inOne: alone.length,
      pairs: (count * (count - 1)) / 2,
    },
    cosines,
    overlaps: {
      columns: table((i, j) => totals.of(i, j).overlap.columns),
      rows: table((i, j) => totals.of(i, j).overlap.rows),
    },
    kept: table((i, j) => totals.of(i, j).kept[0]),
    pairs: nearest(cosines, top).map((pair) => pairOf(pair, layers, totals)),
    groups: { threshold: NEAR, members: groupsOf(cosines, NEAR) },
    notCompared: summands.flatMap(notComparedOf),
    warnings: summands.flatMap(warningsOf),
    engine: [...new Set(layers.map(({ engine }) => engine))].join(', '),
    seconds,
  }
}

function adapterOf(
  { adapter: { path, modules }, adapter, asRead = adapter }: Summand,
  index: number,
  layers: readonly ShapedOverlap[],
  { norms }: Totals,
): ComparedAdapter {
  const ranks = layers.flatMap(({ adapters, ranks }) => {
    const at = adapters.indexOf(index)
    return at < 0 ? [] : [ranks[at]]
  })
  return {
    path,
    format: asRead.format,
    layers: ranks.length,
    ranks: {
      atLeast: ranks.length === 0 ? 0 : ranks.reduce((a, b) => Math.min(a, b)),
      atMost: ranks.reduce((a, b) => Math.max(a, b), 0),
    },
    frobenius: norms[index],
    isDora: modules.some(({ magnitude }) => magnitude !== undefined),
  }
}

/** The values of the adapters of a layer, at the places of all adapters. */
function spread(adapters: readonly number[], values: readonly number[], count: number) {
  const all = new Array<number | undefined>(count).fill(undefined)
  for (const [k, adapter] of adapters.entries()) all[adapter] = values[k]
  return all
}

const layerOf = ({ name, shape, adapters, ranks, norms }: ShapedOverlap, count: number): ComparedLayer => ({
  name,
  shape,
  ranks: spread(adapters, ranks, count),
  norms: spread(adapters, norms, count),
})

/** So many pairs with the largest cosines, whatever their signs; equal ones in their order, those with an adapter that does nothing last. */
function nearest(cosines: readonly (readonly number[])[], top: number): [number, number][] {
  const size = ([i, j]: readonly [number, number]) => Math.abs(cosines[i][j])
  const pairs = cosines.flatMap((_, i) =>
    cosines.slice(i + 1).map((_, k): [number, number] => [i, i + 1 + k]),
  )
  const order = (pair: readonly [number, number]) => (Number.isNaN(size(pair)) ? -1 : size(pair))
  return pairs.sort((a, b) => order(b) - order(a)).slice(0, top)
}

function pairOf([i, j]: [number, number], layers: readonly ShapedOverlap[], totals: Totals): ComparedPair {
  const shared = layers.flatMap((layer): PairLayer[] => {
    const [k, l] = [layer.adapters.indexOf(i), layer.adapters.indexOf(j)]
    if (k < 0 || l < 0) return []
    const { name, shape, ranks, angles } = layer
    return [
      {
        ...{ name, shape, ranks: [ranks[k], ranks[l]] },
        ...figuresIn(layer, k, l),
        ...(angles !== undefined && {
          angles: { columns: [...angles.columns], rows: [...angles.rows] },
        }),
      },
    ]
  })
  return { adapters: [i, j], ...totals.of(i, j), layers: shared }
}

function notComparedOf({ adapter: { replaced, modules, ignored } }: Summand, adapter: number): NotCompared[] {
  return [
    ...replaced.map(({ tensor: { name } }) => ({ adapter, name, kind: 'whole' as const })),
    ...modules.flatMap(({ bias }) =>
      bias === undefined ? [] : [{ adapter, name: bias.name, kind: 'bias' as const }],
    ),
    ...ignored
      .filter(({ reason }) => reason !== COPY_OF_BASE)
      .map((one) => ({ adapter, ...one, kind: 'unread' as const })),
  ]
}
