// The page in Chromium: the adapter of one 2048 × 2048 delta at rank 16, with its certificate, against the command line with the
// embedded engine and one thread; and a checkpoint of 4 GiB, which it opens by its header.
import { execFileSync } from 'node:child_process'
import { existsSync, mkdtempSync, openSync, rmSync, truncateSync, writeFileSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { takeTurns } from './timing.mjs'

const CHROMIUM = process.env.CHROMIUM_PATH || '/usr/bin/chromium'
const ROUNDS = 5
const ORDER = 2048
const RANK = 16
/** Of the command line's time, and seconds until the list of the large checkpoint is there. */
const LIMITS = { ratio: 2, opening: 2 }

export async function benchPage() {
  console.log('The page in Chromium')
  if (!existsSync(CHROMIUM)) {
    console.log(`  left out: there is no ${CHROMIUM}; CHROMIUM_PATH names one`)
    return
  }
  const { chromium } = await import('playwright-core')
  const folder = mkdtempSync(join(tmpdir(), 'lora-svd-bench-'))
  const browser = await chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox'], headless: true })
  try {
    const page = await browser.newPage()
    await page.goto(pathToFileURL('dist/page.html').href)
    await delta(page, folder)
    await large(page, folder)
  } finally {
    await browser.close()
    rmSync(folder, { recursive: true, force: true })
  }
}

async function delta(page, folder) {
  const { base, tuned } = writePair(folder)
  await page.setInputFiles('#weights-drop-files', [base, tuned])
  await page.locator('#weights .verdict-title').waitFor({ timeout: 120_000 })
  await page
    .locator('#weights .detail .presets')
    .getByRole('button', { name: `Rank ${RANK}`, exact: true })
    .click()
  const make = page.locator('#weights .detail .make')
  const made = page.locator('#weights .detail .made')
  const found = {}
  const medians = await takeTurns(
    {
      'command line': () => {
        const start = performance.now()
        const args = [
          'extract',
          base,
          tuned,
          '-o',
          join(folder, 'adapter'),
          '--force',
          '--rank',
          String(RANK),
        ]
        const flags = ['--engine', 'wasm', '--threads', '1', '--json']
        const text = execFileSync('node', ['bin/lora-svd.js', ...args, ...flags], { encoding: 'utf8' })
        found.command = JSON.parse(text).layers[0].relativeError.toPrecision(4)
        return (performance.now() - start) / 1000
      },
      page: async () => {
        // another rank and back, so that what was made before is gone
        for (const rank of [8, RANK]) {
          await page
            .locator('#weights .detail .presets')
            .getByRole('button', { name: `Rank ${rank}`, exact: true })
            .click()
        }
        const start = performance.now()
        await make.click()
        await made.locator('.downloads').waitFor({ timeout: 120_000 })
        const seconds = (performance.now() - start) / 1000
        found.page = await made.locator('strong').textContent()
        return seconds
      },
    },
    ROUNDS,
  )
  if (found.page !== found.command)
    throw new Error(`the page says ${found.page}, the command ${found.command}`)
  const ratio = medians.page / medians['command line']
  console.log(
    `  ${ORDER} × ${ORDER} bf16 delta at rank ${RANK}: ${medians.page.toFixed(2)} s, the command line ${medians['command line'].toFixed(2)} s: ${ratio.toFixed(2)} times (limit ${LIMITS.ratio})`,
  )
}

async function large(page, folder) {
  const path = join(folder, 'large.safetensors')
  writeTensors(
    path,
    Object.fromEntries(Array.from({ length: 64 }, (_, i) => [`layers.${i}.weight`, [4096, 8192]])),
  )
  const start = performance.now()
  await page.setInputFiles('#weights-drop-files', path)
  await page.locator('#weights tbody tr').first().waitFor()
  console.log(
    `  4 GiB: its list is there after ${((performance.now() - start) / 1000).toFixed(2)} s (limit ${LIMITS.opening})`,
  )
  await page.locator('#weights tbody').getByRole('button', { name: 'layers.63.weight', exact: true }).click()
  await page.locator('#weights .detail .verdict', { hasText: 'all zero' }).waitFor({ timeout: 120_000 })
  const { usedJSHeapSize } = await page.evaluate('({ usedJSHeapSize: performance.memory.usedJSHeapSize })')
  console.log(
    `  one of its matrices after ${((performance.now() - start) / 1000).toFixed(2)} s; the page's heap ${(usedJSHeapSize / 2 ** 20).toFixed(0)} MiB`,
  )
  await page.locator('#weights .progress').first().getByRole('button', { name: 'Stop' }).click()
}

/** A base of numbers like weights, and a change of 64 falling directions and a little noise. */
function writePair(folder) {
  let state = 1
  const uniform = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state / 2 ** 32 - 0.5
  }
  const W = Float32Array.from({ length: ORDER * ORDER }, () => 0.07 * uniform())
  const [B, A] = [0, 0].map(() => Float32Array.from({ length: 64 * ORDER }, uniform))
  const tuned = W.map((w) => w + 7e-5 * uniform())
  for (let i = 0; i < ORDER; i++) {
    for (let k = 0; k < 64; k++) {
      const b = 0.006 * 10 ** (-k / 32) * B[i * 64 + k]
      for (let j = 0; j < ORDER; j++) tuned[i * ORDER + j] += b * A[k * ORDER + j]
    }
  }
  const write = (name, M) => {
    const path = join(folder, `${name}.safetensors`)
    writeTensors(path, { 'model.layers.0.self_attn.q_proj.weight': [ORDER, ORDER] }, [M])
    return path
  }
  return { base: write('base', W), tuned: write('tuned', tuned) }
}

/** A file of bf16 tensors, of zeros where no numbers are given: they then take no room on the disk. */
function writeTensors(path, shapes, numbers = []) {
  let at = 0
  const header = {}
  for (const [name, shape] of Object.entries(shapes)) {
    const bytes = 2 * shape[0] * shape[1]
    header[name] = { dtype: 'BF16', shape, data_offsets: [at, at + bytes] }
    at += bytes
  }
  const text = Buffer.from(JSON.stringify(header))
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(text.length))
  writeFileSync(path, Buffer.concat([length, text]))
  const file = openSync(path, 'a')
  for (const M of numbers) {
    const bits = new Uint32Array(M.buffer, M.byteOffset, M.length)
    writeSync(
      file,
      new Uint8Array(Uint16Array.from(bits, (u) => (u + 0x7fff + ((u >>> 16) & 1)) >>> 16).buffer),
    )
  }
  truncateSync(path, 8 + text.length + at)
}
