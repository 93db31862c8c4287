import { bytesPerFactorElement, type StoredDtype } from '../../formats/dtype.ts'
import { frobeniusNorm, ratioOfNorms } from '../../linalg/matrix/norms.ts'
import { rankCosts, recommendedRank } from '../../linalg/spectrum/costs.ts'
import {
  certifiedField,
  effectiveRankOf,
  energyRanks,
  numericalRankOf,
  spectralOf,
  stableRankOf,
} from '../../linalg/spectrum/measures.ts'
import { countIntruders, type Intrusion } from '../../linalg/subspace/intruders.ts'
import { blamed, bytesOf } from '../../lora/model.ts'
import { relative } from '../../measure/measure.ts'
import type { Inspection, SubjectFacts } from './inspection.ts'
import type { ReportView, SortKey } from './options.ts'
import {
  ENERGY_SHARES,
  type InspectResult,
  type IntruderFindings,
  type MatrixReport,
  type OutputFindings,
  TABULATED_RANKS,
} from './result.ts'
import type { Subject, Subjects } from './subject.ts'
import { type MatrixFindings, verdictOf } from './verdict.ts'
import { type Finding, noiseFindings, type OutputFinding, ranksAboveNoise } from './work.ts'

/** What the report shows, and all matrices whether it shows them or not. */
export type WholeResult = InspectResult & { readonly all: readonly MatrixReport[] }

type Seen = Extract<Finding, { kind: 'spectrum' }>

/** Makes an inspection into the report of the model. */
export function inspectResult(view: ReportView, inspection: Inspection): WholeResult {
  const { facts, findings, source, kind, matching, skipped, warnings, seconds } = inspection
  const seen = facts.flatMap((about, i) => {
    const finding = findings[i]
    return finding.kind === 'spectrum' ? [{ about, finding, report: reportOf(about, finding) }] : []
  })
  const all = seen.map(({ report }) => report)
  const inOrder = ordered(all, view.sort, view.reverse)
  const costed = seen.map(({ about, report: { spectrum, noise } }) => ({
    spectrum,
    bytesPerEntry: bytesPerFactorElement(about.dtype),
    ...optional('rankAboveNoise', noise && ranksAboveNoise(noise)),
  }))
  return {
    source,
    subject: kind,
    matrices: view.top === undefined ? inOrder : inOrder.slice(0, view.top),
    all: inOrder,
    unchanged: facts.filter((_, i) => findings[i].kind === 'equal').map(({ name }) => name),
    nonFinite: [
      ...findings.flatMap((finding) => (finding.kind === 'not-finite' ? finding.entries : [])),
      ...inspection.nonFinite,
    ],
    skipped,
    outputs: view.outputs,
    totals: { ...totalsOf(all), ...matching },
    costs: rankCosts(costed, TABULATED_RANKS),
    ...(all.length > 0 && { recommended: recommendedRank(costed) }),
    warnings,
    engine: [...new Set(seen.map(({ finding }) => finding.engine))].sort().join(' + ') || 'none',
    seconds,
  }
}

/** What can be told of a matrix from its headers. */
export function factsOf(subject: Subject, { scalesOf }: Subjects): SubjectFacts {
  const base = subject.kind === 'weights' ? undefined : subject.base
  return {
    name: subject.name,
    storedShape: storedShapeOf(subject),
    dtype: dtypeOf(subject),
    bytes: storedBytesOf(subject),
    ...optional('baseDtype', base?.dtype),
    ...(subject.kind === 'adapter' && {
      adapter: {
        rank: subject.module.rank,
        ...optional('alpha', subject.module.alpha),
        scale: subject.module.scale,
        scales: scalesOf!(subject.module),
      },
    }),
  }
}

export function reportOf(about: SubjectFacts, finding: Seen): MatrixReport {
  const { spectrum, noise } = finding
  const { name, storedShape, dtype, bytes, adapter } = about
  const rank = numericalRankOf(spectrum)
  const matrix: MatrixFindings = {
    name,
    shape: [spectrum.rows, spectrum.columns],
    storedShape,
    dtype,
    bytes,
    ...figuresOf(spectrum),
    ...optional('base', baseOf(about, finding)),
    ...optional('noise', noise && noiseFindings(spectrum, noise)),
    ...(adapter !== undefined && {
      adapter: {
        nominalRank: adapter.rank,
        ...optional('alpha', adapter.alpha),
        scale: adapter.scale,
        wasted: adapter.rank - rank.atMost,
        scales: adapter.scales,
      },
    }),
  }
  const { output } = finding
  return {
    ...matrix,
    ...(output !== undefined && { output: outputOf(matrix, output) }),
    verdict: verdictOf(matrix),
  }
}

/** The same figures of what inputs feel; rounding is no part of them. */
function outputOf({ noise: _, base: __, ...matrix }: MatrixFindings, found: OutputFinding): OutputFindings {
  const { spectrum, ...facts } = found
  const figures = { ...facts, ...figuresOf(spectrum) }
  return { ...figures, verdict: verdictOf({ ...matrix, ...figures }) }
}

