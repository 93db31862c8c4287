import { errorPaint, figure, UNKNOWN } from '../report/cells.ts'
import type { NamedColumn } from '../report/table.ts'

const LEGEND = "the error of outputs: ‖(Δ − B·A)·C^½‖ / ‖Δ·C^½‖, C the moments of the layer's inputs"

/** What inputs feel of what is left of a layer, where moments of them are known of any; `allowed` is what it may be. */
export const outputColumn = <L extends { readonly output?: { readonly relativeError: number } | undefined }>(
  allowed?: number,
  legend = LEGEND,
): NamedColumn<L> => ({
  title: 'output',
  align: 'right',
  worth: 12.5,
  has: ({ output }) => output !== undefined,
  legend,
  cell: ({ output }, paint) =>
    output === undefined
      ? UNKNOWN
      : errorPaint(output.relativeError, paint, allowed)(figure(output.relativeError)),
})
