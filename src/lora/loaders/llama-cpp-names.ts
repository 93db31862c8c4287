import { addTo } from '../../text/compare.ts'
import { PEFT_PREFIX } from '../names.ts'
import { GGUF_ARCHITECTURES, type GgufArchitecture } from '../write/gguf-architectures.ts'
import { remembered, sourced } from './common.ts'
import type { JudgedAdapter, LoaderRule, ModelView, ModuleView } from './types.ts'

/** What the names of a PEFT adapter's modules are to llama.cpp's converter of adapters, as far as the model tells. */

const DATE = '2026-09-28'
const ofConverter = sourced(
  'llama.cpp',
  'ggml-org/llama.cpp: convert_lora_to_gguf.py, get_base_tensor_name; gguf-py/gguf/tensor_mapping.py',
  DATE,
)
const ofModels = sourced(
  'llama.cpp',
  'ggml-org/llama.cpp: conversion/llama.py and conversion/qwen.py, modify_tensors and prepare_tensors',
  DATE,
)

/** How llama.cpp knows a model; undefined where it isn't known here. */
export const ggufArchitectureOf = ({ architecture }: ModelView = {}): GgufArchitecture | undefined =>
  architecture !== undefined && Object.hasOwn(GGUF_ARCHITECTURES, architecture)
    ? GGUF_ARCHITECTURES[architecture]
    : undefined

/** Wrappers that no model of transformers' has: of DistributedDataParallel and torch.compile, and PEFT's own amid a name. */
const WRAPPED = new RegExp(`^(?:module|_orig_mod)\\.|${PEFT_PREFIX.replaceAll('.', '\\.')}`)
/** Parts of models that hold a language model, whose names the converter takes away. */
const OF_PART = /(?:language_model|text_model|llm|thinker|decoder)$/

/** What stands before the module's own path in the name that the converter looks up; undefined where nothing does. */
function wrapperOf(path: string, model: ModelView | undefined): string | undefined {
  const known = ggufArchitectureOf(model)
  if (known === undefined && (model?.architecture !== undefined || !WRAPPED.test(path))) return undefined
  const name = path.replaceAll(PEFT_PREFIX, '')
  const architectures = known === undefined ? Object.values(GGUF_ARCHITECTURES) : [known]
  for (const { layers, embedding, head } of architectures) {
    const isOwn = name.startsWith(layers) || name === embedding || name === head
    if (isOwn) return undefined
  }
  for (const { layers, embedding, head } of architectures) {
    const at = [
      name.indexOf(`.${layers}`),
      ...[embedding, head].map((end) => (name.endsWith(`.${end}`) ? name.length - end.length - 1 : -1)),
    ].find((found) => found > 0)
    if (at !== undefined) return OF_PART.test(name.slice(0, at)) ? undefined : name.slice(0, at + 1)
  }
  return undefined
}

const EXPERT = /^(\d+)\.(.+\.experts)\.\d+\.(\w+)$/

/** The layer whose experts a module is one of. */
function expertLayer({ path, kind }: ModuleView, { layers, modules }: GgufArchitecture): string | undefined {
  if (kind === 'experts' || !path.startsWith(layers)) return undefined
  const [, layer, owner, leaf] = EXPERT.exec(path.slice(layers.length)) ?? []
  return layer !== undefined && Object.hasOwn(modules, `${owner}.*.${leaf}`) ? layer : undefined
}

/** The layers in which some expert lacks a module, and how many modules each has; undefined where the model doesn't tell. */
const unfinishedLayers = remembered(({ modules, model }: JudgedAdapter) => {
  const of = ggufArchitectureOf(model)
  const experts = model?.experts
  if (of === undefined || experts === undefined) return undefined
  const needed = experts * Object.keys(of.modules).filter((path) => path.includes('*')).length
  const byLayer = new Map<string, ModuleView[]>()
  for (const module of modules) {
    const layer = expertLayer(module, of)
    if (layer !== undefined) addTo(byLayer, layer, module)
  }
  const unfinished = [...byLayer.values()].filter((those) => those.length < needed).flat()
  return { needed, experts, labels: new Set(unfinished.map(({ label }) => label)) }
})

export const LLAMA_CPP_NAME_RULES: readonly LoaderRule[] = [
  {
    ...ofConverter({
      rule: 'llama-cpp-wrapped-names',
      effect: 'refuses',
      text: 'llama.cpp’s converter takes base_model.model. out of names, and stops where what is left is no name of the model',
    }),
    ofModule: ({ path }, { format, model }) => {
      const wrapper = format === 'peft' ? wrapperOf(path, model) : undefined
      return wrapper === undefined
        ? undefined
        : `its converter knows no name that begins with ${wrapper}: rename the tensors without it`
    },
  },
  {
    ...ofModels({
      rule: 'llama-cpp-some-experts',
      effect: 'refuses',
      text: 'llama.cpp’s converter needs the gate, up and down of all experts of a layer where it has any',
    }),
    ofModule: ({ label }, adapter) => {
      const unfinished = adapter.format === 'peft' ? unfinishedLayers(adapter) : undefined
      return unfinished?.labels.has(label)
        ? `its converter needs all ${unfinished.needed} modules of a layer’s ${unfinished.experts} experts, and stops without; lora-svd convert --format gguf fills the others in`
        : undefined
    },
  },
]
