import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { pairModels } from '../../src/checkpoint/models.ts'
import { LoraSvdError } from '../../src/errors.ts'
import { filled, fillOf, inMemory, type Shapes } from './in-memory.ts'

/** The layers of a tower: attention, a feed-forward part, a norm and a bias. */
function tower(prefix: string, layers: number, width: number): Shapes {
  return Object.fromEntries(
    Array.from({ length: layers }, (_, i) => [
      [`${prefix}${i}.self_attn.q_proj.weight`, [width, width]],
      [`${prefix}${i}.self_attn.q_proj.bias`, [width]],
      [`${prefix}${i}.self_attn.o_proj.weight`, [width, width]],
      [`${prefix}${i}.mlp.up_proj.weight`, [2 * width, width]],
      [`${prefix}${i}.input_layernorm.weight`, [width]],
    ]).flat(),
  ) as Shapes
}

/** A text model with a vision tower of the same endings, of the same shapes too where `twins`. */
function model({ layers = 3, blocks = 2, twins = false, head = true } = {}): Shapes {
  return {
    'model.embed_tokens.weight': [11, 4],
    ...tower('model.layers.', layers, 4),
    'model.norm.weight': [4],
    ...tower('visual.blocks.', blocks, twins ? 4 : 6),
    'visual.patch_embed.proj.weight': [6, 3, 1, 2, 2],
    'visual.merger.mlp.0.weight': [6, 6],
    'visual.merger.mlp.2.weight': [4, 6],
    ...(head && { 'lm_head.weight': [11, 4] }),
  }
}

type Renaming = (name: string) => string | undefined

/** Base and tuned, in which every tensor is full of its number in the base's list: the same one in both is the same tensor. */
function renamed(shapes: Shapes, renaming: Renaming, reversed = false) {
  const numbered = Object.entries(shapes).map(([name, shape], i) => ({ name, shape, value: i + 1 }))
  const plain = numbered.map(({ name, shape, value }) => filled(name, shape, value))
  const others = numbered.flatMap(({ name, shape, value }) => {
    const other = renaming(name)
    return other === undefined ? [] : [filled(other, shape, value)]
  })
  const [base, tuned] = reversed ? [others, plain] : [plain, others]
  const untied = { tie_word_embeddings: false }
  return { base: inMemory('base', base, untied), tuned: inMemory('tuned', tuned, untied) }
}

/** Sets the two beside each other: every pair is right, and what is paired, lost and refused. */
async function outcome({ base, tuned }: ReturnType<typeof renamed>, allowUnpaired = false) {
  try {
    const { pairs, lost, matched, unmatched } = await pairModels(base, tuned, { allowUnpaired })
    const wrong = [
      ...pairs.filter(({ base: b, tuned: t }) => [b.rows, b.columns].join() !== [t.rows, t.columns].join()),
      ...[...pairs, ...unmatched].filter(({ base: b, tuned: t }) => b && t && fillOf(b) !== fillOf(t)),
    ]
    expect(wrong.map(({ name }) => name)).toEqual([])
    return { matched, lost: lost.size }
  } catch (error) {
    if (error instanceof LoraSvdError && error.code === 'bad-input') return 'refused'
    throw error
  }
}

const swap = (from: string | RegExp, to: string) => (name: string) => name.replace(from, to)
const all =
  (...renamings: ((name: string) => string)[]) =>
  (name: string) =>
    renamings.reduce((text, rename) => rename(text), name)
const amid = (part: string) => swap(/(layers|blocks)\.(\d+)\./, `$1.$2.${part}.`)

