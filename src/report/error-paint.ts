import type { Terminal } from '../terminal/terminal.ts'

/** Relative errors that leave 1 % and 10 % of ‖·‖_F². */
const SMALL_ERROR = Math.sqrt(1 - 0.99)
const FAIR_ERROR = Math.sqrt(1 - 0.9)
/** From here on nothing at all would be as near. */
const USELESS_ERROR = 1

/** The colour of a relative error: red above what is allowed, or else by how much of the matrix it leaves. */
export function errorPaint(
  error: number,
  paint: Terminal['paint'],
  allowed?: number,
): (text: string) => string {
  if (allowed !== undefined) return error <= allowed ? paint.green : paint.red
  if (error <= SMALL_ERROR) return paint.green
  if (error <= FAIR_ERROR) return paint.yellow
  return error < USELESS_ERROR ? paint.magenta : paint.red
}
