import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { matricesOf } from '../../src/checkpoint/matrices.ts'
import { openCheckpoint } from '../../src/checkpoint/open.ts'
import { holdingOpen, readWeight } from '../../src/checkpoint/read.ts'
import type { Checkpoint } from '../../src/checkpoint/types.ts'
import { check } from '../../src/commands/check/check.ts'
import { baseDefects } from '../../src/commands/check/defects/base.ts'
import type { CheckOptions } from '../../src/commands/check/options.ts'
import { LoraSvdError } from '../../src/errors.ts'
import { openTensors } from '../../src/formats/open.ts'
import { memorySource } from '../../src/io/source.ts'
import { diffusionFamily } from '../../src/lora/diffusion.ts'
import { readFactors } from '../../src/lora/factors.ts'
import { notLoaded } from '../../src/lora/found-by-loaders.ts'
import { LOADERS } from '../../src/lora/loaders/types.ts'
import { matchToBase } from '../../src/lora/match.ts'
import type { Adapter } from '../../src/lora/model.ts'
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

/** What is said of an input besides what is thrown in the end. */
export interface Told {
  /** A part of it was refused. */
  refused(error: LoraSvdError): void
  /** A line for a person: a warning, a finding, a reason. */
  said(line: string): void
}

/** A parser from the bytes that reach it to all that is made of them. */
export interface Target {
  readonly name: string
  /** Reads the input as a user's; throws what a user would get, and tells whatever is said on the way. */
  readonly run: (input: Uint8Array, told: Told) => Promise<unknown>
  readonly mutators: readonly Mutator[]
  /** A machine that fails is an answer too, as of a server. */
  readonly mayBeSystem?: true
  /** Takes many times as long as others, by all that it does with an input. */
  readonly isSlow?: true
}

/** Goes on after a refusal. */
async function tolerant(told: Told, work: () => unknown): Promise<void> {
  try {
    await work()
  } catch (error) {
    if (!(error instanceof LoraSvdError)) throw error
    told.refused(error)
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

/** Opens a checkpoint and reads every weight of it. */
async function readCheckpoint(path: string, told: Told): Promise<Checkpoint> {
  const checkpoint = await openCheckpoint(path)
  for (const line of checkpoint.warnings) told.said(line)
  await tolerant(told, async () => {
    const { matrices } = matricesOf(checkpoint)
    await holdingOpen(filesIn(checkpoint), async () => {
      for (const weight of matrices) await readWeight(weight)
    })
  })
  return checkpoint
}

const filesIn = ({ files }: Checkpoint) => files.map(({ path }) => path)

/** A model that adapters are set beside. */
const baseModel = lazy(() =>
  openCheckpoint(scratchFolder({ 'model.safetensors': smallModel(), 'config.json': JSON.stringify(LLAMA) })),
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
async function readModel(path: string, told: Told): Promise<void> {
  const model = await openCheckpoint(path)
  for (const line of model.warnings) told.said(line)
  const { config, tensors } = model
  const traits = modelTraits(config, tensors)
  for (const name of tensors.keys()) traits.isConv1d(name)
  diffusionFamily(tensors, config)
  taskNameOf(config)
  taskTypeOf(config, { saved: [] }, tensors.keys(), traits)
  baseModelName(undefined, config)
  await tolerant(told, () => ggufModel(config, path))
  const adapters = await loneAdapters()
  for (const adapter of adapters) await tolerant(told, () => setBeside(adapter, model, told))
  await checked({ adapter: adapters[0].path, base: path }, told)
}

/** Adapters whose names or order of rows hang on the base's config.json. */
const loneAdapters = lazy(async () => {
  const torchtune = (path: string) =>
    path.replace('model.', '').replace('self_attn', 'attn').replace('o_proj', 'output_proj')
  const folder = scratchFolder({
    'torchtune.safetensors': smallFactors((path) => [
      `${torchtune(path)}.lora_a.weight`,
      `${torchtune(path)}.lora_b.weight`,
    ]),
    'kohya.safetensors': smallFactors((path) => {
      const stem = `lora_unet_${path.replaceAll('.', '_')}`
      return [`${stem}.lora_down.weight`, `${stem}.lora_up.weight`]
    }),
  })
  return Promise.all(
    ['torchtune', 'kohya'].map((name) => openCheckpoint(join(folder, `${name}.safetensors`))),
  )
})

/** Reads an adapter as strictly as `apply` does, and finds its places in a base. */
async function setBeside(checkpoint: Checkpoint, base: Checkpoint, told: Told): Promise<Adapter | undefined> {
  const adapter = await adapterOf(checkpoint, { model: base.config, isStrict: true })
  if (adapter === undefined) return undefined
  for (const line of adapter.warnings) told.said(line)
  for (const { reason } of adapter.ignored) told.said(reason)
  const traits = modelTraits(base.config, base.tensors)
  notLoaded(adapter, matchToBase(adapter, base, traits, told.refused).matched, traits)
  for (const { message = '.' } of baseDefects(adapter, base, LOADERS)) told.said(message)
  return adapter
}

/** Reads an adapter's factors and finds its places in a base; and then as `check` does, past defects. */
async function readAdapter(path: string, told: Told): Promise<void> {
  await tolerant(told, async () => {
    const checkpoint = await readCheckpoint(path, told)
    const adapter = await setBeside(checkpoint, await baseModel(), told)
    await holdingOpen(filesIn(checkpoint), async () => {
      for (const module of adapter?.modules ?? []) {
        if (module.kind !== 'experts') await tolerant(told, () => readFactors(module))
      }
    })
  })
  await checked({ adapter: path }, told)
}

async function checked(options: CheckOptions, told: Told): Promise<void> {
  const { warnings, defects, loaders } = await check({ ...options, for: 'all', fast: true })
  for (const line of warnings) told.said(line)
  for (const { message } of defects) told.said(message)
  for (const { reasons } of loaders) for (const { reason } of reasons) told.said(reason)
}

/** A GGUF file by all that reads one: as a matrix's, as an adapter, as a base. */
async function readGguf(path: string, told: Told): Promise<void> {
  const checkpoint = await readCheckpoint(path, told)
  await tolerant(told, async () => inNamesOf(checkpoint, await baseModel()))
  await readAdapter(path, told)
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

async function readNames(input: Uint8Array, told: Told): Promise<void> {
  const { tensors, config } = adapterOfLines(input)
  const folder = namesFolder()
  const place = join(folder, 'adapter_config.json')
  rmSync(place, { force: true })
  writeFileSync(join(folder, 'adapter_model.safetensors'), tensors)
  if (config !== '') writeFileSync(place, config)
  await readAdapter(config === '' ? join(folder, 'adapter_model.safetensors') : folder, told)
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
    SLOW,
  ),
  inFolder(
    'adapter-config',
    [mutateBytes, mutateJson, mutateJson, mutateJson],
    'adapter_config.json',
    () => ({ 'adapter_model.safetensors': smallFactors(peftNames) }),
    readAdapter,
    SLOW,
  ),
  inFolder(
    'mlx-config',
    [mutateBytes, mutateJson, mutateJson, mutateJson],
    'adapter_config.json',
    () => ({ 'adapters.safetensors': smallFactors((path) => [`${path}.lora_a`, `${path}.lora_b`], true) }),
    readAdapter,
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
  ),
  { name: 'pattern', run: matchPattern, mutators: [mutateBytes, mutateBytes, mutateLines] },
  {
    name: 'answers',
    run: readFromServer,
    mutators: [mutateBytes, mutateLines, mutateLines],
    mayBeSystem: true,
  },
]
