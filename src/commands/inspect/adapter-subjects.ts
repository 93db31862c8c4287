import { nameFilter } from '../../checkpoint/filter.ts'
import { matricesOf, partOf } from '../../checkpoint/matrices.ts'
import type { Checkpoint, WeightMatrix } from '../../checkpoint/types.ts'
import { inOwnRows } from '../../lora/fit.ts'
import { loaderScales, loaderWarnings } from '../../lora/loader-scales.ts'
import { type BaseMatch, matchToBase } from '../../lora/match.ts'
import { type Adapter, type AdapterModule, ofExpert } from '../../lora/model.ts'
import { addTo } from '../../text/compare.ts'
import type { InspectSettings } from './options.ts'
import type { Subject, Subjects } from './subject.ts'

/** What there is to look at in an adapter, beside the weights of its base where there is one, and what its loaders make of it. */
export function adapterSubjects(
  adapter: Adapter,
  base: Checkpoint | undefined,
  filter: InspectSettings,
): Pick<Subjects, 'subjects' | 'skipped' | 'warnings' | 'scalesOf'> {
  const match = base === undefined ? undefined : matchToBase(adapter, base)
  const modules = match === undefined ? adapter.modules : match.matched.map(({ module }) => module)
  const names = modules.map(({ label }) => label)
  const { isWanted, warnings } = nameFilter(filter, names, adapter.path)
  const matrices = base === undefined ? undefined : baseMatrices(base, match!)
  const subjects = modules
    .filter(({ label }) => isWanted(label))
    .flatMap((module) => inItsRows(module, matrices?.get(module.tensor) ?? []))
  const unmatched = match?.unmatched.map(({ module, reason }) => ({ name: module.label, reason })) ?? []
  const whole = adapter.replaced.map(({ tensor, how }) => ({
    name: tensor.name,
    reason:
      how === 'replace' ? 'a whole tensor that replaces the base’s' : 'a whole tensor, added to the base’s',
  }))
  return {
    subjects,
    skipped: [...unmatched, ...whole, ...adapter.ignored],
    warnings: [...adapter.warnings, ...warnings, ...(match?.warnings ?? []), ...loaderWarnings(adapter)],
    scalesOf: (module: AdapterModule) => loaderScales(adapter, module),
  }
}

/** The matrices that the matched modules apply to, by the name of their tensor. */
function baseMatrices({ path, tensors }: Checkpoint, { matched }: BaseMatch): Map<string, WeightMatrix[]> {
  // a small stack has the shape of a kernel: that it is one, its module knows
  const stacks = new Set(
    matched.filter(({ module }) => module.kind === 'experts').map(({ base }) => base.name),
  )
  const wanted = new Set(matched.map(({ base }) => base.name))
  const { matrices } = matricesOf(
    { path, tensors: new Map([...tensors].filter(([name]) => wanted.has(name))) },
    {},
    stacks,
  )
  const byTensor = new Map<string, WeightMatrix[]>()
  for (const matrix of matrices) addTo(byTensor, matrix.tensor, matrix)
  return byTensor
}

/** The products of a module beside the rows that it changes, and not beside others of the same weight. */
function inItsRows(module: AdapterModule, bases: readonly WeightMatrix[]): Subject[] {
  if (module.fit === undefined) return productsOf(module, bases)
  const { module: own, from } = inOwnRows(module)
  return productsOf(
    own,
    bases.map((base) => rowsOfMatrix(base, from, own.rows)),
  )
}

function rowsOfMatrix(matrix: WeightMatrix, from: number, rows: number): WeightMatrix {
  const ofRow = matrix.bytes / matrix.rows
  const source = partOf(matrix.source, from * ofRow, (from + rows) * ofRow)
  return { ...matrix, rows, bytes: rows * ofRow, source }
}

/** The products of a module: one, but for a stack of experts. */
function productsOf(module: AdapterModule, bases: readonly WeightMatrix[]): Subject[] {
  const { kind, experts, label } = module
  const product = (name: string, base: WeightMatrix | undefined, expert?: number): Subject => ({
    kind: 'adapter',
    name,
    module: ofExpert(module, expert),
    ...(expert !== undefined && { expert }),
    ...(base !== undefined && { base }),
  })
  if (kind !== 'experts') return [product(label, bases.length === 1 ? bases[0] : undefined)]
  return Array.from({ length: experts }, (_, e) => product(`${label}[${e}]`, bases[e], e))
}
