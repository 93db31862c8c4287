import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { matricesOf } from '../../src/checkpoint/matrices.ts'
import { openCheckpoint } from '../../src/checkpoint/open.ts'
import { readWeight } from '../../src/checkpoint/read.ts'
import type { Checkpoint } from '../../src/checkpoint/types.ts'
import { check } from '../../src/commands/check/check.ts'
import { LoraSvdError } from '../../src/errors.ts'
import { openTensors } from '../../src/formats/open.ts'
import { memorySource } from '../../src/io/source.ts'
import { diffusionFamily } from '../../src/lora/diffusion.ts'
import { readFactors } from '../../src/lora/factors.ts'
import { notLoaded } from '../../src/lora/found-by-loaders.ts'
import { matchToBase } from '../../src/lora/match.ts'
import { PatternSet } from '../../src/lora/pattern/pattern-set.ts'
import { PatternError } from '../../src/lora/pattern/syntax.ts'
import { adapterOf } from '../../src/lora/read/adapter.ts'
import { inNamesOf } from '../../src/lora/read/gguf-base.ts'
import { modelTraits } from '../../src/lora/traits.ts'
import { baseModelName, taskNameOf, taskTypeOf } from '../../src/lora/write/config.ts'
import { ggufModel } from '../../src/lora/write/gguf-names.ts'
import { readFromServer } from './answers.ts'
import { type Mutator, mutateBytes } from './bytes.ts'
import { smallFactors, smallModel, zeroTensors } from './files.ts'
import { mutateJson } from './json.ts'
import { readAll } from './read-all.ts'
import { lazy, scratchFolder } from './scratch.ts'
import { mutateGguf, mutateLines, mutateNpy, mutateNpz, mutateSafetensors } from './structures.ts'

/** Is told what was refused on the way to the end of an input. */
type Tell = (refusal: LoraSvdError) => void

/** A parser from the bytes that reach it to all that is made of them. */
export interface Target {
  readonly name: string
  /** Reads the input as a user's; throws what a user would get, and tells what is refused of a part alone. */
  readonly run: (input: Uint8Array, tell: Tell) => Promise<unknown>
  readonly mutators: readonly Mutator[]
  /** A machine that fails is an answer too, as of a server. */
  readonly mayBeSystem?: true
}

/** Goes on after a refusal. */
async function tolerant(tell: Tell, work: () => unknown): Promise<void> {
  try {
    await work()
  } catch (error) {
    if (!(error instanceof LoraSvdError)) throw error
    tell(error)
  }
}

const file = (name: string, mutators: readonly Mutator[], ending = name): Target => ({
  name,
  run: async (input) => readAll(await openTensors(memorySource(`input.${ending}`, input))),
  mutators,
})

/** A folder in which the input is one of the files, and what is read of it. */
const inFolder = (
  name: string,
  mutators: readonly Mutator[],
  inputFile: string,
  others: () => Readonly<Record<string, Uint8Array | string>>,
  read: (folder: string, tell: Tell) => Promise<unknown>,
): Target => {
  const folder = lazy(() => scratchFolder(others()))
  return {
    name,
    run: (input, tell) => {
      writeFileSync(join(folder(), inputFile), input)
      return read(folder(), tell)
    },
    mutators,
  }
}

/** Opens a checkpoint and reads every weight of it. */
async function readCheckpoint(path: string, tell: Tell): Promise<Checkpoint> {
  const checkpoint = await openCheckpoint(path)
  await tolerant(tell, async () => {
    for (const weight of matricesOf(checkpoint).matrices) await readWeight(weight)
  })
  return checkpoint
}

/** A model that adapters are set beside. */
const baseFolder = lazy(() =>
  scratchFolder({ 'model.safetensors': smallModel(), 'config.json': JSON.stringify(LLAMA) }),
)
const LLAMA = {
  architectures: ['LlamaForCausalLM'],
  model_type: 'llama',
  num_attention_heads: 2,
  num_key_value_heads: 1,
  num_hidden_layers: 1,
  hidden_size: 4,
}

/** What of a model hangs on its config.json. */
async function readModel(path: string, tell: Tell): Promise<void> {
  const model = await readCheckpoint(path, tell)
  const { config, tensors } = model
  const traits = modelTraits(config, tensors)
  for (const name of tensors.keys()) traits.isConv1d(name)
  diffusionFamily(tensors, config)
  taskNameOf(config)
  taskTypeOf(config, { saved: [] }, tensors.keys(), traits)
  baseModelName(undefined, config)
  await tolerant(tell, () => ggufModel(config, path))
  for (const adapter of loneAdapters()) {
    await tolerant(tell, () => readAdapter(adapter, path, tell))
  }
}