/** What libraries do to names. */
const WAYS: Readonly<Record<string, (name: string) => string>> = {
  'as it is': (name) => name,
  'model. before all': swap(/^/, 'model.'),
  'base_model.model. before all': swap(/^/, 'base_model.model.'),
  'model.diffusion_model. before all': swap(/^/, 'model.diffusion_model.'),
  'module. before all': swap(/^/, 'module.'),
  '_orig_mod. before all': swap(/^/, '_orig_mod.'),
  '_orig_mod.module. before all': swap(/^/, '_orig_mod.module.'),
  '_fsdp_wrapped_module. before all': swap(/^/, '_fsdp_wrapped_module.'),
  'language_model amid the text': swap(/^model\./, 'model.language_model.'),
  'language_model before text and head': swap(/^(model\.|lm_head)/, 'language_model.$1'),
  'language_model before the text, not the head': swap(/^model\./, 'language_model.model.'),
  'model. before the vision': swap(/^visual\./, 'model.visual.'),
  'text and vision, as transformers 4.52': all(
    swap(/^model\./, 'model.language_model.'),
    swap(/^visual\./, 'model.visual.'),
  ),
  'text and vision, and the head too': all(
    swap(/^model\./, 'model.language_model.'),
    swap(/^visual\./, 'model.visual.'),
    swap(/^lm_head/, 'model.lm_head'),
  ),
  'the text without model.': swap(/^model\./, ''),
  'the text as transformer., the head alone': swap(/^model\./, 'transformer.'),
  'the vision as vision_tower.': swap(/^visual\./, 'vision_tower.'),
  'the vision as vision_tower.vision_model.': swap(/^visual\./, 'vision_tower.vision_model.'),
  'both parts by other names': all(swap(/^model\./, 'text.'), swap(/^visual\./, 'vision.')),
  'the two parts exchanged in their order': all(
    swap(/^model\./, 'thinker.model.'),
    swap(/^visual\./, 'thinker.visual.'),
  ),
  'checkpointing in layers': amid('_checkpoint_wrapped_module'),
  'FSDP in layers': amid('_fsdp_wrapped_module'),
  'FSDP and checkpointing in layers': amid('_fsdp_wrapped_module._checkpoint_wrapped_module'),
  'torch.compile in layers': amid('_orig_mod'),
  'module. in layers': amid('module'),
  'module. before, checkpointing amid': all(amid('_checkpoint_wrapped_module'), swap(/^/, 'module.')),
  'wrapped, and language_model amid the text': all(
    amid('_fsdp_wrapped_module'),
    swap(/^model\./, 'model.language_model.'),
  ),
  'wrapped, and two parts renamed': all(
    amid('_orig_mod'),
    swap(/^model\./, 'model.language_model.'),
    swap(/^visual\./, 'model.visual.'),
  ),
  'FairScale before all': swap(/^/, '_fpw_module.'),
  'the attention wrapped': swap('self_attn.', 'self_attn._orig_mod.'),
  'one vision block as it was': (name) =>
    name.startsWith('visual.blocks.0.') ? name : swap(/^visual\./, 'model.visual.')(name),
  'one layer as it was': (name) =>
    name.startsWith('model.layers.1.') ? name : swap(/^model\./, 'model.language_model.')(name),
  'all but one layer and one block': (name) =>
    /^(model\.layers|visual\.blocks)\.0\./.test(name)
      ? name
      : all(swap(/^model\./, 'model.language_model.'), swap(/^visual\./, 'model.visual.'))(name),
}

const MODELS: Readonly<Record<string, Shapes>> = {
  'a model': model(),
  'with a vision tower of the same shapes': model({ twins: true, blocks: 5 }),
  'of one layer and one block': model({ layers: 1, blocks: 1 }),
  'without a head': model({ head: false }),
}

describe.each(Object.entries(MODELS))('%s', (_, shapes) => {
  test.each(Object.entries(WAYS))('%s: every tensor is paired with its own', async (_, way) => {
    const whole = { matched: Object.keys(shapes).length, lost: 0 }
    expect(await outcome(renamed(shapes, way))).toEqual(whole)
    expect(await outcome(renamed(shapes, way, true))).toEqual(whole)
  })
})

