// GGUF adapters that `convert` wrote, in a real llama.cpp: beside the base they must say what the model that `apply` merged says there,
// by the Kullback-Leibler divergence of what follows each of 100 prompts. Of test/fixtures/digits-llama, and of small models from seeds:
// fewer keys than heads, a head tied to the embedding, and a mixture of experts. What must not hold shows that the bound says something.
// Usage: node bench/llama-adapters.mjs [--prompts 100] [--folder FOR_NODE_LLAMA_CPP]. Exits with 1 where something does not hold.
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { adapterGguf, modelGguf } from './gguf.mjs'
import { DEFAULT_FOLDER, logitsOf, softmax, startLlama } from './llama.mjs'
import {
  firstDirections,
  makeModel,
  makeStacked,
  modulesOf,
  randomPair,
  readPairs,
  stackedPair,
  writeAdapter,
} from './small-llama.mjs'

const { values: options } = parseArgs({
  options: {
    prompts: { type: 'string', default: '100' },
    folder: { type: 'string', default: DEFAULT_FOLDER },
  },
})

/** The most by which one computation in two orders, in float32, may differ: KL of a prompt, in nats. */
const SAME = 1e-6
/** The least that an adapter, and a wrong one, must show on average: else SAME would say nothing. */
const SHOWS = 1e-3
const START = 27
const RANK = 8

const ENTRY = fileURLToPath(new URL('../bin/lora-svd.js', import.meta.url))
const DIGITS = fileURLToPath(new URL('../test/fixtures/digits-llama/', import.meta.url))
const [BASE, TUNED] = ['base', 'tuned'].map((name) => join(DIGITS, name))
const readJson = (...path) => JSON.parse(readFileSync(join(...path), 'utf8'))
const { images } = readJson(DIGITS, 'held-out.json')
const prompts = images
  .slice(0, Number(options.prompts))
  .map((image) => [START, ...[...image].map((pixel) => Number.parseInt(pixel, 17))])

/** KL(p‖q) of each prompt, and the largest difference of logits. */
function divergence(one, other) {
  const [ps, qs] = [one.map(softmax), other.map(softmax)]
  const kl = ps.map((p, i) => p.reduce((sum, x, token) => sum + x * Math.log(x / qs[i][token]), 0))
  const apart = one.flatMap((logits, i) => logits.map((x, token) => Math.abs(x - other[i][token])))
  return {
    most: kl.reduce((most, x) => Math.max(most, Math.abs(x)), 0),
    mean: kl.reduce((a, b) => a + b) / kl.length,
    logits: apart.reduce((most, x) => Math.max(most, x), 0),
  }
}

let failures = 0
function check(holds, what) {
  console.log(`${holds ? 'holds         ' : 'DOES NOT HOLD '} ${what}`)
  if (!holds) failures++
}

const figure = (x) => x.toExponential(1)

function checkSame(what, one, other) {
  const { most, logits } = divergence(one, other)
  check(most <= SAME, `${what}: KL ≤ ${figure(most)}, logits apart by ${figure(logits)} at most`)
}

function checkOther(what, one, other) {
  const { mean } = divergence(one, other)
  check(mean > SHOWS, `${what}: KL ${figure(mean)} on average, as it must show`)
}

const command = (...args) => spawnSync(process.execPath, [ENTRY, ...args, '--quiet'], { encoding: 'utf8' })

function succeed(...args) {
  const { status, stderr } = command(...args)
  if (status !== 0) throw new Error(`lora-svd ${args.join(' ')}: exit code ${status}: ${stderr.trim()}`)
}

