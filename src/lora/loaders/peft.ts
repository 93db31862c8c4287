import { nameProblem, targetedBy } from '../found-by-loaders.ts'
import { takingOf } from '../kinds.ts'
import { isBeforeModuleOrder } from '../stack-order.ts'
import type { ModelTraits } from '../traits.ts'
import { modelTraits } from '../traits.ts'
import { peftFolderRules, prefixAmidNames, remembered, sourced } from './common.ts'
import { PEFT_TARGET_RULES } from './peft-targets.ts'
import type { LoaderFacts, LoaderRule } from './types.ts'

const DATE = '2026-08-21'
const SAVE = 'huggingface/peft: src/peft/utils/save_and_load.py'
const ofNames = sourced('PEFT', SAVE, DATE)
const ofModules = sourced('PEFT', 'huggingface/peft: src/peft/tuners/tuners_utils.py', DATE)
const ofLayers = sourced('PEFT', 'huggingface/peft: src/peft/tuners/lora/layer.py', DATE)

const targetsOf = remembered(({ config }) => targetedBy(config?.targetModules))

/** The model as far as the adapter's own modules tell of it. */
const traitsOf = remembered(
  ({ modules }): ModelTraits =>
    modelTraits(
      undefined,
      new Map(modules.map(({ path, productShape }) => [`${path}.weight`, { shape: productShape }])),
    ),
)

const RULES: readonly LoaderRule[] = [
  ...peftFolderRules('PEFT', 'peft', SAVE, DATE),
  {
    ...ofNames({
      rule: 'peft-names',
      effect: 'passes over',
      text: 'PEFT passes over names that do not begin with base_model.model., or that hold the adapter’s name',
    }),
    ofModule: (module) => nameProblem(module, 'PEFT') ?? prefixAmidNames(module),
  },
  {
    ...ofNames({
      rule: 'peft-other-factors',
      effect: 'passes over',
      text: 'PEFT passes over factors of another method than peft_type names',
    }),
    ofModule: ({ method, down }, { config }) =>
      config !== undefined && method !== config.method.toLowerCase()
        ? `it finds nothing of it: peft_type is ${config.method}, and ${down} is no name of its factors`
        : undefined,
  },
  ...PEFT_TARGET_RULES,
  {
    ...ofModules({
      rule: 'peft-not-targeted',
      effect: 'passes over',
      text: 'PEFT passes over modules that target_modules does not mean',
    }),
    ofModule: ({ path, kind }, adapter) =>
      kind === 'experts' || targetsOf(adapter)(path.replace(/(?:\.base_layer)+$/, ''))
        ? undefined
        : 'it finds nothing of it: target_modules does not match its path',
  },
  {
    ...ofLayers({
      rule: 'peft-stacked-experts-order',
      effect: 'warns',
      text: 'PEFT 0.19.1 and later does not load stacked experts of an earlier version, or where a stack is square loads them wrongly, but of models that store experts [in, out]',
    }),
    ofModule: ({ kind }, { config }) =>
      kind === 'experts' && isBeforeModuleOrder(config?.peftVersion)
        ? `load it with the PEFT ${config!.peftVersion} that it was saved by: 0.19.1 and later has input and output of stacked experts the other way round where the model stores them [out, in], and does not load it, or where a stack is square loads it wrongly`
        : undefined,
  },
  {
    ...ofLayers({
      rule: 'peft-class',
      effect: 'warns',
      text: 'PEFT raises at modules of classes that it has no layer for, or ignores them: routers, Mamba’s convolutions, grouped convolutions, positions',
    }),
    ofModule: ({ path, productShape, kernel, kind }, adapter) => {
      if (adapter.config?.method !== 'LORA' || kind === 'experts' || kind === 'embedding') return undefined
      const [out, columns] = productShape
      const size = kernel.reduce((product, n) => product * n, 1)
      const shape = kernel.length === 0 ? [out, columns] : [out, columns / size, ...kernel]
      const taking = takingOf({ path, shape, isKernel: kernel.length > 0, traits: traitsOf(adapter) })
      return 'reason' in taking ? `it may not take ${path}: ${taking.reason}` : undefined
    },
  },
]

export const PEFT: LoaderFacts = {
  rules: RULES,
  scale: {
    ...ofLayers({
      rule: 'peft-scale',
      effect: 'scales',
      text: 'PEFT scales by lora_alpha / r, or / √r with rslora, each by the patterns of its config',
    }),
    scaleOf: ({ scale }) => scale,
  },
}
