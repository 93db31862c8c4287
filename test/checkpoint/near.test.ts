import { beforeEach, expect, test } from 'vitest'
import { bringBeginningsNear, sameNumbers } from '../../src/checkpoint/models.ts'
import { bringNear } from '../../src/checkpoint/near.ts'
import { openCheckpoint } from '../../src/checkpoint/open.ts'
import { readBytes } from '../../src/checkpoint/read.ts'
import { asRun, loopbackHub } from '../io/loopback-hub.ts'
import { temporaryFolder } from '../temporary.ts'
import { safetensors } from './support.ts'

const LARGE = 300_000
const tensors = (value: number) =>
  ({
    'a.norm': ['F32', [8], new Float32Array(8).fill(1)],
    'a.weight': ['F32', [3, LARGE / 3], new Float32Array(LARGE).fill(value)],
    'b.norm': ['F32', [8], new Float32Array(8).fill(2)],
    'b.weight': ['F32', [3, LARGE / 3], new Float32Array(LARGE).fill(3)],
  }) as const
const bytesOf = async (value: number) =>
  safetensors(
    Object.fromEntries(
      Object.entries(tensors(value)).map(([name, [dtype, shape, data]]) => [
        name,
        [dtype, shape, new Uint8Array(data.buffer)],
      ]),
    ),
  )

const hub = await loopbackHub({
  'org/base': { commit: 'a'.repeat(40), files: { 'model.safetensors': await bytesOf(1) } },
  'org/tuned': { commit: 'b'.repeat(40), files: { 'model.safetensors': await bytesOf(2) } },
})
const env = { HF_ENDPOINT: hub.endpoint, HF_HOME: temporaryFolder() }

beforeEach(() => {
  hub.requests.length = 0
  hub.sent = 0
})

const opened = async () => {
  const [base, tuned] = [
    await openCheckpoint('hf://org/base', { env }),
    await openCheckpoint('hf://org/tuned', { env }),
  ]
  hub.requests.length = 0
  hub.sent = 0
  return [base.tensors, tuned.tensors] as const
}

test('the beginnings of all tensors are read at once, and tell which differ', async () => {
  await asRun(env, async () => {
    const [base, tuned] = await opened()
    await bringBeginningsNear([...base.values(), ...tuned.values()])
    const asked = hub.requests.length
    expect(asked).toBeLessThanOrEqual(6)
    const isSame = async (name: string) => sameNumbers(base.get(name)!, tuned.get(name)!)
    expect(await isSame('a.norm')).toBe(true)
    expect(await isSame('a.weight')).toBe(false)
    expect(await isSame('b.norm')).toBe(true)
    expect(hub.requests).toHaveLength(asked)
    // what is the same at its beginning is read to its end
    expect(await isSame('b.weight')).toBe(true)
    expect(hub.sent).toBeGreaterThan(2 * 4 * LARGE)
  })
})

test('tensors that were brought near are read from memory, and are what lies there', async () => {
  await asRun(env, async () => {
    const [base] = await opened()
    const small = [...base.values()].filter(({ name }) => name.endsWith('norm'))
    await bringNear(small)
    const asked = hub.requests.length
    expect(await readBytes(base.get('b.norm')!)).toEqual(new Uint8Array(new Float32Array(8).fill(2).buffer))
    expect(hub.requests).toHaveLength(asked)
    expect(hub.sent).toBe(2 * 4 * 8)
  })
})