async function main(folder) {
  const llama = await startLlama(options.folder)
  const at = (name) => join(folder, name)
  let count = 0
  const fresh = (end = '') => at(`${count++}${end}`)
  const runModel = (model, adapterPath) => {
    const path = at('model.gguf')
    writeFileSync(path, modelGguf(model))
    return logitsOf(llama, prompts, path, adapterPath)
  }
  const convert = (adapter, base) => {
    const out = fresh('.gguf')
    succeed('convert', adapter, '-o', out, '--format', 'gguf', '--base', base)
    return out
  }
  const apply = (adapter, base) => {
    const out = fresh()
    succeed('apply', base, adapter, '-o', out, '--dtype', 'f32')
    return out
  }
  const adapterOf = (pairs, config) => {
    const out = fresh()
    writeAdapter(out, pairs, config)
    return out
  }
  /** An adapter beside its base, against the merged model; `model` is the base in llama.cpp where that has another layout. */
  async function same(what, adapter, base, model = base) {
    const merged = await runModel(apply(adapter, model))
    const beside = await runModel(model, convert(adapter, base))
    checkSame(what, merged, beside)
    checkOther('  … and the base without it', await runModel(model), beside)
    return { merged, beside }
  }
  /** The rows of q and k as transformers has them. */
  async function wrongRows(adapter, base, merged) {
    const path = fresh('.gguf')
    writeFileSync(path, adapterGguf(adapter, base, { turnsRows: false }))
    checkOther('  … and rows of q and k as transformers has them', merged, await runModel(base, path))
  }

  const extracted = fresh()
  succeed('extract', BASE, TUNED, '-o', extracted, '--rank', String(RANK))
  const pairs = readPairs(extracted)
  const one = await same(`digits-llama, rank ${RANK} and alpha the same`, extracted, BASE)
  await wrongRows(extracted, BASE, one.merged)
  await same('digits-llama, alpha 6', adapterOf(pairs, { r: RANK, lora_alpha: 6 }), BASE)
  await same(
    'digits-llama, alpha 3, rslora',
    adapterOf(pairs, { r: RANK, lora_alpha: 3, use_rslora: true }),
    BASE,
  )
  const ranks = { q_proj: 4, k_proj: 5, down_proj: 2 }
  const mixed = new Map(
    [...pairs].map(([path, pair]) => [path, firstDirections(pair, ranks[path.split('.').at(-1)] ?? RANK)]),
  )
  const patterns = {
    ...{
      r: RANK,
      lora_alpha: 6,
      rank_pattern: ranks,
      alpha_pattern: { q_proj: 3, down_proj: 1, v_proj: 12 },
    },
  }
  await same('digits-llama, ranks 8, 5, 4, 2 with alphas 12, 6, 3, 1', adapterOf(mixed, patterns), BASE)
  const { vocab_size: vocabulary, hidden_size: width } = readJson(BASE, 'config.json')
  const outside = new Map([
    ['model.embed_tokens', { ...randomPair([width, vocabulary], 4, 5), isEmbedding: true }],
    ['lm_head', randomPair([vocabulary, width], 4, 6)],
  ])
  await same('digits-llama, embedding and head', adapterOf(outside, { r: 4, lora_alpha: 3 }), BASE)

  const linear = (config, rankOf) =>
    new Map(
      Array.from({ length: config.num_hidden_layers }, (_, layer) =>
        modulesOf(config).map(([module, ...shape], i) => [
          `model.layers.${layer}.${module}`,
          randomPair(shape, rankOf(module), 100 * (layer + 1) + i),
        ]),
      ).flat(),
    )
  const grouped = at('grouped')
  const config = makeModel(grouped)
  const plain = adapterOf(
    linear(config, () => 4),
    { r: 4, lora_alpha: 3 },
  )
  const shared = await same('8 heads that share 2 keys, rank 4 and alpha 3', plain, grouped)
  await wrongRows(plain, grouped, shared.merged)
  const uneven = adapterOf(
    linear(config, (module) => ({ 'self_attn.k_proj': 3, 'mlp.up_proj': 6 })[module] ?? 4),
    { r: 4, lora_alpha: 3, rank_pattern: { k_proj: 3, up_proj: 6 }, alpha_pattern: { k_proj: 5 } },
  )
  await same('8 heads that share 2 keys, ranks 6, 4, 3', uneven, grouped)

  await tied({ at, fresh, adapterOf, same, linear })
  await experts({ at, adapterOf, same, linear, runModel, convert })
  await llama.dispose()
}

