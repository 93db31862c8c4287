import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { frontMatter, pipelineTagOf } from '../../../src/lora/card/front-matter.ts'
import { type CardLoading, loadingText } from '../../../src/lora/card/loading.ts'
import { cardFigure } from '../../../src/lora/card/marks.ts'
import { hubName, publicName, repositoryOf } from '../../../src/lora/write/config.ts'
import { frontMatterOf } from './read-card.ts'

const cardOf = (metadata: Parameters<typeof frontMatter>[0]) => `${frontMatter(metadata)}\n\n# LoRA adapter\n`

describe('front matter', () => {
  test('of an adapter whose base is known', () => {
    const fields = frontMatterOf(
      cardOf({
        base: 'org/base-7b',
        relation: 'adapter',
        library: 'peft',
        pipelineTag: pipelineTagOf({ taskType: 'CAUSAL_LM' }),
        tags: ['lora', 'lora-svd'],
      }),
    )
    expect(fields).toEqual({
      base_model: 'org/base-7b',
      base_model_relation: 'adapter',
      library_name: 'peft',
      pipeline_tag: 'text-generation',
      tags: ['lora', 'lora-svd'],
    })
  })

  test('whatever the base is called, it is YAML, and the Hub takes it', () => {
    const name = fc.oneof(
      fc.string(),
      fc.constantFrom(
        'a: b',
        '"x"',
        'org/x\nlicense: mit',
        '/home/me/base',
        'org/a--b',
        'x.git',
        '-x/y',
        'a/b/c',
      ),
    )
    fc.assert(
      fc.property(name, (base) => {
        frontMatterOf(cardOf({ base, relation: 'adapter', tags: ['lora'] }))
      }),
    )
  })

  test.for([
    ['Stable Diffusion', 'text-to-image'],
    ['Flux', 'text-to-image'],
    ['Qwen-Image', 'text-to-image'],
    ['Wan', 'text-to-video'],
    ['HunyuanVideo', 'text-to-video'],
  ])('%s: %s', ([diffusion, tag]) => {
    expect(pipelineTagOf({ diffusion })).toBe(tag)
  })

  test('a task that the Hub has no name for has none', () => {
    expect(pipelineTagOf({ taskType: 'SEQ_2_SEQ_LM' })).toBeUndefined()
    expect(pipelineTagOf({})).toBeUndefined()
  })
})

describe('the name of a base', () => {
  test.for<[string, string | undefined]>([
    ['org/base-7b', 'org/base-7b'],
    ['gpt2', 'gpt2'],
    ['/models/base', undefined],
    ['../base', undefined],
    ['org/base--7b', undefined],
    ['org/base.git', undefined],
    ['org/.base', undefined],
    [`org/${'x'.repeat(100)}`, undefined],
    ['', undefined],
  ])('%s', ([name, id]) => {
    expect(hubName(name)).toBe(id)
  })

  test('from the Hub’s cache, wherever in it', () => {
    const snapshot = '/root/.cache/huggingface/hub/models--org--base/snapshots/0123'
    expect(repositoryOf({ path: snapshot })).toBe('org/base')
    expect(repositoryOf({ path: `${snapshot}/model.safetensors` })).toBe('org/base')
    expect(repositoryOf({ path: 'org/base', folder: snapshot })).toBe('org/base')
    expect(repositoryOf({ path: 'gpt2', folder: '/hub/models--gpt2/snapshots/1' })).toBe('gpt2')
    expect(repositoryOf({ path: '/models/base', folder: '/models/base' })).toBeUndefined()
    expect(publicName('C:\\hub\\models--org--base\\snapshots\\1')).toBe('org/base')
  })
})

describe('figures', () => {
  test.for<[number | undefined, string]>([
    [0.3918, '0.392'],
    [0.001234, '0.00123'],
    [0.00012345, '0.000123'],
    [4.1e-7, '4.1e-7'],
    [9.99e-5, '1.0e-4'],
    [1, '1.00'],
    [123.4, '123'],
    [1234, '1.2e+3'],
    [0, '0'],
    [1e-300, '0'],
    [1e300, 'huge'],
    [Number.NaN, 'huge'],
    [undefined, '-'],
  ])('%s: %s', ([value, text]) => {
    expect(cardFigure(value).trimStart()).toBe(text)
    expect(cardFigure(value).length).toBe(cardFigure(undefined).length)
  })

  test('all are of one width, and none has an exponent from 1e-4 on', () => {
    fc.assert(
      fc.property(fc.double({ min: 0, noNaN: true }), (value) => {
        const text = cardFigure(value)
        expect(text.length).toBe(8)
        if (value >= 1e-4 && value < 999) expect(text).not.toContain('e')
      }),
    )
  })
})

describe('how each format is loaded', () => {
  const of = (format: CardLoading['format'], more: Partial<CardLoading> = {}) =>
    loadingText({ format, fileName: 'x.safetensors', base: 'org/base', notes: ['a note'], ...more })

  test.for<[CardLoading['format'], RegExp]>([
    ['peft', /PeftModel\.from_pretrained\(base, "ADAPTER"\)/],
    ['comfyui', /`x\.safetensors` into `models\/loras`/],
    ['kohya', /<lora:x:1>/],
    ['diffusers', /pipe\.load_lora_weights\("ADAPTER", weight_name="x\.safetensors"\)/],
    ['gguf', /llama-cli -m BASE\.gguf --lora x\.safetensors/],
    ['mlx', /mlx_lm\.generate --model "org\/base" --adapter-path ADAPTER/],
  ])('%s', ([format, says]) => {
    const text = of(format)
    expect(text).toMatch(says)
    expect(text).toContain('- a note')
    // a fence that is opened is closed
    expect(text.match(/^```/gm)?.length ?? 0).toSatisfy((count: number) => count % 2 === 0)
  })

  test('a folder for PEFT of a diffusion model names no tool that finds nothing in it', () => {
    const text = of('peft', { diffusion: 'Flux' })
    expect(text).not.toContain('AutoModel')
    expect(text).toContain('diffusion model (Flux)')
  })
})
