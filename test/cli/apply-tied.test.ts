import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import {
  adapterAt,
  applied,
  deltaOf,
  fileOf,
  folderWith,
  jsonOf,
  PEFT,
  random,
  read,
  rounded,
} from './apply-support.ts'
import { runInProcess, temporaryFolder } from './run.ts'

const folder = temporaryFolder('apply-tied')
const at = (name: string) => join(folder, name)
const adapterOf = (name: string, ...rest: Rest<Parameters<typeof adapterAt>>) => adapterAt(at(name), ...rest)
type Rest<T extends unknown[]> = T extends [unknown, ...infer R] ? R : never

describe('a head that is tied to the embedding', () => {
  const [words, width] = [20, 8]
  const embedding = random([words, width], 60, 'BF16', 1)
  const config = {
    architectures: ['LlamaForCausalLM'],
    tie_word_embeddings: true,
    vocab_size: words,
    rope_theta: 10000.0,
  }
  const base = folderWith(at('tied'), {
    'config.json': `${JSON.stringify(config, null, 2).replace('10000', '10000.0')}\n`,
    'model.safetensors': fileOf({
      'model.embed_tokens.weight': embedding,
      'model.layers.0.mlp.up_proj.weight': random([width, width], 61, 'BF16', 1),
    }),
  })
  const E = { A: random([2, words], 62), B: random([width, 2], 63) }
  const ofEmbedding = {
    [`${PEFT}model.embed_tokens.lora_embedding_A`]: E.A,
    [`${PEFT}model.embed_tokens.lora_embedding_B`]: E.B,
  }
  const changed = (
    data: ArrayLike<number>,
    rowsOf: (i: number, k: number) => number,
    columnOf: (j: number, k: number) => number,
  ) =>
    Array.from(data, (w, at) => {
      const [i, j] = [Math.floor(at / width), at % width]
      return rounded(w + columnOf(j, 0) * rowsOf(i, 0) + columnOf(j, 1) * rowsOf(i, 1), 'BF16')
    })
  const newEmbedding = changed(
    embedding.data,
    (i, k) => E.A.data[k * words + i],
    (j, k) => E.B.data[j * 2 + k],
  )
  const old = Array.from(embedding.data)

  test('an adapter of the embedding unties them: the head keeps the old one', async () => {
    const adapter = adapterOf(
      'tied-embedding',
      {},
      { tensors: ofEmbedding, config: { target_modules: ['embed_tokens'] } },
    )
    const { untied } = await applied([base, adapter, '-o', at('untied')])
    expect(untied).toEqual({ head: 'lm_head.weight', embedding: 'model.embed_tokens.weight' })
    const found = read(at('untied'))
    expect([...found.get('model.embed_tokens.weight')!.data]).toEqual(newEmbedding)
    expect([...found.get('lm_head.weight')!.data]).toEqual(old)
    const text = readFileSync(join(at('untied'), 'config.json'), 'utf8')
    expect(JSON.parse(text)).toEqual({ ...config, tie_word_embeddings: false })
    expect(text).toContain('"rope_theta": 10000.0')
    const { stdout } = await runInProcess(['apply', base, adapter, '-o', at('untied-text')])
    expect(stdout.replace(/\s+/g, ' ')).toContain('is a tensor of its own now')
  })

  test('an adapter of the head too: the head is the old embedding with its change', async () => {
    const adapter = adapterOf('tied-head', { lm_head: [words, width] })
    const { layers, untied } = await applied([base, adapter, '-o', at('untied-head')])
    expect([layers[0].name, untied.head]).toEqual(['lm_head.weight', 'lm_head.weight'])
    const found = read(at('untied-head'))
    const delta = deltaOf([words, width], 0)
    expect([...found.get('model.embed_tokens.weight')!.data]).toEqual(old)
    expect([...found.get('lm_head.weight')!.data]).toEqual(old.map((w, i) => rounded(w + delta(i), 'BF16')))
  })

  test('both replaced by one tensor stay one', async () => {
    const both = random([words, width], 64, 'BF16', 1)
    const adapter = adapterOf(
      'tied-both',
      {},
      {
        tensors: { [`${PEFT}model.embed_tokens.weight`]: both, [`${PEFT}lm_head.weight`]: both },
      },
    )
    const document = await applied([base, adapter, '-o', at('still-tied')])
    expect(document).not.toHaveProperty('untied')
    expect([...read(at('still-tied')).keys()].sort()).toEqual([
      'model.embed_tokens.weight',
      'model.layers.0.mlp.up_proj.weight',
    ])
    expect(jsonOf(at('still-tied'), 'config.json').tie_word_embeddings).toBe(true)
  })

  test('a longer vocabulary: config.json follows, and the tokenizer is the adapter’s', async () => {
    const longer = random([words + 3, width], 65, 'BF16', 1)
    const adapter = adapterOf(
      'longer',
      {},
      {
        tensors: { [`${PEFT}model.embed_tokens.weight`]: longer },
        files: { 'tokenizer.json': { words: words + 3 } },
      },
    )
    writeFileSync(join(base, 'tokenizer.json'), JSON.stringify({ words }))
    const { vocabulary } = await applied([base, adapter, '-o', at('longer-merged')])
    expect(vocabulary).toBe(words + 3)
    expect(jsonOf(at('longer-merged'), 'config.json')).toEqual({ ...config, vocab_size: words + 3 })
    expect(jsonOf(at('longer-merged'), 'tokenizer.json')).toEqual({ words: words + 3 })
    expect([...read(at('longer-merged')).get('model.embed_tokens.weight')!.data]).toEqual(
      Array.from(longer.data),
    )
  })

  test('trained tokens: their rows alone, for the head too', async () => {
    const rows = [3, 17]
    const trained = random([2, width], 66, 'BF16', 1)
    const adapter = adapterOf(
      'tokens',
      {},
      {
        tensors: { [`${PEFT}model.embed_tokens.token_adapter.trainable_tokens_delta`]: trained },
        config: { trainable_token_indices: rows, target_modules: ['up_proj'] },
      },
    )
    const document = await applied([base, adapter, '-o', at('tokens-merged')])
    expect(document).not.toHaveProperty('untied')
    const wanted = Array.from(embedding.data)
    for (const [k, row] of rows.entries())
      wanted.splice(row * width, width, ...Array.from(trained.data).slice(k * width, (k + 1) * width))
    expect([...read(at('tokens-merged')).get('model.embed_tokens.weight')!.data]).toEqual(wanted)
  })

  test('a GPT-2 that is stored without its head: the body gets the name that it has beside one', async () => {
    const bare = folderWith(at('bare-gpt2'), {
      'config.json': { model_type: 'gpt2', architectures: ['GPT2LMHeadModel'] },
      'model.safetensors': fileOf({
        'wte.weight': embedding,
        'h.0.ln_1.weight': random([width], 67, 'BF16', 1),
      }),
    })
    const adapter = adapterOf('gpt2-head', { lm_head: [words, width] })
    await applied([bare, adapter, '-o', at('gpt2-untied')])
    expect([...read(at('gpt2-untied')).keys()].sort()).toEqual([
      'lm_head.weight',
      'transformer.h.0.ln_1.weight',
      'transformer.wte.weight',
    ])
    expect(jsonOf(at('gpt2-untied'), 'config.json').tie_word_embeddings).toBe(false)
  })

  test('a longer embedding whose stored head stays as it is fits no model: refused', async () => {
    const untied = folderWith(at('untied-base'), {
      'config.json': { ...config, tie_word_embeddings: false },
      'model.safetensors': fileOf({ 'model.embed_tokens.weight': embedding, 'lm_head.weight': embedding }),
    })
    const adapter = adapterOf(
      'only-embedding',
      {},
      { tensors: { [`${PEFT}model.embed_tokens.weight`]: random([words + 3, width], 65, 'BF16', 1) } },
    )
    const { code, stderr } = await runInProcess(['apply', untied, adapter, '-o', at('never')])
    expect(code).toBe(2)
    expect(stderr).toContain('an adapter to a vocabulary of another length has to bring both')
  })

  test('a stored head that config.json ties: only the setting changes', async () => {
    const stored = folderWith(at('stored-head'), {
      'config.json': { ...config, text_config: { tie_word_embeddings: true, vocab_size: words } },
      'model.safetensors': fileOf({ 'model.embed_tokens.weight': embedding, 'lm_head.weight': embedding }),
    })
    const adapter = adapterOf(
      'stored-embedding',
      {},
      { tensors: ofEmbedding, config: { target_modules: ['embed_tokens'] } },
    )
    await applied([stored, adapter, '-o', at('stored-merged')])
    expect([...read(at('stored-merged')).get('lm_head.weight')!.data]).toEqual(old)
    const { tie_word_embeddings, text_config } = jsonOf(at('stored-merged'), 'config.json')
    expect([tie_word_embeddings, text_config.tie_word_embeddings]).toEqual([false, false])
  })
})
