import { grouped, short } from '../../text/numbers.ts'

/** A logarithmic axis, in powers of ten. */
export interface LogAxis {
  readonly low: number
  readonly high: number
}

export interface Tick {
  readonly value: number
  readonly label: string
}

/** A flat spectrum is drawn on an axis as high as this, in decades. */
const LEAST_SPAN = 0.2
const MOST_TICKS = 8

/** The axis on which all of these positive values lie, with a little room. */
export function logAxis(values: readonly number[]): LogAxis {
  const logs = values.map(Math.log10)
  const [low, high] = [Math.min(...logs), Math.max(...logs)]
  const room = Math.max((high - low) * 0.03, (LEAST_SPAN - (high - low)) / 2, 0)
  return { low: low - room, high: high + room }
}

/** Powers of ten, or 1, 2 and 5 times them where there are few. */
export function logTicks({ low, high }: LogAxis): Tick[] {
  const powers = Array.from({ length: Math.ceil(high) - Math.floor(low) + 1 }, (_, i) => Math.floor(low) + i)
  const step = Math.ceil(powers.length / MOST_TICKS)
  const inside = (values: number[]) => values.filter((x) => Math.log10(x) >= low && Math.log10(x) <= high)
  const tens = inside(powers.filter((power) => power % step === 0).map(powerOfTen))
  const candidates = [
    tens,
    inside(powers.flatMap((power) => [1, 2, 5].map((digit) => digit * powerOfTen(power)))),
    inside([10 ** high * 0.999, 10 ** low * 1.001]),
  ]
  const values = candidates.find((ticks) => ticks.length >= 2) ?? []
  return values.map((value) => ({ value, label: short(value, 3) }))
}

/** Exact as a decimal: 10 ** -5 is not 1e-5 on every engine. */
const powerOfTen = (power: number) => Number(`1e${power}`)

/** The ranks 1 … n under an axis of `width` characters, as many as fit between the first and the last. */
export function indexLabels(n: number, width: number): string {
  const cells = Array<string>(width).fill(' ')
  const put = (label: string, at: number) => {
    const start = Math.max(0, Math.min(width - label.length, at - Math.floor(label.length / 2)))
    const room = cells.slice(Math.max(0, start - 2), start + label.length + 2)
    if (room.every((cell) => cell === ' ')) cells.splice(start, label.length, ...label)
  }
  for (const share of n > 1 ? [0, 1, 0.5, 0.25, 0.75] : [0]) {
    const i = Math.round(share * (n - 1))
    put(grouped(i + 1), n > 1 ? Math.round((i / (n - 1)) * (width - 1)) : 0)
  }
  return cells.join('').slice(0, width)
}

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
