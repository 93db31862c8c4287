import { grouped, percent } from '../../../text/numbers.ts'
import { counted } from '../../../text/quote.ts'
import type { NextRun } from '../result.ts'

/** What is printed of the next run, and what is said of it besides. */

/** How the fields of LoraConfig are called in axolotl's YAML (src/axolotl/utils/schemas/peft.py@2026-07-24). */
const AXOLOTL_KEYS: Readonly<Record<string, string>> = {
  r: 'lora_r',
  lora_alpha: 'lora_alpha',
  target_modules: 'lora_target_modules',
  rank_pattern: 'lora_rank_pattern',
  alpha_pattern: 'lora_alpha_pattern',
  fan_in_fan_out: 'lora_fan_in_fan_out',
}
/** The release that first passes patterns on (src/axolotl/loaders/adapter.py, _build_lora_config_kwargs). */
const PATTERNS_SINCE = '0.18'

/** The text that standard output gets: JSON for `LoraConfig(**json)`, or the keys of axolotl's YAML. */
export function emittedText(run: Omit<NextRun, 'text'>): string {
  const { format, config } = run
  if (format === 'peft') return `${JSON.stringify(config, null, 2)}\n`
  const hasPatterns = Object.keys(config.rank_pattern).length > 0
  const fields = Object.entries(config).filter(([key]) => hasPatterns || !key.endsWith('_pattern'))
  return [
    ...summary(run).map((line) => `# ${line}`),
    ...(hasPatterns ? [`# The patterns need axolotl ${PATTERNS_SINCE} or later.`] : []),
    'adapter: lora',
    ...fields.flatMap(([key, value]) => yamlField(AXOLOTL_KEYS[key], value)),
    '',
  ].join('\n')
}

/** Strings as JSON has them, which YAML reads as the same. */
function yamlField(key: string, value: unknown): string[] {
  if (Array.isArray(value)) return [`${key}:`, ...value.map((item) => `  - ${JSON.stringify(item)}`)]
  if (typeof value !== 'object' || value === null) return [`${key}: ${JSON.stringify(value)}`]
  return [`${key}:`, ...Object.entries(value).map(([name, rank]) => `  ${JSON.stringify(name)}: ${rank}`)]
}

/** What the ranks come to, a line a fact. */
function summary({ parameters, budget, kept, modules }: Omit<NextRun, 'text'>): string[] {
  const ranks = modules.map(({ rank }) => rank)
  const [least, most] = [Math.min(...ranks), Math.max(...ranks)]
  return [
    `Ranks ${least === most ? least : `${least} to ${most}`} in ${counted(modules.length, 'module')}: ${grouped(parameters)} parameters of ${grouped(budget)}.`,
    `The best factors of these ranks carry ${shareText(kept)} of the change's squared norm. alpha = rank in each module.`,
  ]
}

const shareText = ({ atLeast, atMost }: NextRun['kept']) => {
  const [low, high] = [percent(atLeast), percent(atMost)]
  return low === high ? low : `between ${low} and ${high}`
}

/** Names listed at most of those for which one reason holds. */
const LISTED = 3

/** What standard error gets, a sentence each. */
export function nextNotes(run: NextRun): string[] {
  const { left, ranOut } = run
  const byReason = new Map<string, string[]>()
  for (const { name, reason } of left) byReason.set(reason, [...(byReason.get(reason) ?? []), name])
  const list = (names: readonly string[]) =>
    `${names.slice(0, LISTED).join(', ')}${names.length > LISTED ? ` and ${names.length - LISTED} more` : ''}`
  return [
    ...summary(run),
    ...[...byReason].map(([reason, names]) => `Not named, ${reason}: ${list(names)}.`),
    ...(ranOut.length > 0
      ? [
          `All singular values that were computed of ${list(ranOut)} are taken: with --leading ${2 * Math.max(...run.modules.map(({ rank }) => rank))} the ranks may be spread better.`,
        ]
      : []),
  ]
}
