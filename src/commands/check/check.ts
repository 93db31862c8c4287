import { join } from 'node:path'
import { ADAPTER_CONFIG_FILE } from '../../checkpoint/folder.ts'
import { openCheckpoint } from '../../checkpoint/open.ts'
import type { Checkpoint } from '../../checkpoint/types.ts'
import { badInput, badUsage } from '../../errors.ts'
import { assertNotRead, assertUnchanged } from '../../io/files.ts'
import { assertWritable, writeTextAtomic } from '../../io/write-atomic.ts'
import { inContext, type RunContext } from '../../jobs/context.ts'
import { layoutOf } from '../../lora/families/layout.ts'
import { type LoaderVerdict, verdictsOf } from '../../lora/loaders/judge.ts'
import { loadersMeant } from '../../lora/loaders/meant.ts'
import type { Loader, ModelView } from '../../lora/loaders/types.ts'
import { judged, viewOf } from '../../lora/loaders/view.ts'
import type { Adapter } from '../../lora/model.ts'
import { adapterOf } from '../../lora/read/adapter.ts'
import { refuseGgufBase } from '../../lora/read/gguf-base.ts'
import { architectureOf } from '../../lora/traits.ts'
import { baseDefects } from './defects/base.ts'
import { configDefects } from './defects/config.ts'
import { dataDefects } from './defects/data.ts'
import { fileDefects } from './defects/file.ts'
import { nameDefects } from './defects/names.ts'
import { type ReadAdapter, readPastDefects } from './defects/read.ts'
import { defectHits } from './loading.ts'
import { type CheckOptions, type CheckSettings, checkSettings } from './options.ts'
import type { CheckedDefect, CheckedLoader, CheckResult } from './result.ts'
import { DEFECTS, type Found } from './rules.ts'
import { sarifOf } from './sarif.ts'

/**
 * Which loaders load an adapter, which load part of it or nothing, which refuse it and which scale it wrongly; and what is wrong with
 * the file itself. Reads headers and configs, and the numbers once, unless `fast`. Writes SARIF where asked. Throws LoraSvdError:
 * `bad-usage`, `bad-input` for what is no adapter or no safetensors file, or a GGUF base of an adapter with other names, `output-exists`, `system`, `interrupted`.
 */
export async function check(options: CheckOptions): Promise<CheckResult> {
  const settings = checkSettings(options)
  return inContext(options, (context) => checked(settings, context))
}

/** A matrix in a text has no names by which it could be a factor. */
const TEXT_PROBLEM =
  'is a text, and no adapter; name the folder of an adapter, or its safetensors or GGUF file'

async function checked(settings: CheckSettings, context: RunContext): Promise<CheckResult> {
  const start = performance.now()
  const { sarif, force } = settings
  if (sarif !== undefined) await assertWritable(sarif, { force })
  const checkpoint = await openCheckpoint(settings.adapter, { ...context.opening, textProblem: TEXT_PROBLEM })
  const base = settings.base === undefined ? undefined : await openBase(settings.base, context)
  const inputs = base === undefined ? [checkpoint] : [checkpoint, base]
  if (sarif !== undefined) {
    await assertNotRead(
      { '--sarif': sarif },
      inputs.flatMap(({ files }) => files),
    )
  }
  const read = await readPastDefects(checkpoint, base?.config)
  if (read.adapter === undefined && read.found.length === 0 && !isMeantAsAdapter(checkpoint)) {
    throw badInput(`${settings.adapter}: is no adapter: none of its tensors is a LoRA factor`, {
      file: settings.adapter,
    })
  }
  const { adapter } = read
  if (base !== undefined && adapter !== undefined) refuseGgufBase(base, adapter)
  const view =
    adapter &&
    viewOf(adapter, {
      metadata: checkpoint.metadata,
      model: modelOf(base),
      hasConfig: checkpoint.adapterConfig !== undefined,
    })
  const wanted = settings.loaders ?? (view === undefined ? [] : loadersMeant(view))
  const filled = checkpoint.tensors.size === 0 ? undefined : view
  const found =
    filled === undefined
      ? nothingRead(read.found, checkpoint)
      : [
          ...read.found,
          ...nameDefects(filled, base !== undefined),
          ...(await defectsOf(read, checkpoint, base, wanted, settings, context)),
        ]
  for (const input of inputs) await assertUnchanged(input)
  const verdicts =
    filled === undefined ? [] : verdictsOf(filled, wanted, (loader) => defectHits(found, loader, filled))
  const defects = settledDefects(found, checkpoint)
  const loaders = verdicts.map(loaderOf)
  const result: CheckResult = {
    source: {
      adapter: checkpoint.path,
      file: fileOf(checkpoint),
      ...(base !== undefined && { base: base.path }),
    },
    ...factsOf(checkpoint, adapter, view && judged(view).family?.name),
    leftOut: read.leftOut,
    loaders,
    defects,
    holds:
      loaders.every(({ verdict }) => verdict === 'loads') &&
      defects.every(({ severity }) => severity !== 'error'),
    readNumbers: !settings.fast,
    warnings: inputs.flatMap(({ warnings }) => warnings),
    seconds: (performance.now() - start) / 1000,
  }
  if (sarif !== undefined)
    await writeTextAtomic(sarif, `${JSON.stringify(sarifOf(result), null, 2)}\n`, { force })
  return result
}

