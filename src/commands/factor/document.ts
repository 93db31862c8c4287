import { ExitCode } from '../../errors.ts'
import { intervalFields, jsonDocument } from '../../report/json.ts'
import type { Terminal } from '../../terminal/terminal.ts'
import { type OutputFlags, print, toldOn, withoutHow } from '../print.ts'
import { type FactorResult, factor } from './factor.ts'
import type { FactorOptions } from './options.ts'
import { factorTables } from './text.ts'

export type FactorFlags = FactorOptions & OutputFlags

/** Factors and prints what came of it. Gives the exit code: whether what is on disk does what was asked. */
export async function printFactor(flags: FactorFlags, terminal: Terminal): Promise<number> {
  const { stdin, env } = terminal
  const result = await factor({ ...withoutHow(flags), ...toldOn(terminal, flags), stdin, env })
  await print(
    terminal,
    flags,
    () => factorDocument(result),
    () => factorTables(result, terminal),
  )
  return result.holds ? ExitCode.ok : ExitCode.checkFailed
}

/** The JSON document of `factor`; its fields are those of schemas/factor-1.json. */
function factorDocument(result: FactorResult) {
  const { source, rule, shape, rank, numericalRank, dtype, relativeError, optimalError } = result
  const { weighed } = result
  return jsonDocument('factor', 1, {
    source,
    rule,
    shape,
    rank,
    ...(numericalRank !== undefined && { numericalRank }),
    dtype,
    relativeError,
    optimalError,
    ...(weighed !== undefined && { outputs: outputsFields(weighed) }),
    certificate: certificateFields(result.certificate),
    method: result.method,
    engine: result.engine,
    holds: result.holds,
    elements: result.elements,
    output: result.output,
  })
}

const outputsFields = ({
  plainOptimalError: _,
  optimalError,
  ...felt
}: NonNullable<FactorResult['weighed']>) => ({
  ...felt,
  optimalError: intervalFields(optimalError),
})

function certificateFields({
  kind,
  failureProbability,
  closed,
  spectral,
  reason,
}: FactorResult['certificate']) {
  return {
    kind,
    failureProbability,
    closed,
    spectral: intervalFields(spectral),
    ...(reason !== undefined && { reason }),
  }
}
