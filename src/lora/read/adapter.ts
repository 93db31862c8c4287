import { join } from 'node:path'
import { ADAPTER_CONFIG_FILE } from '../../checkpoint/folder.ts'
import type { Checkpoint, StoredTensor } from '../../checkpoint/types.ts'
import { badInput, type LoraSvdError, tolerating } from '../../errors.ts'
import { grouped } from '../../text/numbers.ts'
import { counted, quoted } from '../../text/quote.ts'
import { metadataConfigs } from '../diffusion.ts'
import type { Adapter, AdapterModule, IgnoredTensor, JsonObject, ReplacedTensor } from '../model.ts'
import {
  formatOf,
  isFactor,
  otherKind,
  type ParsedName,
  parseName,
  type Role,
  type SpelledFormat,
  splitPrefix,
} from '../names.ts'
import { PatternError } from '../pattern/syntax.ts'
import { type AlphaZero, isSaid, refuseZeros, storedAlphas, zeroAlphas, zeroWarnings } from './alpha.ts'
import { ggufAdapterOf } from './gguf.ts'
import { isMlx, mlxAdapterOf } from './mlx.ts'
import { buildModule, type ModuleParts } from './module.ts'
import { COPY_OF_BASE, isSwitchedOff, otherTensor, strangerReason, tokenRows } from './peft.ts'
import { type PeftConfig, parsePeftConfig } from './peft-config.ts'
import { isTorchtune, type Renamed, underHubNames } from './torchtune.ts'
import { isXlabs, underDiffusersNames } from './xlabs.ts'

export interface AdapterOptions {
  /** For modules whose alpha neither a config nor the file tells. */
  readonly alpha?: number | undefined
  /** What an alpha of 0 means. */
  readonly alphaZero?: AlphaZero | undefined
  /** config.json of the model that the adapter is of: tells the heads, by which torchtune orders rows. */
  readonly model?: JsonObject | undefined
  /** What leaves the change of a weight open is an error; else it is a warning, and the likeliest is taken. */
  readonly isStrict?: boolean | undefined
  /**
   * Is told of what is wrong with a part of the file, which is then left out, where it would be thrown otherwise: of a module, of a
   * tensor, of the config. An adapter may then have no modules.
   */
  readonly onDefect?: (defect: LoraSvdError) => void
}

type Named = readonly [tensor: StoredTensor, parsed: ParsedName]

/**
 * The adapter that a checkpoint is, or undefined where the names are no adapter's: also where factors lie beside the
 * weights they would apply to, in a model with low-rank branches of its own. Reads `.alpha` tensors, of GGUF the embedding's factor, and
 * nothing else.
 * Throws `bad-input`, naming the tensors, on other kinds of adapter (LoHa, LoKr, OFT, …), on half a pair, on factors that
 * don't fit each other or the config's rank, on a module twice, and on a wrong adapter_config.json.
 */
export async function adapterOf(
  checkpoint: Checkpoint,
  options: AdapterOptions = {},
): Promise<Adapter | undefined> {
  if (checkpoint.isGguf) return ggufAdapterOf(checkpoint, options.onDefect)
  if (isMlx(checkpoint)) return mlxAdapterOf(checkpoint, options)
  const { path, metadata } = checkpoint
  const { tensors, warnings } = await underKnownNames(checkpoint, options)
  const json = checkpoint.adapterConfig
  const tolerant = <T>(work: () => T): T | undefined => tolerating(options.onDefect, work)
  const has = (name: string) => checkpoint.tensors.has(name)
  const isModel = (stem: string) =>
    json === undefined && (has(`${stem}.weight`) || has(`${stem}.base_layer.weight`))

  const named: Named[] = []
  const others: StoredTensor[] = []
  for (const tensor of tensors) {
    const other = otherKind(tensor.name, has)
    if (other !== undefined && !isModel(other.stem)) {
      tolerant(() => {
        throw otherKindError(path, tensor.name, other)
      })
      continue
    }
    const parsed = parseName(tensor.name)
    if (parsed === undefined) others.push(tensor)
    else named.push([tensor, parsed])
  }
  const config =
    json === undefined ? undefined : tolerant(() => parsePeftConfig(json, configPath(checkpoint)))
  const factors = named.filter(([, { role }]) => isFactor(role))
  if (config === undefined) {
    if (factors.some(([, { stem }]) => isModel(stem))) return undefined
    const isExactParts = others.length === 0 && named.some(([, { role }]) => isExactPart(role))
    if (factors.length === 0 && !isExactParts) return undefined
  }
  const adapterName = tolerant(() => oneName(path, named))
  const format = json === undefined ? formatOf(named.map(([, parsed]) => parsed)) : 'peft'
  const alphas = await storedAlphas(path, named)
  const zeros = config === undefined ? zeroAlphas(named, alphas) : []
  refuseZeros(path, zeros, options)
  const configs =
    config === undefined
      ? (tolerant(() => metadataConfigs(path, metadata)) ?? new Map<string, PeftConfig>())
      : new Map([['', config]])

  const { modules, ignored, replaced } = sort(path, format, named, config, options.onDefect)
  for (const tensor of others) {
    const reason = strangerReason(tensor.name)
    if (reason !== undefined) ignored.push({ name: tensor.name, reason })
    else if (format === 'peft') putTensor(otherTensor(tensor, config, adapterName), replaced, ignored)
    else ignored.push({ name: tensor.name, reason: 'a name that loaders of such files do not know' })
  }
  const built = withReadablePatterns(path, () =>
    [...modules.values()].flatMap((parts) => {
      const module = tolerant(() =>
        buildModule(parts, {
          path,
          format,
          config: configs.get(componentOf(parts.prefix)) ?? configs.get(''),
          storedAlpha: alphas.get(parts.tensors.get('alpha')?.name ?? ''),
          alpha: options.alpha,
          alphaZero: options.alphaZero,
        }),
      )
      return module ?? []
    }),
  )
  if (built.length === 0 && replaced.length === 0 && options.onDefect === undefined) {
    const [first] = ignored
    const why = first === undefined ? '' : `: ${quoted(first.name)}: ${first.reason}`
    throw badInput(`${path}: holds no LoRA tensors${why}`, { file: path })
  }
  const single = config ?? (configs.size === 1 ? [...configs.values()][0] : undefined)
  return {
    format,
    path,
    ...(single === undefined ? {} : { config: single }),
    modules: labelled(built),
    replaced,
    ignored,
    warnings: [
      ...warnings,
      ...warningsOf({ format, config: single, built, ignored, zeros: isSaid(options) ? [] : zeros }),
    ],
  }
}