async function openBase(path: string, { opening }: RunContext): Promise<Checkpoint> {
  const base = await openCheckpoint(path, opening)
  if ((await adapterOf(base)) !== undefined) {
    throw badUsage(`--base ${path} is an adapter; name the weights that it was trained on`)
  }
  return base
}

/** A file without tensors is no model either. */
const isMeantAsAdapter = ({ tensors, adapterConfig }: Checkpoint) =>
  adapterConfig !== undefined || tensors.size === 0

/** That nothing could be read, where nothing tells why. */
const nothingRead = (found: readonly Found[], { tensors }: Checkpoint): readonly Found[] => {
  if (tensors.size === 0) return [...found, { rule: 'empty' }]
  return found.length > 0 ? found : [{ rule: 'no-factors' }]
}

function modelOf(base: Checkpoint | undefined): ModelView {
  if (base === undefined) return {}
  const architecture = architectureOf(base.config)
  const type = base.config?.model_type
  const gguf = base.isGguf ? base.metadata.get('general.architecture') : undefined
  const experts = base.config?.num_local_experts ?? base.config?.num_experts
  const family = layoutOf(base.tensors)?.family
  const hasHead = [...base.tensors.keys()].some((name) =>
    /(?:^|\.)(?:lm_head|embed_out|output)\.weight$/.test(name),
  )
  const blocks = base.config?.num_hidden_layers
  return {
    ...(architecture !== undefined && { architecture }),
    ...(typeof type === 'string' && { type }),
    ...(gguf !== undefined && { gguf }),
    ...(typeof experts === 'number' && { experts }),
    ...(typeof blocks === 'number' && { blocks }),
    ...(family !== undefined && { family }),
    modules: new Set([...base.tensors.keys()].map((name) => name.replace(/\.[^.]+$/, ''))),
    isTied: base.config?.tie_word_embeddings === true || !hasHead,
  }
}

async function defectsOf(
  { adapter, found }: ReadAdapter,
  checkpoint: Checkpoint,
  base: Checkpoint | undefined,
  loaders: readonly Loader[],
  settings: CheckSettings,
  context: RunContext,
): Promise<Found[]> {
  if (adapter === undefined) return []
  const hasBrokenConfig = adapter.config === undefined && checkpoint.adapterConfig !== undefined
  const isLeftEmpty = adapter.modules.length === 0 && found.length > 0
  return [
    ...(isLeftEmpty ? [] : fileDefects(adapter, { ...settings, hasBrokenConfig })),
    ...configDefects(adapter),
    ...(base === undefined ? [] : baseDefects(adapter, base, loaders)),
    ...(settings.fast ? [] : await dataDefects(adapter, context)),
  ]
}

const ORDER = ['error', 'warning', 'note']

/** The file that holds the tensors, the first of several. */
const fileOf = ({ path, files }: Checkpoint) => files[0]?.path ?? path

/** The findings with what the table says of their kind, the gravest first. */
function settledDefects(found: readonly Found[], checkpoint: Checkpoint): CheckedDefect[] {
  const { path, folder } = checkpoint
  const file = fileOf(checkpoint)
  const config = folder === undefined ? path : join(path, ADAPTER_CONFIG_FILE)
  return found
    .map(({ rule, message, names = [], inConfig }): CheckedDefect => {
      const { severity, text, advice, source } = DEFECTS[rule]
      return {
        ...{ rule, severity, message: message ?? text, advice, names, source },
        file: inConfig ? config : file,
      }
    })
    .sort((a, b) => ORDER.indexOf(a.severity) - ORDER.indexOf(b.severity))
}

const loaderOf = ({ loader, verdict, loaded, hits }: LoaderVerdict): CheckedLoader => ({
  ...{ loader, verdict, loaded },
  reasons: hits.map(({ fact: { rule, effect, source, date }, reason, modules, tensors, scale }) => ({
    ...{ rule, effect, reason },
    ...(source !== undefined && { source }),
    ...(date !== undefined && { date }),
    ...(modules !== undefined && { modules }),
    ...(tensors !== undefined && { tensors }),
    ...(scale !== undefined && { scale }),
  })),
})

function factsOf(
  { tensors }: Checkpoint,
  adapter: Adapter | undefined,
  family: string | undefined,
): Pick<CheckResult, 'format' | 'family' | 'modules' | 'whole' | 'others' | 'ranks' | 'bytes'> {
  const bytes = [...tensors.values()].reduce((sum, tensor) => sum + tensor.bytes, 0)
  if (adapter === undefined) return { modules: 0, whole: 0, others: tensors.size, bytes }
  const { format, modules, replaced, ignored } = adapter
  const ranks = modules.filter(({ product }) => product.kind === 'lora').map(({ rank }) => rank)
  const [least, most] = ranks.reduce(
    ([low, high], rank) => [Math.min(low, rank), Math.max(high, rank)],
    [Number.POSITIVE_INFINITY, 0],
  )
  return {
    format,
    ...(family !== undefined && { family }),
    modules: modules.length,
    whole: replaced.length,
    others: replaced.length + ignored.length,
    ...(ranks.length > 0 && { ranks: { atLeast: least, atMost: most } }),
    bytes,
  }
}