const figuresOf = (spectrum: MatrixReport['spectrum']) => ({
  spectrum,
  rank: numericalRankOf(spectrum),
  spectral: spectralOf(spectrum),
  stableRank: stableRankOf(spectrum),
  ...optional('effectiveRank', effectiveRankOf(spectrum)),
  energyRanks: Object.fromEntries(
    ENERGY_SHARES.map((share) => [String(share), energyRanks(spectrum, share)]),
  ) as MatrixReport['energyRanks'],
})

const optional = <K extends string, V>(key: K, value: V | undefined) =>
  (value === undefined ? {} : { [key]: value }) as { readonly [P in K]?: V }

function baseOf(
  { baseDtype, adapter }: SubjectFacts,
  { spectrum, baseFrobenius, intrusion }: Seen,
): MatrixReport['base'] | undefined {
  if (baseDtype === undefined || baseFrobenius === undefined) return undefined
  const base = {
    dtype: baseDtype,
    frobenius: baseFrobenius,
    relativeChange: relative(spectrum.frobenius, baseFrobenius),
  }
  if (adapter === undefined || intrusion === undefined) return base
  const { spectral } = intrusion
  const change = spectralOf(spectrum)
  return {
    ...base,
    spectral,
    dominance: {
      atLeast: relative(change.atLeast, spectral.atMost),
      atMost: relative(change.atMost, spectral.atLeast),
    },
    ...(intrusion.cosines.length > 0 && { intruders: intrudersOf(intrusion) }),
  }
}

const intrudersOf = ({ cosines, failureProbability }: Intrusion): IntruderFindings => ({
  directions: cosines.length,
  ...countIntruders(cosines),
  cosines,
  failureProbability,
})

/** The dtype of what is looked at, in which factors of it would be stored. */
function dtypeOf(subject: Subject): StoredDtype {
  switch (subject.kind) {
    case 'weights':
      return subject.weight.dtype
    case 'delta':
      return subject.tuned.dtype
    case 'adapter':
      return blamed(subject.module, 'A').dtype.toLowerCase() as StoredDtype
  }
}

function storedShapeOf(subject: Subject): readonly number[] {
  if (subject.kind === 'adapter') return subject.base?.storedShape ?? []
  return (subject.kind === 'delta' ? subject.tuned : subject.weight).storedShape
}

function storedBytesOf(subject: Subject): number {
  if (subject.kind !== 'adapter') return (subject.kind === 'delta' ? subject.tuned : subject.weight).bytes
  const { product, experts } = subject.module
  if (product.kind !== 'stack') return bytesOf(product) / experts
  const own = subject.expert === undefined ? [] : product.parts[subject.expert]
  return own.reduce((sum, part) => sum + bytesOf(part.product), 0)
}

function totalsOf(all: readonly MatrixReport[]): InspectResult['totals'] {
  const sum = (of: (report: MatrixReport) => number) => all.reduce((total, report) => total + of(report), 0)
  const withBase = all.filter(({ base }) => base !== undefined)
  const intruders = all.flatMap(({ base }) => base?.intruders ?? [])
  const counted = (of: (one: IntruderFindings) => number) =>
    intruders.reduce((total, one) => total + of(one), 0)
  return {
    matrices: all.length,
    elements: sum(({ shape: [rows, columns] }) => rows * columns),
    bytes: sum(({ bytes }) => bytes),
    frobenius: frobeniusNorm(Float64Array.from(all, ({ spectrum }) => spectrum.frobenius)),
    ...certifiedField(all.map(({ spectrum }) => spectrum)),
    ...(intruders.length > 0 && {
      intruders: {
        directions: counted(({ directions }) => directions),
        intruders: counted((one) => one.intruders),
        undecided: counted(({ undecided }) => undecided),
      },
    }),
    ...(withBase.length > 0 && {
      relativeChange: ratioOfNorms(
        withBase.map(({ spectrum }) => spectrum.frobenius),
        withBase.map(({ base }) => base!.frobenius),
      ),
    }),
  }
}

const FIGURES: Record<Exclude<SortKey, 'model' | 'name'>, (report: MatrixReport) => number> = {
  size: ({ bytes }) => bytes,
  frobenius: ({ spectrum }) => spectrum.frobenius,
  spectral: ({ spectral }) => spectral.atLeast,
  rank: ({ rank }) => rank.atLeast,
  'stable-rank': ({ stableRank }) => stableRank.atMost,
  'effective-rank': ({ effectiveRank }) => effectiveRank ?? Number.NEGATIVE_INFINITY,
  'energy-rank': ({ energyRanks }) => energyRanks['0.9'].atLeast,
  dominance: ({ base }) => base?.dominance?.atLeast ?? Number.NEGATIVE_INFINITY,
  intruders: ({ base }) => base?.intruders?.intruders ?? Number.NEGATIVE_INFINITY,
  change: ({ base }) => base?.relativeChange ?? Number.NEGATIVE_INFINITY,
}

/** The reports by `key`, the largest figure first, equal ones as they came; `reverse` turns the order round. */
function ordered(reports: readonly MatrixReport[], key: SortKey, reverse: boolean): MatrixReport[] {
  const sorted = [...reports]
  if (key === 'name') {
    // layers.2 before layers.10
    const { compare } = new Intl.Collator('en', { numeric: true })
    sorted.sort((a, b) => compare(a.name, b.name))
  } else if (key !== 'model') sorted.sort((a, b) => FIGURES[key](b) - FIGURES[key](a) || 0)
  return reverse ? sorted.reverse() : sorted
}