/** The tensors of a checkpoint, those of trainers with names of their own under names that others share. */
async function underKnownNames(
  { path, tensors, config }: Checkpoint,
  { model = config, isStrict = false }: AdapterOptions,
): Promise<Renamed> {
  const all = [...tensors.values()]
  if (isXlabs(tensors.keys())) return { tensors: underDiffusersNames(path, all), warnings: [] }
  if (isTorchtune(tensors.keys())) return underHubNames(all, { path, model, isStrict })
  return { tensors: all, warnings: [] }
}

/** Patterns that can be read may still take too long to match. */
function withReadablePatterns<T>(path: string, build: () => T): T {
  try {
    return build()
  } catch (error) {
    if (!(error instanceof PatternError)) throw error
    throw badInput(`${path}: rank_pattern or alpha_pattern: ${error.message}`, { file: path, cause: error })
  }
}

const isExactPart = (role: Role) => role === 'diff' || role === 'diff_b' || role === 'set_weight'
const componentOf = (prefix: string) => prefix.replace(/\.$/, '')

const configPath = ({ folder, path }: Checkpoint) =>
  folder === undefined ? `${path} (${ADAPTER_CONFIG_FILE})` : join(folder, ADAPTER_CONFIG_FILE)

const otherKindError = (path: string, tensor: string, { kind }: { kind: string }) =>
  badInput(`${path}: tensor ${quoted(tensor)} belongs to ${kind}; only LoRA, LoHa and LoKr are read`, {
    file: path,
    tensor,
    rule: 'other-kind',
  })

/** The adapter's name in the keys, where one stands there. Throws where there are several: adapters of one model together. */
function oneName(path: string, named: readonly Named[]): string | undefined {
  const names = new Set(named.flatMap(([, { adapterName }]) => adapterName ?? []))
  if (names.size <= 1) return [...names][0]
  const some = [...names].slice(0, 3).map(quoted).join(', ')
  throw badInput(`${path}: holds several adapters (${some}${names.size > 3 ? ', …' : ''}): save each alone`, {
    file: path,
    rule: 'several-adapters',
  })
}

function putTensor(
  found: ReplacedTensor | IgnoredTensor,
  replaced: ReplacedTensor[],
  ignored: IgnoredTensor[],
): void {
  if ('reason' in found) ignored.push(found)
  else replaced.push(found)
}