describe('what can’t be paired', () => {
  const shapes = model()
  test.each<[string, Renaming]>([
    ['modules by other names', swap('self_attn', 'attention')],
    ['every name its own', (name) => `x${name.replaceAll('.', '_')}`],
    ['every name but one its own', (name) => (/norm/.test(name) ? name : `x${name.replaceAll('.', '_')}`)],
    ['other projections', swap('q_proj', 'query')],
    ['another feed-forward part', swap('mlp.up_proj', 'feed_forward.w1')],
  ])('%s: refused', async (_, renaming) => {
    expect(await outcome(renamed(shapes, renaming))).toBe('refused')
    expect(await outcome(renamed(shapes, renaming, true))).toBe('refused')
  })

  test('the refusal names one of each, with its shape, and what to do', async () => {
    const { base, tuned } = renamed(shapes, swap('q_proj', 'query'))
    await expect(pairModels(base, tuned, { allowUnpaired: false })).rejects.toThrow(
      /^tuned: 5 matrices with no counterpart by name in base, .* as "model\.layers\.0\.self_attn\.query\.weight" here and "model\.layers\.\d\.self_attn\.q_proj\.weight" there, both \[4, 4\]: .*--exclude.*--allow-unpaired$/,
    )
    const excluded = await pairModels(base, tuned, { allowUnpaired: false, exclude: ['*q_proj*', '*query*'] })
    expect(excluded.lost.size).toBe(0)
  })

  test('with --allow-unpaired what is left over is lost', async () => {
    const found = await outcome(renamed(shapes, swap('self_attn', 'attention')), true)
    expect(found).toEqual({ matched: 31 - 15, lost: 30 })
  })

  test('two towers of one form by new names alike: which is which can’t be told', async () => {
    const twins = { ...tower('a.layers.', 3, 4), ...tower('b.layers.', 3, 4), 'lm_head.weight': [9, 4] }
    const way = all(swap(/^a\./, 'text.'), swap(/^b\./, 'vision.'))
    expect(await outcome(renamed(twins, way))).toBe('refused')
    const oneOnly = (name: string) => (name.startsWith('b.') ? undefined : way(name))
    expect(await outcome(renamed(twins, oneOnly))).toBe('refused')
  })

  test('whatever is done to names and tensors: paired rightly, counted as lost, or refused', async () => {
    const part = fc.constantFrom(
      'model',
      'language_model',
      'visual',
      'module',
      '_orig_mod',
      'layers',
      'text',
      '0',
      '1',
    )
    const prefix = fc.array(part, { maxLength: 3 }).map((parts) => parts.map((one) => `${one}.`).join(''))
    const edit = fc.record({
      from: fc.constantFrom(
        'model.',
        'visual.',
        'model.layers.',
        'visual.blocks.',
        'model.layers.0.',
        'lm_head.',
        '',
      ),
      to: prefix,
    })
    const input = fc.record({
      edits: fc.array(edit, { maxLength: 3 }),
      wrapper: fc.option(fc.constantFrom('_checkpoint_wrapped_module', '_orig_mod', 'inner')),
      dropped: fc.option(fc.constantFrom('visual.', 'lm_head', 'model.layers.1.', 'q_proj')),
      which: fc.constantFrom(...Object.values(MODELS)),
      reversed: fc.boolean(),
      allowUnpaired: fc.boolean(),
    })
    let whole = 0
    await fc.assert(
      fc.asyncProperty(input, async ({ edits, wrapper, dropped, which, reversed, allowUnpaired }) => {
        const rename: Renaming = (name) => {
          if (dropped !== null && name.includes(dropped)) return undefined
          const edited = edits.reduce(
            (text, { from, to }) => (text.startsWith(from) ? to + text.slice(from.length) : text),
            name,
          )
          return wrapper === null ? edited : amid(wrapper)(edited)
        }
        const names = Object.keys(which).flatMap((name) => rename(name) ?? [])
        fc.pre(names.length > 0 && new Set(names).size === names.length)
        const found = await outcome(renamed(which, rename, reversed), allowUnpaired)
        if (found === 'refused') return
        if (found.lost === 0) whole++
        if (found.lost === 0) expect(found.matched).toBe(Object.keys(which).length)
      }),
      { numRuns: 300 },
    )
    // a property that refuses everything would prove nothing
    expect(whole).toBeGreaterThan(20)
  })
})

test('a thousand layers', async () => {
  const shapes = tower('model.layers.', 1000, 2)
  const models = renamed(shapes, swap(/^model\./, 'model.language_model.'))
  expect(await outcome(models)).toEqual({ matched: 5000, lost: 0 })
})
