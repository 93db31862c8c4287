import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { readMatrixFrom } from '../../src/checkpoint/read-matrix.ts'
import { openTensors } from '../../src/formats/open.ts'
import { memorySource } from '../../src/io/source.ts'
import { PatternSet } from '../../src/lora/pattern/pattern-set.ts'
import { PatternError } from '../../src/lora/pattern/syntax.ts'
import { readFromServer } from './answers.ts'
import { type Mutator, mutateBytes } from './bytes.ts'
import { smallFactors, smallModel, zeroTensors } from './files.ts'
import { mutateJson } from './json.ts'
import { readAdapter, readCheckpoint, readGguf, readModel } from './models.ts'
import { readNames } from './named-tensors.ts'
import { readAll } from './read-all.ts'
import { lazy, scratchFolder } from './scratch.ts'
import { mutateGguf, mutateLines, mutateNpy, mutateNpz, mutateSafetensors } from './structures.ts'
import { type Target, type Told, tolerant } from './told.ts'

const file = (name: string, mutators: readonly Mutator[], ending = name): Target => ({
  name,
  run: async (input, told) => {
    const source = memorySource(`input.${ending}`, input)
    await tolerant(told, () => readMatrixFrom(source))
    await readAll(await openTensors(source))
  },
  mutators,
})

/** A folder in which the input is one of the files, and what is read of it. */
const inFolder = (
  name: string,
  mutators: readonly Mutator[],
  inputFile: string,
  others: () => Readonly<Record<string, Uint8Array | string>>,
  read: (folder: string, told: Told) => Promise<unknown>,
  how: Pick<Target, 'isSlow'> = {},
): Target => {
  const folder = lazy(() => scratchFolder(others()))
  return {
    name,
    run: (input, told) => {
      writeFileSync(join(folder(), inputFile), input)
      return read(folder(), told)
    },
    mutators,
    ...how,
  }
}

/** The first line is a pattern of Python's, or several of them by tabs; all others are paths that it is asked about. */
async function matchPattern(input: Uint8Array): Promise<void> {
  const [first, ...paths] = Buffer.from(input).toString('utf8').split('\n')
  for (const make of [() => PatternSet.ofKeys(first.split('\t')), () => PatternSet.ofWholePaths(first)]) {
    try {
      const set = make()
      for (const path of paths) set.all(path)
    } catch (error) {
      if (!(error instanceof PatternError)) throw error
    }
  }
}

const peftNames = (path: string) =>
  [`base_model.model.${path}.lora_A.weight`, `base_model.model.${path}.lora_B.weight`] as const

const SLOW = { isSlow: true } as const

export const TARGETS: readonly Target[] = [
  file('safetensors', [mutateBytes, mutateSafetensors, mutateSafetensors]),
  file('npy', [mutateBytes, mutateNpy, mutateNpy]),
  file('npz', [mutateBytes, mutateNpz]),
  file('text', [mutateBytes, mutateLines, mutateLines], 'csv'),
  file('gguf', [mutateBytes, mutateBytes, mutateGguf]),
  inFolder(
    'index',
    [mutateBytes, mutateJson, mutateJson],
    'model.safetensors.index.json',
    () => ({
      'model-00001-of-00002.safetensors': zeroTensors([{ name: 'a.weight', shape: [2, 3] }]),
      'model-00002-of-00002.safetensors': zeroTensors([
        { name: 'b.weight', shape: [2, 3] },
        { name: 'c.weight', shape: [3] },
      ]),
    }),
    readCheckpoint,
    SLOW,
  ),
  inFolder(
    'model-index',
    [mutateBytes, mutateJson, mutateJson],
    'model_index.json',
    () => ({
      'transformer/diffusion_pytorch_model.safetensors': smallModel(),
      'transformer/config.json': '{"_class_name": "FluxTransformer2DModel", "_diffusers_version": "0.36"}',
      'vae/diffusion_pytorch_model.safetensors': zeroTensors([{ name: 'a.weight', shape: [2, 3] }]),
      'text_encoder/pytorch_model.bin': new Uint8Array([0x80, 2]),
    }),
    readCheckpoint,
    SLOW,
  ),
  inFolder(
    'model-config',
    [mutateBytes, mutateJson, mutateJson, mutateJson],
    'config.json',
    () => ({ 'model.safetensors': smallModel() }),
    readModel,
    SLOW,
  ),
  inFolder(
    'adapter-config',
    [mutateBytes, mutateJson, mutateJson, mutateJson],
    'adapter_config.json',
    () => ({ 'adapter_model.safetensors': smallFactors(peftNames) }),
    (folder, told) => readAdapter(folder, told),
    SLOW,
  ),
  inFolder(
    'mlx-config',
    [mutateBytes, mutateJson, mutateJson, mutateJson],
    'adapter_config.json',
    () => ({ 'adapters.safetensors': smallFactors((path) => [`${path}.lora_a`, `${path}.lora_b`], true) }),
    (folder, told) => readAdapter(folder, told),
    SLOW,
  ),
  {
    name: 'names',
    run: readNames,
    mutators: [mutateBytes, mutateLines, mutateLines, mutateLines],
    isSlow: true,
  },
  inFolder(
    'gguf-adapter',
    [mutateBytes, mutateGguf],
    'input.gguf',
    () => ({}),
    (folder, told) => readGguf(join(folder, 'input.gguf'), told),
    SLOW,
  ),
  { name: 'pattern', run: matchPattern, mutators: [mutateBytes, mutateBytes, mutateLines] },
  {
    name: 'answers',
    run: readFromServer,
    mutators: [mutateBytes, mutateLines, mutateLines],
    mayBeSystem: true,
  },
]
