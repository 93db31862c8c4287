import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { extracted, type NewTensor, tunedBy, weight, writeModel } from './extract-support.ts'
import { runShell, temporaryFolder } from './run.ts'

/** More shards than the process may have files open. */
const SHARDS = 64
/** Node itself takes some 20 to start and load a command. */
const LIMIT = 60

const folder = temporaryFolder()
const at = (...names: string[]) => join(folder, ...names)

test('a checkpoint of more shards than files may be open is written', async () => {
  const names = Array.from({ length: SHARDS }, (_, i) => `model.layers.${i}.mlp.down_proj.weight`)
  const tensors: Record<string, NewTensor> = Object.fromEntries(
    names.map((name, i) => [name, weight([8, 8], i)]),
  )
  const base = writeModel(at('whole'), tensors)
  const tuned = writeModel(
    at('tuned'),
    Object.fromEntries(names.map((name, i) => [name, tunedBy(tensors[name], 2, i, 1e-3)])),
  )
  const adapter = at('adapter')
  await extracted(base, tuned, adapter, ['--rank=2'])
  const args = `${base} ${adapter} -o ${at('sharded')} --max-shard-size 300 -q`
  expect(await runShell(`ulimit -n ${LIMIT}; lora-svd apply ${args}`)).toMatchObject({ code: 0, stderr: '' })
  const shards = readdirSync(at('sharded')).filter((name) => name.endsWith('.safetensors'))
  expect(shards).toHaveLength(SHARDS)
})
