import { badInput, badUsage } from '../../../errors.ts'
import { type BudgetedMatrix, splitBudget } from '../../../linalg/spectrum/budget.ts'
import { orderOf } from '../../../linalg/spectrum/measures.ts'
import { peftModule } from '../../../lora/kinds.ts'
import { elementsPerRank, type TargetModule } from '../../../lora/model.ts'
import { type ModelTraits, modelTraits, ownerOfPath, pathOf } from '../../../lora/traits.ts'
import { escapedPattern, targetModules } from '../../../lora/write/targets.ts'
import { grouped } from '../../../text/numbers.ts'
import type { Inspection, KnownModules, ModelModules } from '../inspection.ts'
import type { EmitFormat } from '../options.ts'
import type { MatrixReport, NextModule, NextRun } from '../result.ts'
import type { Subject, Subjects } from '../subject.ts'
import { ranksAboveNoise } from '../work.ts'
import { emittedText } from './text.ts'

/**
 * Ranks for the next training run: those whose best factors would carry most of ‖Δ‖² within a number of parameters. Each module that
 * changed has a rank of at least 1; where not even that fits, those that carry least for what they cost have none. Directions that can't
 * be told from the rounding of the stored types are worth nothing. alpha is the rank of each module, so that alpha / rank is 1 for all.
 */

interface Candidate {
  readonly name: string
  readonly module: TargetModule
  readonly report: MatrixReport
}

export interface NextRequest {
  readonly format: EmitFormat
  /** Entries that all factors may have. */
  readonly parameters: number
}

/** Why there is nothing to learn ranks from, or modules are not called as a model calls them; undefined where ranks can be told. */
function noRun({ kind, adapter, inputs }: Subjects, path: string): string | undefined {
  if (kind === 'weights')
    return `${path} is weights alone; give the ones before as --base, or name an adapter`
  if (adapter !== undefined && adapter.format !== 'peft' && inputs.length === 1)
    return `${path} has the names of ${adapter.format}, not the model's; give the base as --base`
  return undefined
}

/** The model's modules, as the next run will know them. */
export function modelModules(opened: Subjects, path: string): ModelModules {
  const reason = noRun(opened, path)
  if (reason !== undefined) return { reason }
  const traits = traitsOf(opened)
  const trained = opened.subjects.map((subject) => moduleOf(subject, traits))
  const { adapter, inputs } = opened
  const [first, base] = inputs
  if (base !== undefined && traits !== undefined) {
    return { trained, paths: [...base.tensors.keys()].map((name) => ownerOfPath(pathOf(name, traits))) }
  }
  const own = adapter?.config?.targetModules
  const isRestricted = RESTRICTING.some((key) => (first.adapterConfig?.[key] ?? null) !== null)
  const count = adapter?.modules.length
  return own === undefined || count === undefined || isRestricted
    ? { trained }
    : { trained, own: { targets: own, count } }
}

/** Throws `bad-usage` where there are no ranks to tell. */
export function assertChange(modules: ModelModules | undefined): void {
  if (modules !== undefined && 'reason' in modules) throw badUsage(`--emit: ${modules.reason}`)
}

/** What the spectra of a change, or of an adapter, say of the next run. */
export function nextRun(
  { facts, modules: known }: Pick<Inspection, 'facts' | 'modules'>,
  reports: readonly MatrixReport[],
  { format, parameters }: NextRequest,
): NextRun {
  const byName = new Map(reports.map((report) => [report.name, report]))
  if (known === undefined || 'reason' in known)
    throw new RangeError('the modules of the next run are not known')
  const candidates: Candidate[] = []
  const left: { name: string; reason: string }[] = []
  for (const [i, { name }] of facts.entries()) {
    const report = byName.get(name)
    if (report === undefined) continue
    const module = known.trained[i]
    if ('reason' in module) left.push({ name, reason: module.reason })
    else if (!(squaresOf(report).length > 0)) left.push({ name, reason: NOTHING })
    else candidates.push({ name, module, report })
  }
  const ranks = spread(candidates, parameters)
  const modules = candidates.flatMap(({ name, module }, i): NextModule[] => {
    const parameters = ranks[i] * elementsPerRank(module)
    return ranks[i] > 0 ? [{ name, path: module.path, rank: ranks[i], parameters }] : []
  })
  if (modules.length === 0) throw nothingNamed(candidates, parameters, left)
  const without = candidates.filter((_, i) => ranks[i] === 0)
  left.push(...without.map(({ name }) => ({ name, reason: TOO_DEAR })))
  const config = configOf(modules, candidates, targetsOf(known, modules))
  const result = {
    format,
    budget: parameters,
    parameters: modules.reduce((sum, one) => sum + one.parameters, 0),
    kept: keptBy(candidates, ranks, reports),
    modules,
    left,
    ranOut: candidates.flatMap(({ name, report }, i) =>
      ranks[i] > 0 &&
      ranks[i] === report.spectrum.singularValues.length &&
      ranks[i] < orderOf(report.spectrum)
        ? report.spectrum.complete
          ? []
          : [name]
        : [],
    ),
    config,
  }
  return { ...result, text: emittedText(result) }
}

function nothingNamed(
  candidates: readonly Candidate[],
  parameters: number,
  left: readonly { readonly name: string; readonly reason: string }[],
) {
  if (candidates.length === 0) {
    const [first] = left
    return badInput(
      `--emit: no module changed that could be trained${first === undefined ? '' : `: ${first.name}: ${first.reason}`}`,
    )
  }
  const least = Math.min(...candidates.map(({ module }) => elementsPerRank(module)))
  return badUsage(
    `--parameters ${grouped(parameters)}: rank 1 in one module takes ${grouped(least)} already; give that much`,
  )
}

