/** The dots of a braille character, U+2800: two columns of four, by row and column. */
const DOTS = [
  [0x01, 0x08],
  [0x02, 0x10],
  [0x04, 0x20],
  [0x40, 0x80],
]
export const DOTS_ACROSS = 2
export const DOTS_DOWN = 4

/** A drawing of [rows, columns] characters, each of 4 × 2 dots. */
export interface Canvas {
  readonly rows: number
  readonly columns: number
  readonly cells: Uint8Array
}

export function createCanvas(rows: number, columns: number): Canvas {
  return { rows, columns, cells: new Uint8Array(rows * columns) }
}

/** Sets the dot at (x, y), y down from the top; what lies outside is left out. */
export function setDot({ rows, columns, cells }: Canvas, x: number, y: number): void {
  const [row, column] = [Math.floor(y / DOTS_DOWN), Math.floor(x / DOTS_ACROSS)]
  if (row < 0 || row >= rows || column < 0 || column >= columns) return
  cells[row * columns + column] |= DOTS[y % DOTS_DOWN][x % DOTS_ACROSS]
}

/** A line of dots between two of them. */
export function drawLine(canvas: Canvas, x0: number, y0: number, x1: number, y1: number): void {
  const steps = Math.max(Math.abs(x1 - x0), Math.abs(y1 - y0))
  for (let step = 0; step <= steps; step++) {
    const share = steps === 0 ? 0 : step / steps
    setDot(canvas, Math.round(x0 + (x1 - x0) * share), Math.round(y0 + (y1 - y0) * share))
  }
}

/** The character at a cell; empty where it has no dots. */
export function glyphAt({ columns, cells }: Canvas, row: number, column: number): string {
  const dots = cells[row * columns + column]
  return dots === 0 ? '' : String.fromCharCode(0x2800 + dots)
}
