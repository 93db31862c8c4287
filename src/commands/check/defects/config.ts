import { isAbsolute } from 'node:path'
import { targetedBy } from '../../../lora/found-by-loaders.ts'
import type { Adapter } from '../../../lora/model.ts'
import { PatternSet } from '../../../lora/pattern/pattern-set.ts'
import { PatternError } from '../../../lora/pattern/syntax.ts'
import type { PatternRule, PeftConfig } from '../../../lora/read/peft-config.ts'
import { quoted } from '../../../text/quote.ts'
import type { Found } from '../rules.ts'

/** Defects of adapter_config.json, and of what it says beside the tensors. */
export function configDefects(adapter: Adapter): Found[] {
  const { config, format } = adapter
  if (config === undefined || format !== 'peft') return []
  const { modules } = adapter
  const paths = modules.map(({ path }) => path.replace(/(?:\.base_layer)+$/, ''))
  const found: Found[] = [
    ...bases(config),
    ...(config.loraAlpha === 0 ? [{ rule: 'config-alpha-zero' as const }] : []),
    ...(modules.length === 0 ? [] : targets(config, paths)),
    ...unmatched('config-rank-pattern', config.rankPattern, [...paths, ...parameterPaths(config, paths)]),
    ...unmatched('config-alpha-pattern', config.alphaPattern, [...paths, ...parameterPaths(config, paths)]),
    ...extras(adapter, config),
    ...modulesToSave(adapter, config),
    ...(config.mutatesBase === undefined
      ? []
      : [
          {
            rule: 'config-mutated-base' as const,
            message: `${config.mutatesBase}: the adapter belongs to a base that its training changed first.`,
          },
        ]),
    ...(config.layerReplication ? [{ rule: 'config-layer-replication' as const }] : []),
    ...(config.fanInFanOut && modules.length > 0 && !paths.some((path) => IN_OUT.test(path))
      ? [{ rule: 'config-fan-in-fan-out' as const }]
      : []),
  ]
  return found.map((one) => ({ ...one, inConfig: true as const }))
}

/** Layers that models of transformers' Conv1D have. */
const IN_OUT = /(?:^|\.)(?:c_attn|q_attn|c_fc|c_proj)$/

function bases({ baseModel }: PeftConfig): Found[] {
  if (baseModel === undefined || baseModel === '') return [{ rule: 'config-base-missing' }]
  const isLocal = isAbsolute(baseModel) || /^(?:\.{1,2}[/\\]|~[/\\]|[A-Za-z]:[/\\])/.test(baseModel)
  return isLocal
    ? [
        {
          rule: 'config-base-local',
          message: `base_model_name_or_path is ${quoted(baseModel)}, a path of one machine.`,
        },
      ]
    : []
}

function targets({ targetModules, targetParameters }: PeftConfig, paths: readonly string[]): Found[] {
  if (targetModules === undefined || targetModules === 'all-linear' || targetParameters.length > 0) return []
  const isTargeted = targetedBy(targetModules)
  if (!paths.some(isTargeted)) return [{ rule: 'config-no-target' }]
  if (typeof targetModules === 'string') return []
  const ends = endingsOf(paths, targetModules)
  const unused = targetModules.filter((name) => !ends.has(name))
  return unused.length === 0
    ? []
    : [
        {
          rule: 'config-targets',
          message: `target_modules names ${unused.slice(0, 3).map(quoted).join(', ')}, of which the file has no factors.`,
        },
      ]
}

/** Those of the names that a path is, or ends in. */
function endingsOf(paths: readonly string[], names: readonly string[]): Set<string> {
  const wanted = new Set(names)
  const found = new Set<string>()
  for (const path of paths) {
    for (let at = 0; at >= 0; ) {
      const end = path.slice(at)
      if (wanted.has(end)) found.add(end)
      const dot = path.indexOf('.', at)
      at = dot < 0 ? -1 : dot + 1
    }
  }
  return found
}

/** Patterns of stacked experts are matched against `module.parameter`. */
const parameterPaths = ({ targetParameters }: PeftConfig, paths: readonly string[]) =>
  targetParameters.length === 0
    ? []
    : [...new Set(paths)].flatMap((path) =>
        targetParameters.map((target) => `${path}.${target.slice(target.lastIndexOf('.') + 1)}`),
      )

/** Patterns that are the first to fit no module. */
function unmatched(
  rule: 'config-rank-pattern' | 'config-alpha-pattern',
  rules: readonly PatternRule[],
  paths: readonly string[],
): Found[] {
  if (rules.length === 0 || paths.length === 0) return []
  const used = new Set<number>()
  try {
    const patterns = PatternSet.ofKeys(rules.map(({ pattern }) => pattern))
    for (const path of paths) {
      const at = patterns.first(path)
      if (at !== undefined) used.add(at)
    }
  } catch (error) {
    if (!(error instanceof PatternError)) throw error
    return []
  }
  const unused = rules.filter((_, at) => !used.has(at)).map(({ pattern }) => pattern)
  const where = rule === 'config-rank-pattern' ? 'rank_pattern' : 'alpha_pattern'
  return unused.length === 0
    ? []
    : [{ rule, message: `${where} has ${unused.slice(0, 3).map(quoted).join(', ')}, which no module fits.` }]
}

/** Parts that the config and the file don't agree on. */
function extras({ modules, ignored, replaced }: Adapter, config: PeftConfig): Found[] {
  const switchedOff = (ending: RegExp) =>
    ignored.filter(({ name }) => ending.test(name)).map(({ name }) => name)
  const dropped = switchedOff(/\.lora_magnitude_vector(?:\.\w+)*$/)
  const biases = switchedOff(/\.lora_B(?:\.\w+)?\.bias$/)
  const plain = modules.filter(({ magnitude, kind }) => magnitude === undefined && kind !== 'experts')
  return [
    ...(config.useDora && plain.length > 0
      ? [{ rule: 'config-dora-without-magnitudes' as const, names: plain.map(({ label }) => label) }]
      : []),
    ...(!config.useDora && dropped.length > 0
      ? [{ rule: 'config-magnitudes-without-dora' as const, names: dropped }]
      : []),
    ...(!config.loraBias && biases.length > 0
      ? [{ rule: 'config-bias-without-flag' as const, names: biases }]
      : []),
    ...(config.loraBias && modules.length > 0 && modules.every(({ bias }) => bias === undefined)
      ? [{ rule: 'config-lora-bias' as const }]
      : []),
    ...(config.bias !== 'none' && !replaced.some(({ name }) => name.endsWith('bias'))
      ? [{ rule: 'config-bias' as const, message: `bias is "${config.bias}", and the file holds no bias.` }]
      : []),
  ]
}

function modulesToSave({ replaced }: Adapter, { modulesToSave: named }: PeftConfig): Found[] {
  if (named.length === 0) return []
  const held = endingsOf(
    replaced.flatMap(({ name }) => ancestorsOf(name)),
    named,
  )
  const missing = named.filter((name) => !held.has(name))
  return missing.length === 0
    ? []
    : [
        {
          rule: 'config-modules-to-save',
          message: `modules_to_save names ${missing.slice(0, 3).map(quoted).join(', ')}, and the file holds nothing of it.`,
        },
      ]
}

/** The modules that a parameter is in. */
function ancestorsOf(name: string): string[] {
  const parts = name.split('.')
  return parts.map((_, count) => parts.slice(0, count).join('.')).filter((path) => path !== '')
}
