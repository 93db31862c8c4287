import { bringNear, filesIn, rangesOf } from '../../checkpoint/near.ts'
import { elementCount, holdingOpen, ifFew } from '../../checkpoint/read.ts'
import type { WeightMatrix } from '../../checkpoint/types.ts'
import { assertUnchanged } from '../../io/files.ts'
import { asRead } from '../../io/remote/hub.ts'
import { doJobsAsDone, type RunContext } from '../../jobs/context.ts'
import { filesOf, tensorsOf } from '../../lora/model.ts'
import type { LayerMoments } from '../../moments/types.ts'
import { momentNotes } from '../moment-notes.ts'
import type { Inspection } from './inspection.ts'
import { modelModules } from './next/run.ts'
import type { InspectSettings } from './options.ts'
import type { NonFinite } from './result.ts'
import { nonFiniteOf, type Other, type Subject, type Subjects } from './subject.ts'
import { factsOf } from './summary.ts'
import { bytesOf, type Finding, flopsOf, type InspectJob, inspectMatrix } from './work.ts'

/** What an inspection says without any number having been looked at. */
export function factsAbout(
  opened: Subjects,
  { path, base, next, shard }: InspectSettings,
): Omit<Inspection, 'findings' | 'nonFinite' | 'seconds'> {
  const { kind, subjects, skipped, matching, warnings } = opened
  return {
    source: { path: asRead(path), ...(base !== undefined && { base: asRead(base) }) },
    kind,
    facts: subjects.map((subject) => factsOf(subject, opened)),
    skipped,
    ...(matching !== undefined && { matching }),
    // of a shard it may be asked later
    ...((next !== undefined || shard !== undefined) && { modules: modelModules(opened, path) }),
    warnings: [...warnings, ...momentLines(opened)],
  }
}

const momentLines = ({ moments, subjects }: Subjects) =>
  moments === undefined
    ? []
    : momentNotes(
        moments,
        subjects.map(({ name }) => name),
        [],
      )

/** Who watches an inspection is told what there is to look at, and then of each matrix as it is done. */
export interface Watcher {
  opened(subjects: Subjects): void
  found(index: number, finding: Finding, subjects: Subjects): void
}

/** What there is to look at: all, or a part of it. */
export type ToLookAt = Pick<Subjects, 'subjects' | 'others' | 'inputs' | 'moments'>

/** What was found in matrices and others, in their order. */
export interface Found {
  readonly findings: readonly Finding[]
  readonly nonFinite: readonly (NonFinite | undefined)[]
}

/** Looks at the numbers. Throws `bad-input` where an input changed meanwhile. */
export async function lookAt(
  settings: InspectSettings,
  toLookAt: ToLookAt,
  context: RunContext,
  onFound?: (index: number, finding: Finding) => void,
): Promise<Found> {
  const { subjects, others, inputs, moments } = toLookAt
  const products = subjects.flatMap((subject) => (subject.kind === 'adapter' ? [subject.module.product] : []))
  await bringNear(products.flatMap(tensorsOf))
  const tensors = others.map(({ tensor }) => tensor)
  const files = [...products.flatMap(filesOf), ...ifFew(filesIn(tensors))]
  const nonFinite: (NonFinite | undefined)[] = []
  const findings = await holdingOpen(files, async () => {
    const found = await lookAtMatrices(settings, toLookAt, context, onFound)
    await bringNear(tensors)
    for (const other of others) nonFinite.push(await nonFiniteOf(other))
    return found
  })
  for (const input of [...inputs, ...(moments === undefined ? [] : [moments.file])])
    await assertUnchanged(input)
  return { findings, nonFinite }
}

/** What each of both costs, in flops: of what is no matrix each entry is looked at once. */
export const costsOf = (settings: InspectSettings, { subjects, others, moments }: ToLookAt): number[] => [
  ...subjects.map((subject, i) => flopsOf(jobOf(settings, subject, moments?.ofLayers[i]))),
  ...others.map(({ tensor }: Other) => elementCount(tensor)),
]

const jobOf = (
  { extent, intruders, seed, path, base = '' }: InspectSettings,
  subject: Subject,
  moments: LayerMoments | undefined,
): InspectJob => ({
  ...{ subject, extent, intruders, seed, path, basePath: base },
  ...(moments !== undefined && { moments }),
})

/** Large matrices start a little before their turn, and whoever watches sees the others about in their order. */
const STARTED_AHEAD = 8

/** The matrices of checkpoints that are read for a subject: an adapter's factors are read before. */
function weightsOf(subject: Subject): readonly WeightMatrix[] {
  if (subject.kind === 'weights') return [subject.weight]
  if (subject.kind === 'delta') return [subject.base, subject.tuned]
  return subject.base === undefined ? [] : [subject.base]
}

async function lookAtMatrices(
  settings: InspectSettings,
  { subjects, moments }: ToLookAt,
  context: RunContext,
  onFound: (index: number, finding: Finding) => void = () => {},
): Promise<Finding[]> {
  const jobs = subjects.map((subject, i) => jobOf(settings, subject, moments?.ofLayers[i]))
  const how = {
    kind: 'inspect',
    work: inspectMatrix,
    flopsOf,
    bytesOf,
    nameOf: ({ subject }: InspectJob) => subject.name,
    readsOf: ({ subject }: InspectJob) => rangesOf(weightsOf(subject)),
    task: { phase: 'inspecting', noun: 'matrices', unit: 'flops' },
    ahead: STARTED_AHEAD,
  } as const
  const findings: Finding[] = new Array(jobs.length)
  for await (const { index, result } of doJobsAsDone(jobs, how, context)) {
    onFound(index, result)
    findings[index] = result
  }
  return findings
}
