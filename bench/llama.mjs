// A real llama.cpp, for bench/llama-cpp.mjs and bench/llama-adapters.mjs: it comes in npm's node-llama-cpp, into a folder of the user's
// cache. Where there is no registry or no binary for the platform, nothing is tried, and that is said.
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { cacheFolder, install, leaveOut } from './npm-cache.mjs'

const VERSION = '3.22.1'
/** Packages with a llama.cpp for the CPU, by Node's platform and architecture. */
const BINARIES = {
  'linux-x64': 'linux-x64',
  'linux-arm64': 'linux-arm64',
  'darwin-x64': 'mac-x64',
  'darwin-arm64': 'mac-arm64-metal',
  'win32-x64': 'win-x64',
}
export const DEFAULT_FOLDER = cacheFolder('node-llama-cpp', VERSION)

/** node-llama-cpp, installed where it isn't yet. */
async function nodeLlamaCpp(folder) {
  const platform = `${process.platform}-${process.arch}`
  const binary = BINARIES[platform]
  if (binary === undefined) leaveOut(`node-llama-cpp has no llama.cpp for ${platform}`)
  // its scripts would build what the second package holds
  install(folder, [`node-llama-cpp@${VERSION}`, `@node-llama-cpp/${binary}@${VERSION}`])
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
