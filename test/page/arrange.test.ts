import { describe, expect, test } from 'vitest'
import { arranged, type Entry, swapped, thingsIn } from '../../src/page/weights/arrange.ts'

/** Files by their paths, each with the time of its last change. */
const entries = (...paths: (string | [string, number])[]): Entry[] =>
  paths.map((given) => {
    const [path, lastModified] = typeof given === 'string' ? [given, 0] : given
    return { path, file: new File([path], path.replace(/.*\//, ''), { lastModified }) }
  })

const pathsOf = (...paths: (string | [string, number])[]) =>
  thingsIn(entries(...paths)).map(({ path }) => path)

describe('what was dropped', () => {
  test.each([
    ['a file', ['W.npy'], ['W.npy']],
    ['a folder', ['m/config.json', 'm/model.safetensors'], ['m']],
    ['two folders', ['a/model.safetensors', 'b/model.safetensors'], ['a', 'b']],
    [
      'an adapter with its config',
      ['adapter_model.safetensors', 'adapter_config.json'],
      ['adapter_model.safetensors'],
    ],
    [
      'an index with its shards',
      [
        'model.safetensors.index.json',
        'model-00001-of-00002.safetensors',
        'model-00002-of-00002.safetensors',
      ],
      ['model.safetensors.index.json'],
    ],
    [
      'a model beside its papers',
      ['model.safetensors', 'config.json', 'README.md', 'tokenizer.json'],
      ['model.safetensors'],
    ],
    ['a text', ['W.txt'], ['W.txt']],
    [
      'a folder of two models',
      ['pair/base/model.safetensors', 'pair/tuned/model.safetensors'],
      ['pair/base', 'pair/tuned'],
    ],
    ['a pipeline', ['p/model_index.json', 'p/unet/x.safetensors', 'p/vae/x.safetensors'], ['p']],
    ['a repository of the cache', ['r/refs/main', 'r/snapshots/1/model.safetensors'], ['r']],
    ['a folder of many models, which the rooms refuse', ['f/a/x.npy', 'f/b/x.npy', 'f/c/x.npy'], ['f']],
    ['no weights at all, which the rooms refuse too', ['photo.jpg'], ['photo.jpg']],
  ])('%s', (_, given, things) => {
    expect(pathsOf(...given)).toEqual(things)
  })
})

describe('a base and its tuned weights', () => {
  const order = (...paths: (string | [string, number])[]) => {
    const { inputs, isGuessed } = arranged(entries(...paths), [])
    return [inputs?.base?.path, inputs?.weights.path, isGuessed]
  }

  test('are told by their names, else by their dates', () => {
    expect(order('m-base.safetensors', 'm-tuned.safetensors')).toEqual([
      'm-base.safetensors',
      'm-tuned.safetensors',
      true,
    ])
    expect(order('m-it.safetensors', 'm.safetensors')).toEqual(['m.safetensors', 'm-it.safetensors', true])
    expect(order(['x.npy', 2], ['y.npy', 1])).toEqual(['y.npy', 'x.npy', true])
    expect(order(['x.npy', 1], ['y.npy', 1])).toEqual(['x.npy', 'y.npy', true])
  })

  test('are an adapter and its base where one is an adapter, whatever the dates say', () => {
    expect(
      order(['a/adapter_model.safetensors', 1], ['a/adapter_config.json', 1], ['m/model.safetensors', 2]),
    ).toEqual(['m', 'a', true])
  })

  test('are as they are put into two places', () => {
    const { inputs, isGuessed } = arranged(entries('a-base.npy'), entries('b-tuned.npy'))
    expect([inputs?.base?.path, inputs?.weights.path, isGuessed]).toEqual([
      'b-tuned.npy',
      'a-base.npy',
      false,
    ])
    expect(swapped(inputs!).base?.path).toBe('a-base.npy')
  })

  test('of one name get the name of their part before it', () => {
    const { inputs } = arranged(entries('model.safetensors', 'config.json'), entries('model.safetensors'))
    expect(inputs?.weights.path).toBe('tuned/model.safetensors')
    expect(inputs?.weights.files.map(([path]) => path)).toEqual([
      'tuned/model.safetensors',
      'tuned/config.json',
    ])
    expect(inputs?.base?.files.map(([path]) => path)).toEqual(['base/model.safetensors'])
  })
})

test('nothing is nothing, and three things are too many', () => {
  expect(arranged([], []).inputs).toBeUndefined()
  expect(arranged([], entries('W.npy')).inputs).toBeUndefined()
  expect(() => arranged(entries('a.npy', 'b.npy'), entries('c.npy'))).toThrow(
    '3 things are here (a.npy, b.npy, c.npy), and two at most are looked at together',
  )
})
