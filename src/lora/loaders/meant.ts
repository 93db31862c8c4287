import type { Gap, Naming } from '../families/types.ts'
import type { AdapterView, JudgedAdapter, Loader } from './types.ts'
import { judged } from './view.ts'

/** Loaders that adapters of diffusion models under a naming are made for. */
const OF_NAMING: Readonly<Record<Naming, readonly Loader[]>> = {
  kohya: ['diffusers', 'ComfyUI', 'kohya'],
  comfyui: ['diffusers', 'ComfyUI'],
  diffusers: ['diffusers', 'ComfyUI'],
}
const HOME: Readonly<Record<Naming, Loader>> = { kohya: 'kohya', comfyui: 'ComfyUI', diffusers: 'diffusers' }

/** The loaders that an adapter is meant for, by its format, its config and what it is of. */
export function loadersMeant(view: AdapterView): Loader[] {
  switch (view.format) {
    case 'gguf':
      return ['llama.cpp']
    case 'mlx':
      return ['MLX']
    case 'peft':
      return ofPeft(judged(view))
    default:
      return ofNaming(judged(view), view.format)
  }
}

/** LoHa and LoKr are PEFT's alone; servers of language models load LoRA. */
function ofPeft({ config, isLanguageModel }: JudgedAdapter): Loader[] {
  if (!isLanguageModel || (config !== undefined && config.method !== 'LORA')) return ['PEFT']
  return ['PEFT', 'vLLM', 'SGLang', 'llama.cpp', 'TensorRT-LLM']
}

/** Names that ComfyUI alone reads beside kohya's. */
const OF_COMFYUI = /^(?:diffusion_model|text_encoders)\./

/** Those that know the family, but not such as read nothing under these names whatever it is; and LyCORIS' products for ComfyUI. */
function ofNaming({ family, modules, whole }: JudgedAdapter, naming: Naming): Loader[] {
  if (modules.some(({ method }) => method !== 'lora')) return ['ComfyUI']
  const isMixed =
    naming === 'kohya' &&
    [...modules.map(({ down }) => down), ...whole.map(({ name }) => name)].some((name) =>
      OF_COMFYUI.test(name),
    )
  if (isMixed) return ['ComfyUI']
  const home = HOME[naming]
  const readsNothing = (loader: Loader) =>
    family?.gaps.some((gap) => gap.loader === loader && gap.naming === naming && isOfAll(gap)) === true
  const known = (loader: Loader) =>
    family === undefined || (family.loaders as readonly Loader[]).includes(loader)
  return OF_NAMING[naming].filter((loader) => known(loader) && (loader === home || !readsNothing(loader)))
}

const isOfAll = ({ paths, down }: Gap) => paths === undefined && down === undefined
