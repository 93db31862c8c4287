// A real llama.cpp, for bench/llama-cpp.mjs and bench/llama-adapters.mjs: it comes in npm's node-llama-cpp, into a folder of the user's
// cache. Where there is no registry or no binary for the platform, nothing is tried, and that is said.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

const VERSION = '3.22.1'
/** Packages with a llama.cpp for the CPU, by Node's platform and architecture. */
const BINARIES = {
  'linux-x64': 'linux-x64',
  'linux-arm64': 'linux-arm64',
  'darwin-x64': 'mac-x64',
  'darwin-arm64': 'mac-arm64-metal',
  'win32-x64': 'win-x64',
}
const CACHE = process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache')
export const DEFAULT_FOLDER = join(CACHE, 'lora-svd-bench', `node-llama-cpp-${VERSION}`)

/** Ends, as a success but where nothing may be left out. */
function leaveOut(reason) {
  console.log(`left out: ${reason}`)
  process.exit(process.env.LORA_SVD_NO_SKIPS === '1' ? 1 : 0)
}

/** node-llama-cpp, installed where it isn't yet. */
async function nodeLlamaCpp(folder) {
  const platform = `${process.platform}-${process.arch}`
  const binary = BINARIES[platform]
  if (binary === undefined) leaveOut(`node-llama-cpp has no llama.cpp for ${platform}`)
  const packages = ['node-llama-cpp', `@node-llama-cpp/${binary}`]
  const isThere = () =>
    packages.every((name) => existsSync(join(folder, 'node_modules', name, 'package.json')))
  if (!isThere()) {
    mkdirSync(folder, { recursive: true })
    // a package.json of its own, lest npm look for one in the folders above
    writeFileSync(join(folder, 'package.json'), '{ "private": true }\n')
    const wanted = packages.map((name) => `${name}@${VERSION}`)
    // its scripts would build what the second package holds, and its optional packages are for other platforms
    const flags = ['--ignore-scripts', '--omit=optional', '--no-audit', '--no-fund', '--fetch-retries=1']
    const { status, error, stderr } = spawnSync('npm', ['install', ...flags, ...wanted], {
      cwd: folder,
      encoding: 'utf8',
      shell: process.platform === 'win32',
    })
    const said = error?.message ?? stderr.trim().split('\n')[0]
    if (status !== 0 || !isThere()) leaveOut(`npm could not install ${wanted.join(' ')}: ${said}`)
  }
  return import(pathToFileURL(join(folder, 'node_modules', 'node-llama-cpp', 'dist', 'index.js')).href)
}

export async function startLlama(folder = DEFAULT_FOLDER) {
  const { getLlama, NoBinaryFoundError } = await nodeLlamaCpp(folder)
  try {
    return await getLlama({ gpu: false, build: 'never', maxThreads: 1, logLevel: 'error' })
  } catch (error) {
    if (!(error instanceof NoBinaryFoundError)) throw error
    return leaveOut('the llama.cpp of node-llama-cpp does not run here')
  }
}

/** What llama.cpp says after each prompt, all of one length: the logits of all tokens, of a model with an adapter or without. */
export async function logitsOf(llama, prompts, modelPath, adapterPath) {
  const model = await llama.loadModel({ modelPath, gpuLayers: 0 })
  const length = prompts[0].length
  // twice its room: a context that is full is shifted
  const context = await model.createContext({
    ...{ contextSize: 2 * length, batchSize: length, threads: 1, flashAttention: false },
    // keys and values in float32: halves would differ by more than what is looked for
    ...{ experimentalKvCacheKeyType: 'F32', experimentalKvCacheValueType: 'F32' },
    ...(adapterPath === undefined ? {} : { lora: { adapters: [{ filePath: adapterPath, scale: 1 }] } }),
  })
  const sequence = context.getSequence()
  const all = []
  for (const prompt of prompts) {
    await sequence.clearHistory()
    const last = [prompt.at(-1), { generateNext: { logits: true } }]
    const outputs = await sequence.controlledEvaluate([...prompt.slice(0, -1), last])
    const { logits } = outputs.at(-1).next
    all.push(Array.from({ length: logits.size }, (_, token) => logits.get(token)))
  }
  await model.dispose()
  return all
}

export function softmax(logits) {
  const most = Math.max(...logits)
  const powers = logits.map((value) => Math.exp(value - most))
  const sum = powers.reduce((a, b) => a + b)
  return powers.map((power) => power / sum)
}
