import { quoted } from '../../text/quote.ts'
import { nameProblem } from '../found-by-loaders.ts'
import { loraScale } from '../read/peft-config.ts'
import { ofConfig, peftFolderRules, prefixAmidNames, someOf, sourced } from './common.ts'
import type { LoaderFacts, LoaderRule } from './types.ts'

/** The ranks that vLLM's --max-lora-rank takes (vllm/config/lora.py). */
export const VLLM_RANKS = [1, 8, 16, 32, 64, 128, 256, 320, 512] as const
export const VLLM_LARGEST_RANK = VLLM_RANKS[VLLM_RANKS.length - 1]
/** What --max-lora-rank is where nobody says it. */
const VLLM_DEFAULT_RANK = 16

/** String values of init_lora_weights that vLLM's newest check lets pass. */
const VLLM_INITS = ['gaussian', 'eva', 'orthogonal', 'mica', 'lora_ga']

const MID_2026 = 'mid-2026'
const HELPER = 'vllm-project/vllm: vllm/lora/peft_helper.py'
const ofHelper = sourced('vLLM', HELPER, MID_2026)
const ofModel = sourced('vLLM', 'vllm-project/vllm: vllm/lora/lora_model.py', MID_2026)
const ofRanks = sourced('vLLM', 'vllm-project/vllm: vllm/config/lora.py', MID_2026)

const RULES: readonly LoaderRule[] = [
  ...peftFolderRules('vLLM', 'vllm', HELPER, MID_2026),
  {
    ...ofHelper({
      rule: 'vllm-needs-fields',
      effect: 'refuses',
      text: 'vLLM needs r, lora_alpha and target_modules in adapter_config.json',
    }),
    ofAdapter: ofConfig(({ missing }) =>
      missing.length > 0 ? `it needs ${missing.join(', ')} in adapter_config.json` : undefined,
    ),
  },
  {
    ...ofHelper({
      rule: 'vllm-modules-to-save',
      effect: 'refuses',
      text: 'vLLM refuses an adapter with modules_to_save (#9280)',
    }),
    ofAdapter: ofConfig(({ modulesToSave }) =>
      modulesToSave.length > 0 ? `it refuses modules_to_save (${someOf(modulesToSave)})` : undefined,
    ),
  },
  {
    ...ofModel({
      rule: 'vllm-other-tensors',
      effect: 'refuses',
      text: 'vLLM refuses tensors that are no factors',
    }),
    ofAdapter: ({ strangers: [extra] }) =>
      extra === undefined ? undefined : `it refuses tensors that are no factors (${extra})`,
  },
  {
    ...ofHelper({ rule: 'vllm-dora', effect: 'refuses', text: 'vLLM refuses DoRA' }),
    ofAdapter: ofConfig(({ useDora }) => (useDora ? 'it refuses DoRA' : undefined)),
  },
  {
    ...ofHelper({ rule: 'vllm-bias', effect: 'refuses', text: 'vLLM refuses any bias but "none"' }),
    ofAdapter: ofConfig(({ bias }) => (bias === 'none' ? undefined : `it refuses bias "${bias}"`)),
  },
  {
    ...ofHelper({ rule: 'vllm-lora-bias', effect: 'refuses', text: 'vLLM refuses lora_bias' }),
    ofAdapter: ofConfig(({ loraBias }) => (loraBias ? 'it refuses lora_bias' : undefined)),
    ofModule: ({ bias }) => (bias === undefined ? undefined : 'it refuses lora_bias'),
  },
  {
    ...ofHelper({
      rule: 'vllm-layer-replication',
      effect: 'refuses',
      text: 'vLLM refuses layer_replication',
    }),
    ofAdapter: ofConfig(({ layerReplication }) =>
      layerReplication ? 'it refuses layer_replication' : undefined,
    ),
  },
  {
    ...ofHelper({ rule: 'vllm-alora', effect: 'refuses', text: 'vLLM refuses aLoRA' }),
    ofAdapter: ofConfig(({ alora }) => (alora ? 'it refuses aLoRA' : undefined)),
  },
  {
    ...ofHelper({
      rule: 'vllm-init',
      effect: 'refuses',
      text: `vLLM refuses init_lora_weights but true, false and ${VLLM_INITS.join(', ')}`,
    }),
    ofAdapter: ofConfig(({ initLoraWeights: init }) =>
      typeof init === 'string' && !VLLM_INITS.includes(init.toLowerCase())
        ? `it refuses init_lora_weights ${quoted(init)}`
        : undefined,
    ),
  },
  {
    ...ofModel({
      rule: 'vllm-names',
      effect: 'passes over',
      text: 'vLLM passes over names that no module of the model has',
    }),
    ofModule: (module) => nameProblem(module, 'vLLM') ?? prefixAmidNames(module),
  },
  {
    ...ofRanks({
      rule: 'vllm-largest-rank',
      effect: 'refuses',
      text: `vLLM takes no rank above ${VLLM_LARGEST_RANK}`,
    }),
    ofModule: ({ rank }, { config }) => {
      const largest = Math.max(config?.r ?? 0, rank)
      return largest > VLLM_LARGEST_RANK
        ? `it refuses rank ${largest}, above ${VLLM_LARGEST_RANK}`
        : undefined
    },
  },
  {
    ...ofModel({
      rule: 'vllm-stacked-experts',
      effect: 'misreads',
      text: 'vLLM misreads stacked experts (#41384)',
    }),
    ofModule: ({ kind }) => (kind === 'experts' ? 'it misreads stacked experts (vLLM #41384)' : undefined),
  },
  {
    ...ofRanks({
      rule: 'vllm-default-rank',
      effect: 'warns',
      text: `vLLM loads ranks above ${VLLM_DEFAULT_RANK} where it is started with --max-lora-rank`,
    }),
    ofAdapter: ({ config, modules }) => {
      const largest = modules.reduce((most, { rank }) => Math.max(most, rank), config?.r ?? 0)
      const needed = VLLM_RANKS.find((rank) => rank >= largest)
      return largest > VLLM_DEFAULT_RANK && needed !== undefined
        ? `start it with --max-lora-rank ${needed}: without, it takes none above ${VLLM_DEFAULT_RANK}`
        : undefined
    },
  },
]

export const VLLM: LoaderFacts = {
  rules: RULES,
  scale: {
    ...ofHelper({
      rule: 'vllm-scale',
      effect: 'scales',
      text: 'vLLM scales all modules by lora_alpha / r, or / √r with rslora, and reads no patterns',
    }),
    scaleOf: ({ scale }, { config }) =>
      config === undefined ? scale : loraScale(config.loraAlpha, config.r, config.useRslora),
  },
}