const NOTHING = 'nothing of its change stands above rounding'
const TOO_DEAR = 'within so many parameters others carry more'

/** How modules are called in the model: by what the base says of itself, or where there is none as the adapter has them. */
function traitsOf({ kind, inputs: [first, base] }: Subjects): ModelTraits | undefined {
  if (base === undefined) return undefined
  return modelTraits(base.config ?? (kind === 'delta' ? first.config : undefined), base.tensors)
}

function moduleOf(
  subject: Subject,
  traits: ModelTraits | undefined,
): TargetModule | { readonly reason: string } {
  if (subject.kind === 'adapter') {
    const { module } = subject
    if (module.kind === 'experts') return { reason: 'stacked experts' }
    if (traits === undefined) return module
    return { ...module, path: ownerOfPath(pathOf(module.tensor, traits)) }
  }
  if (subject.kind === 'weights' || traits === undefined) return { reason: 'no change' }
  const { tensor, view, storedShape } = subject.base
  const module = peftModule(tensor, view, storedShape, traits)
  return 'rows' in module ? module : { reason: module.reason.replace(/ \(--embeddings carries it\)$/, '') }
}

/** σ² of the directions that are worth something. */
function squaresOf({ spectrum, noise, rank }: MatrixReport): Float64Array {
  const above = noise === undefined ? undefined : ranksAboveNoise(noise)
  const most = Math.min(rank.atMost, above?.atMost ?? Number.POSITIVE_INFINITY)
  return spectrum.singularValues.slice(0, most).map((s) => s * s)
}

function spread(candidates: readonly Candidate[], parameters: number): readonly number[] {
  const matrices = candidates.map(
    ({ name, module, report }): BudgetedMatrix => ({
      name,
      squares: squaresOf(report),
      bytesPerRank: elementsPerRank(module),
      weight: 1,
    }),
  )
  const named = affordable(matrices, parameters)
  if (named.length === 0) return matrices.map(() => 0)
  const split = splitBudget(named, {
    bytes: parameters,
    limits: { minRank: 1 },
    exactBytes: (ranks) => ranks.reduce((sum, rank, i) => sum + rank * named[i].bytesPerRank, 0),
    leastAside: 0,
  })
  if ('needed' in split) throw new RangeError('rank 1 in each of these was found to fit')
  return matrices.map((matrix) => split.ranks[named.indexOf(matrix)] ?? 0)
}

/** All where rank 1 in each fits, else those that fit of the ones whose first direction carries most for what it takes. */
function affordable(matrices: readonly BudgetedMatrix[], parameters: number): readonly BudgetedMatrix[] {
  const density = ({ squares, bytesPerRank }: BudgetedMatrix) => squares[0] / bytesPerRank
  const taken = new Set<BudgetedMatrix>()
  let left = parameters
  for (const matrix of [...matrices].sort((a, b) => density(b) - density(a))) {
    if (matrix.bytesPerRank > left) continue
    taken.add(matrix)
    left -= matrix.bytesPerRank
  }
  return matrices.filter((matrix) => taken.has(matrix))
}

/** The share of ‖Δ‖_F² of all that was looked at, in these modules at these ranks. */
function keptBy(
  candidates: readonly Candidate[],
  ranks: readonly number[],
  reports: readonly MatrixReport[],
) {
  const norms = reports.map(({ spectrum }) => spectrum.frobenius)
  const largest = norms.reduce((most, norm) => Math.max(most, norm), 0) || 1
  const total = norms.reduce((sum, norm) => sum + (norm / largest) ** 2, 0)
  let [atLeast, missed] = [0, 0]
  for (const [i, { report }] of candidates.entries()) {
    const { singularValues, excess, frobenius } = report.spectrum
    const held = singularValues.subarray(0, ranks[i]).reduce((sum, s) => sum + (s / largest) ** 2, 0)
    atLeast += held
    missed += ranks[i] > 0 ? excess * (frobenius / largest) ** 2 : 0
  }
  if (!(total > 0)) return { atLeast: 0, atMost: 0 }
  return { atLeast: Math.min(1, atLeast / total), atMost: Math.min(1, (atLeast + missed) / total) }
}

/** PEFT's `target_modules` that take these modules and no others of the model. */
function targetsOf(
  { paths: all, own }: KnownModules,
  modules: readonly NextModule[],
): readonly string[] | string {
  const paths = modules.map(({ path }) => path)
  if (all !== undefined) return targetModules(paths, all)
  // what else the model has is not known: the adapter's own words where they mean just these modules, else whole paths
  return own !== undefined && modules.length === own.count ? own.targets : paths
}

/** Fields of adapter_config.json that leave out modules which `target_modules` names. */
const RESTRICTING = ['layers_to_transform', 'layers_pattern', 'exclude_modules']

/** The fields of LoraConfig: the rank that most modules have, and those of the others by their paths. */
function configOf(
  modules: readonly NextModule[],
  candidates: readonly Candidate[],
  targets: readonly string[] | string,
): NextRun['config'] {
  const counts = new Map<number, number>()
  for (const { rank } of modules) counts.set(rank, (counts.get(rank) ?? 0) + 1)
  const [r = 0] = [...counts].sort((a, b) => b[1] - a[1] || b[0] - a[0])[0] ?? []
  const patterns = Object.fromEntries(
    modules.filter(({ rank }) => rank !== r).map(({ path, rank }) => [`^${escapedPattern(path)}`, rank]),
  )
  const named = new Set(modules.map(({ path }) => path))
  const isConv1d = candidates.some(({ module }) => module.kind === 'conv1d' && named.has(module.path))
  return {
    r,
    lora_alpha: r,
    target_modules: targets,
    rank_pattern: patterns,
    alpha_pattern: patterns,
    ...(isConv1d && { fan_in_fan_out: true as const }),
  }
}
