import { createHash } from 'node:crypto'
import { layoutSafetensors, safetensorsChunks, type TensorToWrite } from '../formats/safetensors-writer.ts'
import type { Layout } from '../lora/families/layout.ts'
import { version } from '../version.ts'

/** What tools read of a family's files. */
interface FamilyFacts {
  /** `ss_base_model_version` (sd-scripts: library/train_util.py, sdxl_train_util.py, sd3_utils.py, flux_utils.py @2026-02-16). */
  readonly base: string
  /** `modelspec.architecture`, `modelspec.implementation` and `modelspec.resolution` (library/sai_model_spec.py @2026-02-16). */
  readonly architecture: string
  readonly implementation: string
  readonly resolution: string
  /** `ss_network_module`. */
  readonly network: string
}

const STABILITY = 'https://github.com/Stability-AI/generative-models'
const [SMALL, LARGE] = ['512x512', '1024x1024']

const FACTS: Readonly<Record<string, FamilyFacts>> = {
  sd1: {
    base: 'sd_v1',
    architecture: 'stable-diffusion-v1',
    implementation: 'diffusers',
    resolution: SMALL,
    network: 'networks.lora',
  },
  sd2: {
    base: 'sd_v2',
    architecture: 'stable-diffusion-v2-512',
    implementation: 'diffusers',
    resolution: SMALL,
    network: 'networks.lora',
  },
  sdxl: {
    base: 'sdxl_base_v1-0',
    architecture: 'stable-diffusion-xl-v1-base',
    implementation: STABILITY,
    resolution: LARGE,
    network: 'networks.lora',
  },
  sd3: {
    base: 'sd3',
    architecture: 'stable-diffusion-3',
    implementation: 'diffusers',
    resolution: LARGE,
    network: 'networks.lora_sd3',
  },
  flux: {
    base: 'flux1',
    architecture: 'flux-1',
    implementation: 'https://github.com/black-forest-labs/flux',
    resolution: LARGE,
    network: 'networks.lora_flux',
  },
  lumina2: {
    base: 'lumina2',
    architecture: 'lumina-2',
    implementation: 'https://github.com/Alpha-VLLM/Lumina-Image-2.0',
    resolution: LARGE,
    network: 'networks.lora_lumina',
  },
}

/**
 * The metadata that kohya's tools write and others show (sd-scripts: library/train_util.py, build_minimum_network_metadata). `r` is the rank
 * of all modules; undefined where they differ, which they call dynamic.
 */
export function kohyaMetadata(
  { family }: Layout,
  r: number | undefined,
  isDora = false,
): Record<string, string> {
  const facts = FACTS[family.id]
  const rank = r === undefined ? 'Dynamic' : String(r)
  return {
    // sd-scripts' own networks have no DoRA, which is LyCORIS' alone
    ss_network_module: isDora ? 'lycoris.kohya' : (facts?.network ?? 'networks.lora'),
    ss_network_dim: rank,
    ss_network_alpha: r === undefined ? 'Dynamic' : `${r}.0`,
    ss_network_args: '{}',
    ss_v2: family.id === 'sd2' ? 'True' : 'False',
    ...(facts !== undefined && {
      ss_base_model_version: facts.base,
      'modelspec.sai_model_spec': '1.0.1',
      'modelspec.architecture': `${facts.architecture}/lora`,
      'modelspec.implementation': facts.implementation,
      'modelspec.resolution': facts.resolution,
      'modelspec.title': 'LoRA',
    }),
    software: `lora-svd ${version}`,
  }
}

/** The part of a file over which the short hash goes (library/train_util.py, addnet_hash_legacy @2026-02-16). */
const [LEGACY_FROM, LEGACY_BYTES] = [0x100000, 0x10000]

/**
 * The hashes by which A1111 knows an adapter (library/train_util.py, precalculate_safetensors_hashes @2026-02-16): SHA-256 over the tensors'
 * data, and the first digits of one over a piece of the file as it would be with the `ss_` keys alone in its metadata. The layout is
 * gone through once more for them.
 */
export async function kohyaHashes(
  tensors: readonly TensorToWrite[],
  metadata: Readonly<Record<string, string>>,
): Promise<Record<'sshs_model_hash' | 'sshs_legacy_hash', string>> {
  const training = Object.fromEntries(Object.entries(metadata).filter(([key]) => key.startsWith('ss_')))
  const layout = layoutSafetensors(tensors, training)
  const [model, legacy] = [createHash('sha256'), createHash('sha256')]
  let at = 0
  for await (const chunk of safetensorsChunks(layout)) {
    if (at >= layout.header.length) model.update(chunk)
    const [from, to] = [LEGACY_FROM - at, LEGACY_FROM + LEGACY_BYTES - at]
    if (to > 0 && from < chunk.length) legacy.update(chunk.subarray(Math.max(0, from), to))
    at += chunk.length
  }
  return { sshs_model_hash: model.digest('hex'), sshs_legacy_hash: legacy.digest('hex').slice(0, 8) }
}
