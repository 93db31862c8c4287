import type { Matrix } from '../linalg/matrix/matrix.ts'

/** PyTorch's print options: `torch.set_printoptions` defaults. */
const PRECISION = 4
const LINE_WIDTH = 80
const SUMMARIZE_ABOVE = 1000
const EDGE_ITEMS = 3

const PREFIX = 'tensor('

/**
 * A matrix, or a vector of its entries, as PyTorch prints a tensor: four decimals (none for whole numbers) in columns of
 * one width, lines of 80 characters, scientific form where the range asks for it, edges only above 1000 entries
 * (torch/_tensor_str.py).
 */
export function tensorText(A: Matrix, dimensions: 1 | 2 = 2): string {
  const summarize = A.data.length > SUMMARIZE_ABOVE
  const format = numberFormat(shownEntries(A, dimensions, summarize))
  const rowText = (i: number, indent: number) => {
    const row = Array.from(A.data.subarray(i * A.columns, (i + 1) * A.columns))
    return vectorText(row, format, indent, summarize)
  }
  if (dimensions === 1) return `${PREFIX}${vectorText(Array.from(A.data), format, PREFIX.length, summarize)})`
  const indent = PREFIX.length + 1
  const rows = edges(A.rows, summarize).map((i) => (i === null ? '...' : rowText(i, indent)))
  return `${PREFIX}[${rows.join(`,\n${' '.repeat(indent)}`)}])`
}

/** 0 … n−1, or the edges with null for what is left out between them. */
function edges(n: number, summarize: boolean): (number | null)[] {
  const all = Array.from({ length: n }, (_, i) => i)
  return summarize && n > 2 * EDGE_ITEMS
    ? [...all.slice(0, EDGE_ITEMS), null, ...all.slice(-EDGE_ITEMS)]
    : all
}

function shownEntries(A: Matrix, dimensions: 1 | 2, summarize: boolean): number[] {
  const isShown = (i: number | null) => i !== null
  if (dimensions === 1) {
    return edges(A.data.length, summarize)
      .filter(isShown)
      .map((i) => A.data[i])
  }
  return edges(A.rows, summarize)
    .filter(isShown)
    .flatMap((i) =>
      edges(A.columns, summarize)
        .filter(isShown)
        .map((j) => A.data[i * A.columns + j]),
    )
}

function vectorText(row: number[], format: NumberFormat, indent: number, summarize: boolean): string {
  const perLine = Math.max(1, Math.floor((LINE_WIDTH - indent) / (format.width + 2)))
  const cells = edges(row.length, summarize).map((i) => (i === null ? ' ...' : format.print(row[i])))
  const lines: string[] = []
  for (let i = 0; i < cells.length; i += perLine) lines.push(cells.slice(i, i + perLine).join(', '))
  return `[${lines.join(`,\n${' '.repeat(indent + 1)}`)}]`
}

interface NumberFormat {
  readonly width: number
  print(x: number): string
}

/** One form and width for all numbers, by those that are neither zero nor NaN nor infinite. */
function numberFormat(entries: number[]): NumberFormat {
  const telling = entries.filter((x) => Number.isFinite(x) && x !== 0)
  const sizes = telling.map(Math.abs)
  const [largest, smallest] = [Math.max(0, ...sizes), Math.min(Number.POSITIVE_INFINITY, ...sizes)]
  const isWhole = telling.every(Number.isInteger)
  const isScientific = largest / smallest > 1000 || largest > 1e8 || smallest < 1e-4
  const text = (x: number) => {
    if (Number.isNaN(x)) return 'nan'
    if (!Number.isFinite(x)) return x < 0 ? '-inf' : 'inf'
    const sign = Object.is(x, -0) ? '-' : ''
    if (isScientific) return sign + scientific(x)
    return sign + (isWhole ? `${x.toFixed(0)}.` : x.toFixed(PRECISION))
  }
  const width = Math.max(1, ...telling.map((x) => text(x).length))
  return { width, print: (x) => text(x).padStart(width) }
}

/** 1.2346e-05: an exponent has two digits at least. */
function scientific(x: number): string {
  return x.toExponential(PRECISION).replace(/e([+-])(\d)$/, 'e$10$2')
}
