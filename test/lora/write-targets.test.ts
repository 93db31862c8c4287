import fc from 'fast-check'
import { expect, test } from 'vitest'
import '../property-seed.ts'
import { withContainers } from '../../src/lora/traits.ts'
import { escapedPattern, savedModules, targetModules, targetTest } from '../../src/lora/write/targets.ts'
import { isTarget } from './peft-rules.ts'
import { traitsOf } from './write-support.ts'

/** Paths of few names, so that they often end each other. */
const path = fc
  .array(fc.constantFrom('a', 'b', 'proj', 'x_proj', '0', '1', '11', 'a+b', 'proj.out'), {
    minLength: 1,
    maxLength: 4,
  })
  .map((names) => names.join('.'))
const paths = fc.uniqueArray(path, { minLength: 1, maxLength: 8 })

test('target_modules match what was written and nothing else, by PEFT’s rule', () => {
  fc.assert(
    fc.property(paths, fc.array(path, { maxLength: 8 }), (emitted, others) => {
      const target_modules = targetModules(emitted, others)
      const isTargeted = targetTest(target_modules)
      for (const module of withContainers([...emitted, ...others])) {
        expect(isTarget({ target_modules }, module), module).toBe(emitted.includes(module))
        expect(isTargeted(module), module).toBe(emitted.includes(module))
      }
    }),
    { numRuns: 1000 },
  )
})

test('no list with fewer items is exact', () => {
  const small = fc.uniqueArray(path, { minLength: 1, maxLength: 4 })
  fc.assert(
    fc.property(small, fc.array(path, { maxLength: 4 }), (emitted, others) => {
      const found = targetModules(emitted, others)
      if (typeof found === 'string') return
      const all = [...withContainers([...emitted, ...others])]
      const suffixes = [
        ...new Set(emitted.flatMap((one) => one.split('.').map((_, i, names) => names.slice(i).join('.')))),
      ].filter((suffix) => emitted.includes(suffix) || !/^\d+(\.|$)/.test(suffix))
      for (let subset = 0; subset < 2 ** Math.min(suffixes.length, 12); subset++) {
        const target_modules = suffixes.filter((_, i) => (subset >> i) & 1)
        if (target_modules.length >= found.length) continue
        expect(all.every((one) => isTarget({ target_modules }, one) === emitted.includes(one))).toBe(false)
      }
    }),
    { numRuns: 200 },
  )
})

const LAYERS = Array.from({ length: 12 }, (_, i) => `model.layers.${i}`)

test('short names where all of them are written, paths where not', () => {
  const q = LAYERS.map((layer) => `${layer}.self_attn.q_proj`)
  const o = LAYERS.map((layer) => `${layer}.self_attn.o_proj`)
  const rest = ['model.embed_tokens', 'lm_head', ...LAYERS.map((layer) => `${layer}.input_layernorm`)]
  expect(targetModules([...q, ...o], rest)).toEqual(['o_proj', 'q_proj'])
  expect(targetModules([...q, o[1]], [...o, ...rest])).toEqual(['layers.1.self_attn.o_proj', 'q_proj'])
  expect(targetModules([o[1]], [...o, 'draft.layers.1.self_attn.o_proj'])).toEqual([
    'model.layers.1.self_attn.o_proj',
  ])
})

test('endings that a container or a longer name shares', () => {
  // `0` would be every layer; `out` is the end of a name, not a name
  expect(targetModules(['to_out.0'], ['layers.0.norm'])).toEqual(['to_out.0'])
  expect(targetModules(['blocks.0.proj_out'], ['proj_out', 'out'])).toEqual(['blocks.0.proj_out'])
  expect(targetModules(['attn.qkv'], ['attn.norm'])).toEqual(['qkv'])
  // even the whole path ends another's: a regular expression
  expect(targetModules(['lm_head', 'a+b.c'], ['draft.lm_head', 'c'])).toBe('a\\+b\\.c|lm_head')
})

