import { loraScale } from '../read/peft-config.ts'
import { leafOfPath } from '../traits.ts'
import { ofConfig, peftFolderRules, sourced } from './common.ts'
import type { LoaderFacts, LoaderRule } from './types.ts'

/** Projections that SGLang stacks into one: their ranks have to be equal (sglang #25913, #28199). */
const STACKED_GROUPS: readonly (readonly string[])[] = [
  ['q_proj', 'k_proj', 'v_proj'],
  ['gate_proj', 'up_proj'],
]

/** The paths of the modules that SGLang stacks with the one at this path, itself among them; none where it stands alone. */
export function stackedPaths(path: string): string[] {
  const at = path.lastIndexOf('.') + 1
  const group = STACKED_GROUPS.find((names) => names.includes(path.slice(at)))
  return (group ?? []).map((name) => `${path.slice(0, at)}${name}`)
}

const MID_2026 = 'mid-2026'
const SOURCE = 'sgl-project/sglang: python/sglang/srt/lora/lora.py'
const CONFIG = 'sgl-project/sglang: python/sglang/srt/lora/lora_config.py'
const fact = sourced('SGLang', SOURCE, MID_2026)
const ofPool = sourced('SGLang', 'sgl-project/sglang: python/sglang/srt/lora/mem_pool.py', MID_2026)

/** What SGLang finds a tensor's layer by. */
const IN_LAYER = /layers\.\d+\./
/** Whether a name is of one of the modules that target_modules names, as far as SGLang looks: by their last names. */
const isOfTarget = (name: string, targets: string | readonly string[] | undefined) =>
  typeof targets === 'string' || (targets ?? []).some((target) => name.includes(leafOfPath(target)))

const RULES: readonly LoaderRule[] = [
  ...peftFolderRules('SGLang', 'sglang', CONFIG, MID_2026),
  {
    ...sourced(
      'SGLang',
      CONFIG,
      MID_2026,
    )({
      rule: 'sglang-needs-fields',
      effect: 'refuses',
      text: 'SGLang needs r, lora_alpha and target_modules in adapter_config.json, and none of them null',
    }),
    ofAdapter: ofConfig(({ missing, nulls }) => {
      const needed = [...missing, ...nulls]
      return needed.length > 0 ? `it needs ${needed.join(', ')} in adapter_config.json` : undefined
    }),
  },
  {
    ...sourced(
      'SGLang',
      'sgl-project/sglang: issue 25913',
      MID_2026,
    )({
      rule: 'sglang-pattern-of-targets',
      effect: 'refuses',
      text: 'SGLang refuses a regular expression as target_modules',
    }),
    ofAdapter: ofConfig(({ targetModules: targets }) =>
      typeof targets === 'string' && targets !== 'all-linear' && targets !== 'all'
        ? 'it refuses a regular expression as target_modules'
        : undefined,
    ),
  },
  {
    ...sourced(
      'SGLang',
      'sgl-project/sglang: issue 25528',
      MID_2026,
    )({
      rule: 'sglang-stacked-experts',
      effect: 'misreads',
      text: 'SGLang misreads stacked experts (#25528)',
    }),
    ofModule: ({ kind }) => (kind === 'experts' ? 'it misreads stacked experts (SGLang #25528)' : undefined),
  },
  {
    ...fact({
      rule: 'sglang-whole-outside-layers',
      effect: 'passes over',
      text: 'SGLang passes over whole tensors outside the layers',
    }),
    ofWhole: ({ name }, { config }) =>
      IN_LAYER.test(name) || isOfTarget(name, config?.targetModules)
        ? undefined
        : 'it passes over whole tensors outside the layers',
  },
  {
    ...ofPool({
      rule: 'sglang-whole-in-layers',
      effect: 'refuses',
      text: 'SGLang stops at tensors of a layer that are of none of the modules in target_modules',
    }),
    ofWhole: ({ name }, { config }) =>
      IN_LAYER.test(name) && !isOfTarget(name, config?.targetModules)
        ? `it stops at tensors of modules that target_modules does not name (${name})`
        : undefined,
  },
  {
    ...ofPool({
      rule: 'sglang-beside-factors',
      effect: 'misreads',
      text: 'SGLang takes all tensors of a module but lora_A for lora_B: magnitudes of DoRA and biases',
    }),
    ofModule: ({ magnitude, bias }) => {
      const found = magnitude?.name ?? bias
      return found !== undefined && IN_LAYER.test(found)
        ? `it takes all but lora_A for lora_B (${found})`
        : undefined
    },
    ofWhole: ({ name }, { config }) =>
      IN_LAYER.test(name) && isOfTarget(name, config?.targetModules)
        ? `it takes all tensors of a module but lora_A for lora_B (${name})`
        : undefined,
  },
  {
    ...fact({
      rule: 'sglang-unequal-ranks',
      effect: 'refuses',
      text: 'SGLang stacks q, k, v and gate, up, and needs equal ranks in each group',
    }),
    ofModule: (module, { byPath }) => {
      const stacked = stackedPaths(module.path)
      const other = stacked
        .map((path) => byPath.get(path))
        .find((sibling) => sibling !== undefined && sibling.rank !== module.rank)
      if (other === undefined) return undefined
      const names = stacked.map(leafOfPath)
      return `it needs equal ranks in ${names.join(', ')}: ${module.path} has ${module.rank}, ${other.path} ${other.rank}`
    },
  },
  {
    ...sourced(
      'SGLang',
      'sgl-project/sglang: issues 25913 and 28199',
      MID_2026,
    )({
      rule: 'sglang-incomplete-group',
      effect: 'warns',
      text: 'releases of SGLang fail where a module of a group that it stacks (q, k, v; gate, up) has no factors',
    }),
    ofModule: ({ path }, { byPath }) => {
      const missing = stackedPaths(path).find((one) => !byPath.has(one))
      return missing === undefined
        ? undefined
        : `releases of it fail where ${leafOfPath(missing)} has no factors beside ${leafOfPath(path)}`
    },
  },
]

export const SGLANG: LoaderFacts = {
  rules: RULES,
  scale: {
    ...fact({
      rule: 'sglang-scale',
      effect: 'scales',
      text: 'SGLang scales all modules by lora_alpha / r, and reads neither patterns nor use_rslora',
    }),
    scaleOf: ({ scale }, { config }) =>
      config === undefined ? scale : loraScale(config.loraAlpha, config.r, false),
  },
}