/** A head that is the embedding: an adapter of other modules works, and one of these two is refused. */
async function tied({ at, fresh, adapterOf, same, linear }) {
  const model = at('tied')
  const config = makeModel(model, { tie_word_embeddings: true }, 2)
  const layers = linear(config, () => 4)
  await same(
    'a tied head, which the adapter does not change',
    adapterOf(layers, { r: 4, lora_alpha: 4 }),
    model,
  )
  const { vocab_size: vocabulary, hidden_size: width } = config
  const refused = {
    'model.embed_tokens': { ...randomPair([width, vocabulary], 4, 7), isEmbedding: true },
    lm_head: randomPair([vocabulary, width], 4, 8),
  }
  for (const [path, pair] of Object.entries(refused)) {
    const adapter = adapterOf(new Map([...layers, [path, pair]]), { r: 4, lora_alpha: 4 })
    const { status, stderr } = command(
      'convert',
      adapter,
      '-o',
      fresh('.gguf'),
      '--format',
      'gguf',
      '--base',
      model,
    )
    const said = stderr.trim().replaceAll(`${adapter}: `, '').replaceAll(model, 'the base')
    check(status === 2 && /head is tied to/.test(said), `a tied head, ${path}: exit code ${status}, ${said}`)
  }
}

/** A mixture of four experts, two of which each token takes. */
async function experts({ at, adapterOf, same, linear, runModel, convert }) {
  const model = at('mixture')
  const moe = { architectures: ['MixtralForCausalLM'], model_type: 'mixtral', num_local_experts: 4 }
  const config = makeModel(model, { ...moe, num_experts_per_tok: 2 }, 3)
  const pairs = linear(config, () => 4)
  const { merged } = await same(
    "Mixtral's experts, one pair each, and its router",
    adapterOf(pairs, { r: 4, lora_alpha: 3 }),
    model,
  )
  const turned = new Map(
    [...pairs].map(([path, pair]) => [path.replace(/(?<=experts\.)\d/, (e) => 3 - Number(e)), pair]),
  )
  const other = convert(adapterOf(turned, { r: 4, lora_alpha: 3 }), model)
  checkOther('  … and the experts in another order', merged, await runModel(model, other))
  const some = new Map([...pairs].filter(([path]) => !/experts\.[02]\./.test(path)))
  await same("Mixtral's experts, pairs for some of them", adapterOf(some, { r: 4, lora_alpha: 3 }), model)

  const stacked = at('stacked')
  makeStacked(stacked, config, model)
  const stacks = new Map()
  for (let layer = 0; layer < config.num_hidden_layers; layer++) {
    const owner = `model.layers.${layer}.mlp.experts`
    const { hidden_size: h, intermediate_size: ff } = config
    const all = (out, into, seed) =>
      stackedPair(Array.from({ length: 4 }, (_, e) => randomPair([out, into], 3, seed + 10 * layer + e)))
    stacks.set(`${owner}.base_layer`, all(2 * ff, h, 900))
    stacks.set(owner, all(h, ff, 950))
  }
  const parameters = ['mlp.experts.gate_up_proj', 'mlp.experts.down_proj']
  const fused = adapterOf(stacks, { r: 3, lora_alpha: 2, target_modules: [], target_parameters: parameters })
  await same('stacks of experts, of a base that has them apart', fused, model)
  await same('stacks of experts, of a base that has them stacked', fused, stacked, model)
}

const folder = mkdtempSync(join(tmpdir(), 'lora-svd-llama-adapters-'))
process.on('exit', () => rmSync(folder, { recursive: true, force: true }))
await main(folder)
process.exitCode = failures === 0 ? 0 : 1
