import { execFileSync, spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { PICKLE_PROBLEM } from '../../src/formats/sniff.ts'

const folder = mkdtempSync(join(tmpdir(), 'lora-svd-pickle-'))
afterAll(() => rmSync(folder, { recursive: true }))

/** A torch that loads JSON, where a list of two is a tensor [storage, strides], and a safetensors as strict as the real one. */
const TORCH = `
import json
class Tensor:
    def __init__(self, storage, strides): self.storage, self.strides = storage, strides
    def contiguous(self): return self if self.strides == 'rows' else Tensor(self.storage + ' in rows', 'rows')
    def clone(self): return Tensor(self.storage + ' copied', self.strides)
def is_tensor(v): return isinstance(v, Tensor)
def load(path, map_location, weights_only):
    assert map_location == 'cpu' and weights_only is True
    made = {}
    def tensors(v):
        if isinstance(v, dict): return {k: tensors(x) for k, x in v.items()}
        return made.setdefault(json.dumps(v), Tensor(*v)) if isinstance(v, list) else v
    return tensors(json.load(open(path)))
`
const SAFETENSORS = `
import json, torch
def save_file(tensors, path):
    for k, v in tensors.items():
        if not torch.is_tensor(v): raise ValueError(k + ' is no tensor')
        if v.strides != 'rows': raise ValueError('You are trying to save a non contiguous tensor: ' + k)
    if len({id(v) for v in tensors.values()}) < len(tensors): raise RuntimeError('Some tensors share memory')
    json.dump({k: v.storage for k, v in tensors.items()}, open(path, 'w'))
`

const LINE = /python3 -c "(.*)" out\.safetensors in\.bin$/.exec(PICKLE_PROBLEM)?.[1] ?? ''
const hasPython = spawnSync('python3', ['-V']).status === 0

/** What the line writes when these pickles are given to it, by a shell, as a user would. */
function converted(...pickles: unknown[]): unknown {
  const names = pickles.map((content, i) => {
    writeFileSync(join(folder, `in-${i}.bin`), JSON.stringify(content))
    return `in-${i}.bin`
  })
  const env = { ...process.env, PYTHONPATH: join(folder, 'stubs'), PYTHONDONTWRITEBYTECODE: '1' }
  const command = `python3 -c "${LINE}" out.safetensors ${names.join(' ')} && cat out.safetensors`
  return JSON.parse(
    execFileSync('sh', ['-c', command], { cwd: folder, env, encoding: 'utf8', stdio: 'pipe' }),
  )
}

describe.runIf(hasPython)('the line that converts pickles', () => {
  beforeAll(() => {
    mkdirSync(join(folder, 'stubs/safetensors'), { recursive: true })
    writeFileSync(join(folder, 'stubs/torch.py'), TORCH)
    writeFileSync(join(folder, 'stubs/safetensors/__init__.py'), '')
    writeFileSync(join(folder, 'stubs/safetensors/torch.py'), SAFETENSORS)
  })

  const W = ['W', 'rows']
  test.each<[string, unknown[], unknown]>([
    ['tensors', [{ a: W, b: ['V', 'rows'] }], { a: 'W copied', b: 'V copied' }],
    ['tied weights', [{ embed: W, head: W }], { embed: 'W copied', head: 'W copied' }],
    ['a transposed view', [{ a: ['W', 'columns'] }], { a: 'W in rows copied' }],
    ['a state_dict with an epoch beside it', [{ state_dict: { a: W }, epoch: 3 }], { a: 'W copied' }],
    [
      'a model and its optimizer',
      [{ optimizer: { state: { 0: { step: W } } }, model: { a: W } }],
      { a: 'W copied' },
    ],
    ['a module in a model', [{ model: { module: { a: W } } }], { a: 'W copied' }],
    ['a module named model', [{ model: W }], { model: 'W copied' }],
    ['numbers beside tensors', [{ a: W, step: 5 }], { a: 'W copied' }],
    ['two shards', [{ a: W }, { b: W }], { a: 'W copied', b: 'W copied' }],
  ])('%s', (_, pickles, written) => {
    expect(converted(...pickles)).toEqual(written)
  })

  test('a wrapper that is not known ends in an error, not in an empty file', () => {
    expect(() => converted({ params: { a: W } })).toThrow('no tensors found')
  })
})
