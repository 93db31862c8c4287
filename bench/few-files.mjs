// Every command on a checkpoint of 64 shards, with so few open files that it can't have all shards open: at twenty more than Node takes to start each has to do
// its work; with less it does, or ends with exit code 3, one line that says what to do, and nothing under the final name.
// Usage: node bench/few-files.mjs [--shards 64] [--hidden 128] [--above 20]; exits with 1 on the first failure.
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { makePair, recipeOf } from './tinyllama-pair.mjs'
import { assert, expectDone, isOneLine, limited, loraSvd, optionsOf, runCommand } from './trial-runs.mjs'

const { shards, hidden, above } = optionsOf({ shards: 64, hidden: 128, above: 20 })
const folder = mkdtempSync(join(tmpdir(), 'lora-svd-few-'))
const [base, tuned] = ['base', 'tuned'].map((side) => join(folder, 'pair', side))
const [a, b, out] = ['a', 'b', 'out'].map((name) => join(folder, name))
const OUTPUTS = [out, `${out}.npz`, `${out}.gguf`]

const COMMANDS = [
  ['inspect', tuned, '--base', base],
  ['extract', base, tuned, '-o', out, '--rank', '4'],
  ['verify', a, base, tuned],
  ['apply', base, a, '-o', out],
  ['resize', a, '-o', out, '--rank', '2'],
  ['merge', a, b, '-o', out],
  ['convert', a, '-o', `${out}.gguf`, '--format', 'gguf', '--base', base],
  ['check', a, '--base', base, '--for', 'peft'],
  ['compare', a, b],
  ['inspect', a, '--base', base],
  ['factor', base, '--tensor', 'model.layers.0.mlp.up_proj.weight', '-o', `${out}.npz`, '--rank', '2'],
]

const remove = () => {
  for (const path of [...OUTPUTS, `${out}.partial`]) rmSync(path, { recursive: true, force: true })
}

/** The least limit at which lora-svd itself starts: below that Node ends without a word of ours, or crashes. */
async function leastToStart() {
  for (let limit = 8; ; limit++) {
    const { code } = await runCommand(limited('-n', limit, loraSvd('--version')))
    if (code === 0) return limit
  }
}

/** Whether a command does its work with so many; where it doesn't, that has to be told. */
async function works(command, limit) {
  remove()
  const { code, signal, stderr } = await runCommand(
    limited('-n', limit, loraSvd(...command, '-q', '--threads', '2')),
  )
  if (code === 0) return true
  const said = `${command[0]} with ${limit} files: exit ${code ?? signal}: ${stderr}`
  assert(code === 3 && isOneLine(stderr) && stderr.includes('EMFILE'), said)
  assert(!OUTPUTS.some((path) => existsSync(path)), `something is there: ${said}`)
  return false
}

try {
  makePair(join(folder, 'pair'), recipeOf({ layers: Math.ceil(shards / 9), hidden, shards }))
  await expectDone(loraSvd('extract', base, tuned, '-o', a, '--rank', '8', '-q'))
  await expectDone(loraSvd('extract', base, tuned, '-o', b, '--rank', '2', '-q'))
  const start = await leastToStart()
  let told = 0
  for (const command of COMMANDS) {
    assert(await works(command, start + above), `${command[0]} fails with ${start + above} files`)
    let least = start
    for (; !(await works(command, least)); least++) told++
    console.log(
      `${command.slice(0, 1)} ${command.filter((arg) => arg.startsWith('--')).join(' ')}: works with ${least}`,
    )
  }
  console.log(
    `lora-svd starts with ${start} open files; ${COMMANDS.length} commands on ${shards} shards work with ${start + above} of them; ` +
      `${told} runs with less than they need ended with one line, and nothing written`,
  )
} catch (error) {
  console.error(error.message)
  process.exitCode = 1
} finally {
  rmSync(folder, { recursive: true, force: true })
}