/** Adapters whose names or order of rows hang on the base's config.json. */
const loneAdapters = lazy(() => {
  const torchtune = (path: string) =>
    path.replace('model.', '').replace('self_attn', 'attn').replace('o_proj', 'output_proj')
  const folder = scratchFolder({
    'kohya.safetensors': smallFactors((path) => {
      const stem = `lora_unet_${path.replaceAll('.', '_')}`
      return [`${stem}.lora_down.weight`, `${stem}.lora_up.weight`]
    }),
    'torchtune.safetensors': smallFactors((path) => [
      `${torchtune(path)}.lora_a.weight`,
      `${torchtune(path)}.lora_b.weight`,
    ]),
  })
  return [join(folder, 'kohya.safetensors'), join(folder, 'torchtune.safetensors')]
})

/** Reads an adapter as strictly as `apply` does, its factors and its places in a base; and then as `check` does, past defects. */
async function readAdapter(path: string, base: string, tell: Tell): Promise<void> {
  await tolerant(tell, async () => {
    const model = await openCheckpoint(base)
    const adapter = await adapterOf(await readCheckpoint(path, tell), { model: model.config, isStrict: true })
    if (adapter === undefined) return
    const traits = modelTraits(model.config, model.tensors)
    notLoaded(adapter, matchToBase(adapter, model, traits, tell).matched, traits)
    for (const module of adapter.modules) {
      if (module.kind !== 'experts') await tolerant(tell, () => readFactors(module))
    }
  })
  await tolerant(tell, () => check({ adapter: path, base, for: 'all', fast: true }))
  await check({ adapter: path, for: 'all', fast: true })
}

/** A GGUF file by all that reads one: as a matrix's, as an adapter, as a base. */
async function readGguf(path: string, tell: Tell): Promise<void> {
  const checkpoint = await readCheckpoint(path, tell)
  await tolerant(tell, async () => inNamesOf(checkpoint, await openCheckpoint(baseFolder())))
  await readAdapter(path, baseFolder(), tell)
}

/** Numbers of a shape at most, so that a name's shape doesn't ask for a file of gigabytes. */
const MOST_NUMBERS = 4096

/**
 * A file of tensors told by lines: a name, a tab, a shape, a tab, a dtype. A line that begins with # is metadata, `#key=value`; what comes after a line of
 * `{` alone is adapter_config.json.
 */
function adapterOfLines(input: Uint8Array): { tensors: Uint8Array; config: string } {
  const [listed, ...rest] = Buffer.from(input).toString('utf8').split('\n{\n')
  const lines = listed.split('\n')
  const metadata = lines.flatMap((line) => {
    const found = /^#([^=]*)=(.*)$/.exec(line)
    return found === null ? [] : [[found[1], found[2]] as const]
  })
  const tensors = lines.flatMap((line) => {
    const [name, sizes = '', dtype = 'F32'] = line.split('\t')
    if (name === '' || name.startsWith('#')) return []
    const shape = (sizes.match(/\d+/g) ?? []).slice(0, 6).map(Number)
    const count = shape.reduce((product, n) => product * n, 1)
    return count <= MOST_NUMBERS ? [{ name, shape, dtype }] : []
  })
  return {
    tensors: zeroTensors(tensors, Object.fromEntries(metadata)),
    config: rest.length === 0 ? '' : `{${rest.join('\n{\n')}`,
  }
}

const namesFolder = lazy(() => scratchFolder({}))

async function readNames(input: Uint8Array, tell: Tell): Promise<void> {
  const { tensors, config } = adapterOfLines(input)
  const folder = namesFolder()
  const place = join(folder, 'adapter_config.json')
  rmSync(place, { force: true })
  writeFileSync(join(folder, 'adapter_model.safetensors'), tensors)
  if (config !== '') writeFileSync(place, config)
  await readAdapter(config === '' ? join(folder, 'adapter_model.safetensors') : folder, baseFolder(), tell)
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
  ),
  inFolder(
    'model-config',
    [mutateBytes, mutateJson, mutateJson, mutateJson],
    'config.json',
    () => ({ 'model.safetensors': smallModel() }),
    readModel,
  ),
  inFolder(
    'adapter-config',
    [mutateBytes, mutateJson, mutateJson, mutateJson],
    'adapter_config.json',
    () => ({ 'adapter_model.safetensors': smallFactors(peftNames) }),
    (folder, tell) => readAdapter(folder, baseFolder(), tell),
  ),
  inFolder(
    'mlx-config',
    [mutateBytes, mutateJson, mutateJson, mutateJson],
    'adapter_config.json',
    () => ({ 'adapters.safetensors': smallFactors((path) => [`${path}.lora_a`, `${path}.lora_b`], true) }),
    (folder, tell) => readAdapter(folder, baseFolder(), tell),
  ),
  { name: 'names', run: readNames, mutators: [mutateBytes, mutateLines, mutateLines, mutateLines] },
  inFolder(
    'gguf-adapter',
    [mutateBytes, mutateGguf],
    'input.gguf',
    () => ({}),
    (folder, tell) => readGguf(join(folder, 'input.gguf'), tell),
  ),
  { name: 'pattern', run: matchPattern, mutators: [mutateBytes, mutateBytes, mutateLines] },
  {
    name: 'answers',
    run: readFromServer,
    mutators: [mutateBytes, mutateLines, mutateLines],
    mayBeSystem: true,
  },
]
