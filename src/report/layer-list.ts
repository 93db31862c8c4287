import type { Terminal } from '../terminal/terminal.ts'
import { type NamedColumn, namedGrid } from './named-grid.ts'
import { namePattern } from './names.ts'
import { byProjection, excerpt, type Projection } from './projections.ts'

interface Layer {
  readonly name: string
  readonly relativeError: number
}

/**
 * A row for each layer; where there are many, a row for each kind of them and then the layers with the largest errors and
 * those with the smallest.
 */
export function layerList<Row extends Layer>(
  layers: readonly Row[],
  columns: readonly NamedColumn<Row>[],
  kindColumns: readonly NamedColumn<Projection<Row>>[],
  screen: Pick<Terminal, 'paint' | 'columns'>,
): string[] {
  const { worst, best } = excerpt(layers)
  if (best === undefined) return [namedGrid(worst, columns, screen)]
  const pattern = namePattern(layers.map(({ name }) => name))
  const kindPattern = { ...pattern, prefix: pattern.prefix === '' ? '' : `${pattern.prefix}*.` }
  const titled = (title: string, text: string) => `${screen.paint.bold(title)}\n${text}`
  return [
    namedGrid(byProjection(layers), kindColumns, screen, { pattern: kindPattern, title: 'layers' }),
    titled(`The ${worst.length} largest errors`, namedGrid(worst, columns, screen, { pattern })),
    titled(
      `The ${best.length} smallest (--json has all)`,
      namedGrid(best, columns, screen, { pattern, bare: true }),
    ),
  ]
}
