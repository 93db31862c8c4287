// Every command with 64 MB of heap (node --max-old-space-size=64), over the tests' Llama and over a pair of four layers of TinyLlama's shapes: each must do its work.
// Usage: node bench/small-heap.mjs [--heap 64] [--hidden 2048] [--only extract,…]; exits with 1 where one fails.
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { makePair, recipeOf } from './tinyllama-pair.mjs'
import { PAIR } from './trial-commands.mjs'
import { ENTRY, optionsOf, runCommand } from './trial-runs.mjs'

const { heap, hidden, only } = optionsOf({ heap: 64, hidden: 2048, only: '' })
const folder = mkdtempSync(join(tmpdir(), 'lora-svd-heap-'))

/** Commands that build on each other, with the exit code that is right. */
function commandsOn(name, pair, tensor) {
  const [base, tuned] = ['base', 'tuned'].map((side) => join(pair, side))
  const at = (output) => join(folder, name, output)
  const [a, b] = [at('a'), at('b')]
  return [
    ['demo', []],
    [
      'inspect',
      [tuned, '--base', base, '--html', at('report.html'), '--svg', at('s.svg'), '--csv', at('s.csv')],
    ],
    ['inspect', [tuned, '--base', base, '--emit', 'peft', '--parameters', '40M']],
    ['extract', [base, tuned, '-o', a, '--rank', '16']],
    ['extract', [base, tuned, '-o', b, '--energy', '0.5', '--layout', 'pattern']],
    ['extract', [base, tuned, '-o', at('shards'), '--rank', '8', '--shard', '1/2']],
    ['extract', [base, tuned, '-o', at('shards'), '--rank', '8', '--shard', '2/2']],
    ['extract', [base, tuned, '-o', at('shards'), '--rank', '8', '--join']],
    ['verify', [a, base, tuned]],
    ['resize', [a, '-o', at('resized'), '--rank', '4']],
    ['merge', [a, b, '-o', at('merged'), '--rank', '16']],
    ['apply', [base, a, '-o', at('applied')]],
    ['convert', [a, '-o', at('a.gguf'), '--format', 'gguf', '--base', base]],
    ['convert', [a, '-o', at('mlx'), '--format', 'mlx']],
    ['check', [a, '--base', base, '--for', 'peft', '--sarif', at('a.sarif')]],
    ['compare', [a, b]],
    ['inspect', [a, '--base', base]],
    ['factor', [base, '--tensor', tensor, '-o', at('factors.safetensors'), '--rank', '16']],
    ['doctor', []],
  ].filter(([command]) => only === '' || only.split(',').includes(command))
}

/** The most memory that a run held, in MiB, as the kernel tells. */
function peakWatched() {
  let peak = 0
  let look
  return {
    onStart: (child) => {
      look = setInterval(() => {
        try {
          const status = readFileSync(`/proc/${child.pid}/status`, 'utf8')
          peak = Math.max(peak, Number(/VmHWM:\s+(\d+)/.exec(status)?.[1] ?? 0) / 1024)
        } catch {
          // it has ended
        }
      }, 20)
      child.on('close', () => clearInterval(look))
    },
    peak: () => Math.round(peak),
  }
}

try {
  const pair = join(folder, 'pair')
  makePair(pair, recipeOf({ hidden }))
  const sets = [
    ['digits-llama', PAIR, 'model.layers.0.self_attn.q_proj.weight'],
    [`four layers of ${hidden}`, pair, 'model.layers.0.mlp.up_proj.weight'],
  ]
  for (const [name, path, tensor] of sets) {
    mkdirSync(join(folder, name))
    for (const [command, args] of commandsOn(name, path, tensor)) {
      const { onStart, peak } = peakWatched()
      const argv = [process.execPath, `--max-old-space-size=${heap}`, ENTRY, command, ...args]
      const { code, signal, stderr } = await runCommand(argv, { onStart })
      const said = args.filter((arg) => arg.startsWith('--')).join(' ')
      console.log(`${name}: ${command} ${said}: exit ${code ?? signal}, peak ${peak()} MiB`)
      if (code !== 0) {
        console.error(stderr.slice(0, 2000))
        process.exitCode = 1
      }
    }
  }
} finally {
  rmSync(folder, { recursive: true, force: true })
}
