import type { StoredTensor } from '../../checkpoint/types.ts'
import { badInput } from '../../errors.ts'
import type { RunIdentity } from '../../io/run-folder.ts'
import type { RunContext } from '../../jobs/context.ts'
import { tensorsOf } from '../../lora/model.ts'
import { countsOf } from '../../moments/types.ts'
import { contentDigest } from '../../shards/digest.ts'
import { merged, type Placed } from '../../shards/merge.ts'
import { type Kept, keptPart, type PartHead, readParts } from '../../shards/part.ts'
import type { Shard } from '../../shards/shard.ts'
import { partOf } from '../../shards/split.ts'
import { version } from '../../version.ts'
import type { Inspection, KnownModules, SubjectFacts } from './inspection.ts'
import { costsOf, factsAbout, lookAt } from './look.ts'
import type { InspectSettings } from './options.ts'
import type { NonFinite } from './result.ts'
import { openSubjects, type Subjects } from './subject.ts'
import type { Finding } from './work.ts'

/** A matrix of a part, with its place among all. */
export type PartMatrix = Placed<
  SubjectFacts & { readonly finding: Finding; readonly module?: KnownModules['trained'][number] }
>

/** What one shard has found: its part of the matrices, and what all parts say alike. It judges nothing. */
export interface InspectShard
  extends PartHead,
    Pick<Inspection, 'source' | 'skipped' | 'matching' | 'warnings'> {
  readonly subject: Inspection['kind']
  readonly matrices: readonly PartMatrix[]
  /** In its part of what is no matrix. */
  readonly nonFinite: readonly Placed<NonFinite>[]
  /** How the model's modules are called, or why that can't be told. */
  readonly model: Omit<KnownModules, 'trained'> | { readonly reason: string }
  readonly totals: {
    readonly matrices: number
    /** Of all shards. */
    readonly ofMatrices: number
    /** Its share of the work. */
    readonly work: number
  }
  readonly engine: string
  readonly seconds: number
  /** Where it is kept; not of its document. */
  readonly kept?: Kept
}

/** Looks at a shard's part of the matrices. What an earlier run of the same has left is taken as it is. Throws as `inspect` does. */
export async function inspectShard(
  settings: InspectSettings,
  shard: Shard,
  context: RunContext,
): Promise<InspectShard> {
  const start = performance.now()
  const opened = await openSubjects(settings, context.opening)
  const head = { shard, identity: await identityOf(settings, opened, context) }
  return keptPart('inspect', settings, head, context.notice, () =>
    lookedAt(settings, opened, head, context, start),
  )
}

async function lookedAt(
  settings: InspectSettings,
  opened: Subjects,
  head: PartHead,
  context: RunContext,
  start: number,
): Promise<InspectShard> {
  const facts = factsAbout(opened, settings)
  const { isOwn, share } = partOf(costsOf(settings, opened), head.shard)
  const { subjects, others, inputs, moments } = opened
  const own = subjects.flatMap((_, at) => (isOwn[at] ? [at] : []))
  const ownOthers = others.flatMap((_, at) => (isOwn[subjects.length + at] ? [at] : []))
  const part = {
    subjects: own.map((at) => subjects[at]),
    others: ownOthers.map((at) => others[at]),
    inputs,
    ...(moments !== undefined && {
      moments: { ...moments, ofLayers: own.map((at) => moments.ofLayers[at]) },
    }),
  }
  const { findings, nonFinite } = await lookAt(settings, part, context)
  const { modules = { reason: 'its modules are not known' } } = facts
  const { trained, ...model } = 'reason' in modules ? { trained: undefined, ...modules } : modules
  return {
    ...head,
    source: facts.source,
    subject: facts.kind,
    matrices: own.map((at, i) => ({
      at,
      ...facts.facts[at],
      ...(trained !== undefined && { module: trained[at] }),
      finding: findings[i],
    })),
    nonFinite: ownOthers.flatMap((at, i) => {
      const found = nonFinite[i]
      return found === undefined ? [] : [{ at, ...found }]
    }),
    skipped: facts.skipped,
    ...(facts.matching !== undefined && { matching: facts.matching }),
    model,
    totals: { matrices: own.length, ofMatrices: subjects.length, work: share },
    warnings: facts.warnings,
    engine: enginesOf(findings),
    seconds: (performance.now() - start) / 1000,
  }
}

const enginesOf = (findings: readonly Finding[]) =>
  [...new Set(findings.flatMap((one) => (one.kind === 'spectrum' ? [one.engine] : [])))].sort().join(' + ')

/** All that the figures depend on. */
async function identityOf(
  settings: InspectSettings,
  opened: Subjects,
  { request, signal }: RunContext,
): Promise<RunIdentity> {
  const { path, base, header, include, exclude, extent, intruders, alpha, allowUnpaired, seed, moments } =
    settings
  const facts = opened.inputs.map(({ config, adapterConfig, metadata }) => [
    config ?? null,
    adapterConfig ?? null,
    [...metadata],
  ])
  return {
    inputs: await contentDigest(
      opened.moments === undefined ? facts : [...facts, countsOf(opened.moments.file)],
      tensorsIn(opened),
      signal,
    ),
    options: {
      ...{ version, path, base, header, include, exclude, extent, intruders, alpha, allowUnpaired },
      seed: String(seed),
      ...(moments !== undefined && { moments }),
      engine: request.engine,
    },
  }
}

/** The tensors that are looked at, by the checkpoint that they are in. */
function tensorsIn({ subjects, others, inputs: [checkpoint, before], moments }: Subjects) {
  const stored: StoredTensor[] = []
  const base: StoredTensor[] = []
  for (const subject of subjects) {
    const inBase = subject.kind === 'weights' ? undefined : subject.base
    if (inBase !== undefined) base.push(...[before?.tensors.get(inBase.tensor) ?? []].flat())
    if (subject.kind === 'adapter') stored.push(...tensorsOf(subject.module.product))
    else {
      const { tensor } = subject.kind === 'weights' ? subject.weight : subject.tuned
      stored.push(...[checkpoint.tensors.get(tensor) ?? []].flat())
    }
  }
  return {
    ...{ stored, base, others: others.map(({ tensor }) => tensor) },
    ...(moments !== undefined && { moments: moments.ofLayers.flatMap((one) => one?.tensor ?? []) }),
  }
}

/** What all parts of a job hold, as one process would have found it; and the files that were read. */
export async function joinedInspection(
  paths: readonly string[],
): Promise<{ readonly inspection: Inspection; readonly files: readonly { readonly path: string }[] }> {
  const found = await readParts<InspectShard>('inspect', paths)
  const parts = found.map(({ part }) => part)
  const [{ source, subject, skipped, matching, model, warnings, totals }] = parts
  const matrices = merged(parts.map((part) => part.matrices))
  if (matrices.length !== totals.ofMatrices) {
    const [{ path }] = found
    throw badInput(
      `${path}: its job has ${totals.ofMatrices} matrices, and all parts together hold ${matrices.length}; run all shards again`,
      { file: path },
    )
  }
  const facts = matrices.map(({ finding, module, ...about }) => about)
  const trained = matrices.flatMap(({ module }) => module ?? [])
  const inspection: Inspection = {
    source,
    kind: subject,
    facts,
    findings: matrices.map(({ finding }) => finding),
    nonFinite: merged(parts.map((part) => part.nonFinite)),
    skipped,
    ...(matching !== undefined && { matching }),
    modules: 'reason' in model ? model : { trained, ...model },
    warnings,
    seconds: parts.reduce((sum, part) => sum + part.seconds, 0),
  }
  return { inspection, files: found }
}