test('an escaped path matches itself alone', () => {
  fc.assert(
    fc.property(fc.string(), fc.string(), (text, other) => {
      expect(new RegExp(`^(?:${escapedPattern(text)})$`, 's').test(text)).toBe(true)
      expect(new RegExp(`^(?:${escapedPattern(text)})$`, 's').test(other)).toBe(text === other)
    }),
  )
})

test('modules written whole are those that PEFT would replace, with all their parameters', () => {
  const tensors = [
    'model.norm.weight',
    'language_model.norm.weight',
    'model.layers.0.ln.weight',
    'model.layers.0.ln.bias',
    'model.layers.0.mixer.A_log',
    'model.layers.0.mixer.proj.weight',
    'cls_token',
  ]
  const none = new Set<string>()
  expect(savedModules(['model.layers.0.ln.bias'], tensors, none, traitsOf())).toEqual({
    saved: [{ path: 'model.layers.0.ln', tensors: ['model.layers.0.ln.weight', 'model.layers.0.ln.bias'] }],
    notCarried: [],
  })
  expect(
    savedModules(['model.norm.weight', 'language_model.norm.weight'], tensors, none, traitsOf()).saved,
  ).toHaveLength(2)
  // PEFT looks at the ends of paths, be it amid a name
  expect(savedModules(['model.norm.weight'], tensors, none, traitsOf())).toEqual({
    saved: [],
    notCarried: [{ name: 'model.norm.weight', reason: 'PEFT would take "language_model.norm" for it too' }],
  })
  const { notCarried } = savedModules(['model.layers.0.mixer.A_log', 'cls_token'], tensors, none, traitsOf())
  expect(notCarried.map(({ reason }) => reason)).toEqual(
    Array(2).fill('a parameter of a module that holds other modules'),
  )
  // what lies under a replaced module gets no factors
  expect(
    savedModules(['head.weight'], ['head.weight'], new Set(['x.head.proj']), traitsOf()).notCarried,
  ).toHaveLength(1)
})

test('modules written whole: what brute force by PEFT’s rules leaves of all that are wanted', () => {
  const names = fc.uniqueArray(path, { minLength: 1, maxLength: 7 })
  fc.assert(
    fc.property(names, names, fc.infiniteStream(fc.boolean()), (modules, factors, chosen) => {
      const factored = new Set(factors.filter((one) => !modules.includes(one)))
      const tensors = modules.map((module) => `${module}.weight`)
      const wanted = tensors.filter(() => chosen.next().value)
      const { saved } = savedModules(wanted, tensors, factored, traitsOf())

      const everything = [...withContainers([...modules, ...factored])]
      const isContainer = (one: string) => everything.some((other) => other.startsWith(`${one}.`))
      const left = new Set(
        wanted.map((name) => name.slice(0, -'.weight'.length)).filter((one) => !isContainer(one)),
      )
      const isWrong = (item: string) =>
        everything.some((other) => !left.has(other) && other.endsWith(item)) ||
        [...factored].some((other) => new RegExp(`^(?:(^|.*\\.)${item}($|\\..*))`).test(other))
      for (let before = -1; before !== left.size; ) {
        before = left.size
        for (const item of left) if (isWrong(item)) left.delete(item)
      }
      expect(saved.map((one) => one.path)).toEqual([...left])
    }),
    { numRuns: 1000 },
  )
})

test('names of 15,000 dots: no ending is looked for among so many, and the work is that of reading them', () => {
  const long = 'a.'.repeat(15_000)
  expect(targetModules([`${long}q`, 'b.q'], [`${long}k`])).toBe(`${`${long}q`.replaceAll('.', '\\.')}|b\\.q`)
  expect(targetModules(['b.q', 'b.a'], [`${long}k`, `${long}x.q`])).toEqual(['b.a', 'b.q'])
  // 15,000 containers of 15,000 names each: only what can bear on an item is read of them
  const { saved, notCarried } = savedModules(
    [`${long}norm.weight`, 'b.norm.weight'],
    [`${long}norm.weight`, 'b.norm.weight'],
    new Set([`${long}q`]),
    traitsOf(),
  )
  expect(saved.map((one) => one.path)).toEqual(['b.norm'])
  expect(notCarried.map(({ reason }) => reason)).toEqual(['its path has more than 64 names'])
})
