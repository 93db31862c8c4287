import { join } from 'node:path'
import { Chalk } from 'chalk'
import { matricesOf } from '../../src/checkpoint/matrices.ts'
import { openCheckpoint } from '../../src/checkpoint/open.ts'
import { holdingOpen, readWeight } from '../../src/checkpoint/read.ts'
import type { Checkpoint } from '../../src/checkpoint/types.ts'
import { check } from '../../src/commands/check/check.ts'
import { baseDefects } from '../../src/commands/check/defects/base.ts'
import type { CheckOptions } from '../../src/commands/check/options.ts'
import { sarifOf } from '../../src/commands/check/sarif.ts'
import { checkTables } from '../../src/commands/check/text.ts'
import { diffusionFamily } from '../../src/lora/diffusion.ts'
import { readFactors } from '../../src/lora/factors.ts'
import { notLoaded } from '../../src/lora/found-by-loaders.ts'
import { LOADERS } from '../../src/lora/loaders/types.ts'
import { matchToBase } from '../../src/lora/match.ts'
import type { Adapter } from '../../src/lora/model.ts'
import { adapterOf } from '../../src/lora/read/adapter.ts'
import { inNamesOf } from '../../src/lora/read/gguf-base.ts'
import { modelTraits } from '../../src/lora/traits.ts'
import { baseModelName, taskNameOf, taskTypeOf } from '../../src/lora/write/config.ts'
import { ggufModel } from '../../src/lora/write/gguf-names.ts'
import { smallFactors, smallModel } from './files.ts'
import { lazy, scratchFolder } from './scratch.ts'
import { type Told, tolerant } from './told.ts'

/** Checkpoints and adapters by all that reads their headers, configs and names. */

/** Opens a checkpoint and reads every weight of it. */
export async function readCheckpoint(path: string, told: Told): Promise<Checkpoint> {
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
export async function readModel(path: string, told: Told): Promise<void> {
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
export async function readAdapter(path: string, told: Told, base?: Checkpoint): Promise<void> {
  await tolerant(told, async () => {
    const checkpoint = await readCheckpoint(path, told)
    const adapter = await setBeside(checkpoint, base ?? (await baseModel()), told)
    await holdingOpen(filesIn(checkpoint), async () => {
      for (const module of adapter?.modules ?? []) {
        if (module.kind !== 'experts') await tolerant(told, () => readFactors(module))
      }
    })
  })
  await checked({ adapter: path, for: 'all' }, told)
}

async function checked(options: CheckOptions, told: Told): Promise<void> {
  const result = await check(options)
  for (const line of result.warnings) told.said(line)
  for (const { message } of result.defects) told.said(message)
  for (const { reasons } of result.loaders) for (const { reason } of reasons) told.said(reason)
  checkTables(result, { paint: new Chalk({ level: 0 }), columns: 80 })
  sarifOf(result)
}

/** A GGUF file by all that reads one: as a matrix's, as an adapter, as a base. */
export async function readGguf(path: string, told: Told): Promise<void> {
  const checkpoint = await readCheckpoint(path, told)
  await tolerant(told, async () => inNamesOf(checkpoint, await baseModel()))
  await readAdapter(path, told)
}
