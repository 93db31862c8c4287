import type { Terminal } from '../../terminal/terminal.ts'
import type { VerdictKind } from '../result.ts'

/** Green is low, yellow partly, magenta not; red is an alarm, and dim what there is nothing to say of. */
export function verdictPaint(kind: VerdictKind, paint: Terminal['paint']): (text: string) => string {
  switch (kind) {
    case 'low-rank':
      return paint.green
    case 'partly-low-rank':
      return paint.yellow
    case 'not-low-rank':
      return paint.magenta
    case 'unrelated':
      return paint.red
    case 'open':
      return paint.blue
    case 'below-rounding':
    case 'zero':
      return paint.dim
  }
}