/** Puts the tensors to their modules. Throws where two have the same part in one. */
function sort(
  path: string,
  format: SpelledFormat,
  named: readonly Named[],
  config: PeftConfig | undefined,
  tell: AdapterOptions['onDefect'],
) {
  const put = (key: string, parts: ModuleParts, role: Role, tensor: StoredTensor) =>
    modules.set(key, tolerating(tell, () => withPart(path, parts, role, tensor)) ?? parts)
  const modules = new Map<string, ModuleParts>()
  const replaced: ReplacedTensor[] = []
  const ignored: IgnoredTensor[] = []
  const keyOf = ({ stem }: ParsedName) =>
    // PEFT's prefix says nothing: a module with it and one without are the same
    format === 'peft' ? splitPrefix(stem, format).path : stem
  for (const [tensor, parsed] of named) {
    if (!isFactor(parsed.role)) continue
    const key = keyOf(parsed)
    const known = modules.get(key)
    put(key, known ?? splitModule(parsed.stem, format), parsed.role, tensor)
  }
  for (const [tensor, parsed] of named) {
    if (isFactor(parsed.role)) continue
    const key = keyOf(parsed)
    const { prefix, path: module } = splitPrefix(parsed.stem, format)
    const parts = modules.get(key)
    if (isExactPart(parsed.role)) {
      replaced.push(exactPart(tensor, parsed.role, prefix, module))
    } else if (parsed.role === 'token rows') {
      const rows = tolerating(tell, () => tokenRows(tensor, module, prefix, config, path))
      if (rows !== undefined) putTensor(rows, replaced, ignored)
    } else if (parts === undefined) {
      // a model may well have a parameter named alpha, and train it
      if (config !== undefined && parsed.role === 'alpha')
        putTensor(otherTensor(tensor, config), replaced, ignored)
      else ignored.push({ name: tensor.name, reason: 'its module has no factors' })
    } else if (config !== undefined && isSwitchedOff(parsed.role, config)) {
      ignored.push({ name: tensor.name, reason: 'adapter_config.json does not ask for it' })
    } else {
      put(key, parts, parsed.role, tensor)
    }
  }
  return { modules, replaced, ignored }
}

function splitModule(stem: string, format: SpelledFormat): ModuleParts {
  const { prefix, path } = splitPrefix(stem, format)
  return { prefix, module: path, tensors: new Map() }
}

function withPart(path: string, parts: ModuleParts, role: Role, tensor: StoredTensor): ModuleParts {
  const before = parts.tensors.get(role)
  if (before !== undefined) {
    throw badInput(
      `${path}: tensors ${quoted(before.name)} and ${quoted(tensor.name)} are both the ${role} of the module ${quoted(parts.module)}`,
      { file: path, tensor: tensor.name, rule: 'duplicate-module' },
    )
  }
  return { ...parts, tensors: new Map([...parts.tensors, [role, tensor]]) }
}

/** `X.diff` belongs to `X.weight`, or to X itself where that names a tensor (ComfyUI, comfy/lora.py). */
function exactPart(tensor: StoredTensor, role: Role, prefix: string, module: string): ReplacedTensor {
  const isWhole = /\.(?:weight|bias)$/.test(module)
  const suffix = role === 'diff_b' ? '.bias' : isWhole ? '' : '.weight'
  return { name: module + suffix, tensor, how: role === 'set_weight' ? 'replace' : 'add', prefix }
}

function labelled(modules: readonly AdapterModule[]): AdapterModule[] {
  const counts = new Map<string, number>()
  for (const { path } of modules) counts.set(path, (counts.get(path) ?? 0) + 1)
  return modules.map((module) =>
    counts.get(module.path) === 1 ? module : { ...module, label: module.prefix + module.path },
  )
}

interface Findings {
  readonly format: SpelledFormat
  readonly config: PeftConfig | undefined
  readonly built: readonly AdapterModule[]
  readonly ignored: readonly IgnoredTensor[]
  /** Tensors of an alpha of 0 of which nobody says what they mean. */
  readonly zeros: readonly StoredTensor[]
}

function warningsOf({ format, config, built, ignored, zeros }: Findings): string[] {
  const warnings = zeroWarnings(zeros)
  const unscaled = built.filter(({ alpha }) => alpha === undefined)
  if (format === 'peft' && unscaled.length > 0) {
    warnings.push(
      `the scale of ${counted(unscaled.length, 'module')} is UNKNOWN: there is neither adapter_config.json nor an .alpha tensor; 1 is taken, which may be far off: give alpha`,
    )
  }
  const off = config === undefined ? [] : built.filter(({ scale }) => scale === 0)
  if (off.length > 0) {
    warnings.push(
      `lora_alpha is 0 for ${counted(off.length, 'module')} of ${grouped(built.length)}: PEFT multiplies by 0, and nothing is changed there`,
    )
  }
  const dora = built.filter(({ magnitude }) => magnitude !== undefined)
  if (dora.length > 0) {
    warnings.push(
      `${counted(dora.length, 'module')} ${dora.length === 1 ? 'is' : 'are'} DoRA: each row of W + scale·B·A is rescaled, and the figures of B·A leave that out`,
    )
  }
  if (config?.mutatesBase !== undefined) {
    warnings.push(
      `${config.mutatesBase}: the adapter belongs to a base that its training changed first; on the plain base B·A is not its delta`,
    )
  }
  if (config?.layerReplication) {
    warnings.push('layer_replication is set: the modules are those of a model with repeated layers')
  }
  if (config?.alora) warnings.push('an activated LoRA (aLoRA): it acts only from its invocation tokens on')
  const unknown = ignored.filter(({ reason }) => reason !== COPY_OF_BASE)
  if (unknown.length > 0) {
    const [{ name, reason }] = unknown
    const more = unknown.length > 1 ? `, and ${unknown.length - 1} more` : ''
    warnings.push(`tensor ${quoted(name)} is left out: ${reason}${more}`)
  }
  return warnings
}
