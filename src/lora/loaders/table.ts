import { COMFYUI } from './comfyui.ts'
import { DIFFUSERS } from './diffusers.ts'
import { KOHYA } from './kohya.ts'
import { LLAMA_CPP } from './llama-cpp.ts'
import { MLX } from './mlx.ts'
import { PEFT } from './peft.ts'
import { SGLANG } from './sglang.ts'
import { TENSORRT_LLM } from './tensorrt-llm.ts'
import { type Fact, LOADERS, type Loader, type LoaderFacts } from './types.ts'
import { VLLM } from './vllm.ts'

/** The one table of what is known of loaders. */
export const FACTS: Readonly<Record<Loader, LoaderFacts>> = {
  PEFT,
  vLLM: VLLM,
  SGLang: SGLANG,
  'llama.cpp': LLAMA_CPP,
  'TensorRT-LLM': TENSORRT_LLM,
  MLX,
  diffusers: DIFFUSERS,
  ComfyUI: COMFYUI,
  kohya: KOHYA,
}

/** All facts, those of a loader together. */
export const allFacts = (): Fact[] =>
  LOADERS.flatMap((loader) => {
    const { rules, scale } = FACTS[loader]
    return [...rules, scale].map(({ rule, effect, text, source, date }) => ({
      ...{ rule, loader, effect, text, source, date },
    }))
  })
