// What the scripts that crash, race and disturb `extract` have in common: small inputs, runs of the built program, comparisons.
import { spawn } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const ENTRY = fileURLToPath(new URL('../bin/lora-svd.js', import.meta.url))
const PAIR = fileURLToPath(new URL('../test/fixtures/digits-llama/', import.meta.url))

/** `extract` of the fixture to `out`. */
export const extraction = (out, ...more) => [
  ...[process.execPath, ENTRY, 'extract', join(PAIR, 'base'), join(PAIR, 'tuned')],
  ...['-o', out, '--quiet', '--rank', '2', '--engine', 'wasm', ...more],
]

/** Runs a command; `onStart` gets its process. */
export function runCommand([command, ...args], { onStart, ...options } = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'pipe'], ...options })
    let stderr = ''
    child.stderr.setEncoding('utf8').on('data', (part) => {
      stderr += part
    })
    child.on('error', reject)
    child.on('close', (code, signal) => resolve({ code, signal, stderr }))
    onStart?.(child)
  })
}

export const filesOf = (path) =>
  readdirSync(path)
    .sort()
    .map((name) => [name, readFileSync(join(path, name))])

/** Whether a folder holds these files, to the byte. */
export function isSameFolder(path, files) {
  if (!existsSync(path)) return false
  const found = filesOf(path)
  return (
    found.length === files.length &&
    found.every(([name, bytes], i) => name === files[i][0] && bytes.equals(files[i][1]))
  )
}

export const layersDone = (out) => {
  const partial = `${out}.partial`
  return existsSync(partial) ? readdirSync(partial).filter((name) => name.startsWith('layer-')).length : 0
}

/** Kills a run once it has done a layer. Gives whether that left an unfinished run. */
export async function crash(out, ...more) {
  const { signal } = await runCommand(extraction(out, ...more), {
    onStart: (child) => {
      const look = setInterval(() => {
        if (layersDone(out) === 0 && child.exitCode === null) return
        clearInterval(look)
        child.kill('SIGKILL')
      }, 1)
    },
  })
  return signal === 'SIGKILL' && existsSync(`${out}.partial`) && !existsSync(out)
}
