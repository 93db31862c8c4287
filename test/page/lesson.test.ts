import { readFileSync, statSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import type { Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { grouped, short } from '../../src/text/numbers.ts'
import { CHROMIUM, hasChromium, type OpenPage, openBrowser, openFile } from '../commands/inspect/browser.ts'
import { ATTEMPTS, AXE, NUMBER_STOPS, REFUSED, TEXTS_BY_ID, VIOLATIONS } from './in-page.ts'
import { demoPage, EXPERIMENTS } from './options.ts'

/** What a page may weigh, "Your own weights" included. */
const MOST_BYTES = 450_000

it('the page is one file of bounded size', () => {
  expect(statSync('dist/page.html').size).toBeLessThan(MOST_BYTES)
  const page = readFileSync('dist/page.html', 'utf8')
  expect(page).not.toMatch(/<(?:link|script|img|iframe)[^>]+(?:src|href)="(?!data:,|#)/)
})

if (!hasChromium) {
  it(`the lesson in Chromium: left out: no ${CHROMIUM}`, () => {
    process.stdout.write(
      `left out: the tests of the page in Chromium, because there is no ${CHROMIUM}; CHROMIUM_PATH names one\n`,
    )
    expect(CHROMIUM).toMatch(/^.+$/)
  })
}

describe.runIf(hasChromium)('the lesson in Chromium', () => {
  let browser: Awaited<ReturnType<typeof openBrowser>>
  let opened: OpenPage[] = []

  beforeAll(async () => {
    browser = await openBrowser()
  }, 60_000)
  afterAll(async () => {
    await browser.close()
  })
  afterEach(async () => {
    const troubles = opened.flatMap((each) => each.troubles)
    await Promise.all(opened.map(({ page }) => page.close()))
    opened = []
    expect(troubles).toEqual([])
  })

  /** The page of these options, when its first run is shown; beside it what the command finds. */
  async function show(options = '', how: { width?: number; height?: number; before?: string } = {}) {
    const path = join(browser.folder, 'demo.html')
    const printed = await demoPage(options, path)
    const open = await openFile(browser, 'demo.html', readFileSync(path, 'utf8'), how)
    opened.push(open)
    await open.page.locator('#allclose strong').waitFor()
    return { page: open.page, ...printed }
  }

  const text = async (page: Page, id: string) => (await page.locator(`#${id}`).textContent()) ?? ''
  /** Waits until the element says so. */
  const says = (page: Page, id: string, what: string | RegExp) =>
    page.locator(`#${id}`, { hasText: what }).waitFor({ state: 'attached' })

  it.each(EXPERIMENTS)('has the digits of the command: demo %s', async (options) => {
    const { page, json, found } = await show(options)
    await page.evaluate(`document.getElementById('numbers').open = true`)
    await page.locator('#document', { hasText: '{' }).waitFor()
    // the second entry of the first row
    await page.locator('#play-product [role=application]').focus()
    await page.keyboard.press('ArrowRight')
    const seen = await page.evaluate<Record<string, string>>(TEXTS_BY_ID)
    expect(seen.document).toBe(json)
    const { W, elements, singularValues: S } = found
    const [i, j] = [0, Math.min(1, W[0].length - 1)]
    expect(seen.entry).toMatch(`W[${i}, ${j}] = `)
    expect(seen.entry.replace(/^.* = /, '')).toBe(short(W[i][j]).replace('-', '−'))
    expect(seen).toMatchObject({
      command: `lora-svd demo ${options}`.trim().replace(' --draw 1', ''),
      'found-rank': String(found.rank),
      'found-above': `${found.rank} of ${S.length}`,
      'found-first': short(S[0]),
      'found-last': short(S[S.length - 1]),
      'relative-error': short(found.relativeError, 3),
      'optimal-error': short(found.optimalError, 3),
      allclose: `allclose(y_ref, y) = ${found.allclose ? 'True' : 'False'}`,
      'largest-difference': short(found.maxAbsError, 3),
      'normwise-error': short(found.normwiseError, 3),
      'elements-W': grouped(elements.W),
      'elements-factors': `${grouped(elements.B)} + ${grouped(elements.A)} = ${grouped(elements.factors)}`,
    })
  })

  it('reaches every control by the keyboard', async () => {
    const { page } = await show()
    const wanted = await page.evaluate<number>(NUMBER_STOPS)
    expect(wanted).toBeGreaterThan(40)
    const reached = new Set<string>()
    await page.evaluate('getSelection().collapse(document.body, 0)')
    for (let i = 0; i < wanted + 10 && reached.size < wanted; i++) {
      await page.keyboard.press('Tab')
      const stop = await page.evaluate<string | undefined>('document.activeElement?.dataset.stop')
      if (stop) reached.add(stop)
    }
    expect(reached.size).toBe(wanted)
  })

  it('moves by keys: sizes, noise, tolerance, directions, streams, tolerances, theme', async () => {
    const { page } = await show()
    const press = async (id: string, ...keys: string[]) => {
      await page.locator(`#${id}`).focus()
      for (const key of keys) await page.keyboard.press(key)
    }
    await press('d', 'ArrowRight')
    await says(page, 'command', '--d 11')
    await press('k', 'End')
    await says(page, 'entry', 'W is 11 × 256')
    await press('r', 'End')
    await says(page, 'command', '--rank 11')
    await press('k', 'Home')
    await says(page, 'command', '--d 11 --k 1 --rank 1')
    await press('d-number', 'ControlOrMeta+a', '1', '2', 'Enter')
    await press('k-number', 'ControlOrMeta+a', '1', '5', 'Enter')
    await press('r-number', 'ControlOrMeta+a', '3', 'Enter')
    await says(page, 'found-rank', '3')
    await press('noise', 'End')
    await says(page, 'found-rank', '12')
    await press('noise', 'Home')
    await says(page, 'found-above', '3 of 12')
    await press('tolerance', 'End')
    await says(page, 'found-above', '0 of 12')
    await press('numpy-tolerance', 'Enter')
    await says(page, 'found-above', '3 of 12')
    await press('cliff', 'ArrowRight', 'ArrowRight')
    expect(await page.locator('#play-spectrum .tip').textContent()).toMatch(/^direction 2σ = /)
    await press('cliff', ...Array(40).fill('ArrowDown'))
    await says(page, 'found-above', /^([5-9]|1\d) of 12/)
    await press('angle', 'Home')
    expect(await text(page, 'turned')).toMatch(
      /^A vector of length 1 comes out with length (\S+)\. The most is σ₁ = \1,/,
    )
    await press('cut', 'Home')
    await says(page, 'command', '--truncate 1')
    await says(page, 'allclose', 'False')
    expect(await text(page, 'reason')).toBe(
      '1 of 3 directions are kept: what is missing shows in y. Keep 3 with --truncate 3.',
    )
    await press('atol', 'End')
    await says(page, 'allclose', 'True')
    await page.locator('#layers button').nth(1).focus()
    await page.keyboard.press('Space')
    await says(page, 'command', '--truncate 2')
    await press('own-numbers', 'Enter')
    await says(page, 'command', /^lora-svd demo --rng torch --dtype f32$/)
    await press('unlucky-seed', 'Enter')
    await says(page, 'allclose', 'False')
    await press('entries', 'Home')
    expect(await page.locator('#play-comparison .tip').textContent()).toMatch(/^entry 0: close/)
    await press('next-seed', 'Enter')
    await says(page, 'command', '--seed 42')
    await press('theme', 'Enter')
    expect(await page.evaluate('document.documentElement.dataset.theme')).toBe('dark')
  })

  it('lets the tolerance line be dragged, and an entry be pointed at', async () => {
    const { page } = await show('--d 8 --k 6 --rank 2')
    const handle = page.locator('#cliff .handle')
    await handle.scrollIntoViewIfNeeded()
    const from = (await handle.boundingBox())!
    const middle = { x: from.x + from.width / 2, y: from.y + from.height / 2 }
    const first = (await page.locator('#cliff circle').first().boundingBox())!
    await page.mouse.move(middle.x, middle.y)
    await page.mouse.down()
    await page.mouse.move(middle.x, first.y - 6, { steps: 3 })
    await page.mouse.up()
    await says(page, 'found-above', '0 of 6')
    expect(await text(page, 'found-rank')).toBe('2')
    await page.locator('#play-product [role=application]').hover({ position: { x: 5, y: 5 } })
    await says(page, 'entry', /^W\[0, 0\] = \S+ \+ \S+ = \S+$/)
    expect(await page.locator('#play-product .mark:visible').count()).toBe(3)
  })

  it('tries a thousand others, none of which is better than the SVD', async () => {
    const { page, found } = await show('--d 24 --k 18 --rank 6 --truncate 3 --noise 0.1')
    await page.locator('#try').focus()
    await page.keyboard.press('Enter')
    await says(page, 'rivals-told', '1,000 tried')
    expect(await text(page, 'rivals-told')).toMatch(`None is below ${short(found.optimalError, 3)}.`)
    expect(await page.locator('#rivals .rival circle').count()).toBe(1000)
    await page.locator('#next-seed').click()
    await says(page, 'rivals-told', /^$/)
  })

  it('has nothing that axe-core objects to, light and dark, wide and narrow', async () => {
    const { page } = await show('--d 12 --k 9 --rank 3 --truncate 2')
    await page.locator('#try').click()
    await says(page, 'rivals-told', '1,000 tried')
    await page.locator('#numbers summary').click()
    await page.evaluate(AXE)
    for (const [colorScheme, width] of [
      ['light', 1280],
      ['dark', 360],
    ] as const) {
      await page.emulateMedia({ colorScheme })
      await page.setViewportSize({ width, height: 900 })
      const violations = await page.evaluate(VIOLATIONS)
      expect(violations).toEqual([])
    }
  })

  it('goes on without workers and without WebAssembly, and says so', async () => {
    const before = 'delete globalThis.Worker; delete globalThis.WebAssembly'
    const { page, found } = await show('--d 90 --k 70 --rank 5', { before })
    expect(await text(page, 'trouble')).toMatch(
      /^This browser starts no worker here: .* This browser has no WebAssembly/,
    )
    expect(await text(page, 'found-rank')).toBe('5')
    expect(await text(page, 'found-first')).toBe(short(found.singularValues[0]))
    await page.locator('#try').click()
    await says(page, 'rivals-told', '1,000 tried')
  })

  it('fits from 320 px to 4K', async () => {
    const { page } = await show('--d 256 --k 40 --rank 30 --noise 0.5')
    for (const width of [320, 360, 760, 1000, 1280, 2560, 3840]) {
      await page.setViewportSize({ width, height: 900 })
      expect(await page.evaluate('document.documentElement.scrollWidth')).toBeLessThanOrEqual(width)
    }
  })

  it('can reach nobody: every way out is forbidden', async () => {
    let asked = 0
    const server = createServer((_, response) => {
      asked++
      response.end('')
    })
    server.on('upgrade', (_, socket) => {
      asked++
      socket.destroy()
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as AddressInfo
    const page = await browser.context.newPage()
    try {
      await page.goto(`file://${join(process.cwd(), 'dist/page.html')}`)
      const attempts = ATTEMPTS.replaceAll('HOST', `127.0.0.1:${port}`)
      expect(await page.evaluate(attempts)).toEqual(REFUSED)
      expect(asked).toBe(0)
      // a page without a policy gets through
      await page.goto('about:blank')
      await page.evaluate(attempts)
      expect(asked).toBeGreaterThan(0)
    } finally {
      await page.close()
      server.close()
    }
  })
})
