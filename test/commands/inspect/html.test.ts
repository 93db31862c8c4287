import { readFileSync } from 'node:fs'
import type { Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { htmlReport } from '../../../src/commands/inspect/html/report.ts'
import type { InspectResult } from '../../../src/commands/inspect/result.ts'
import { spectrumSvg } from '../../../src/commands/inspect/svg.ts'
import { CHROMIUM, hasChromium, type OpenPage, openBrowser, openFile } from './browser.ts'
import {
  adapterResult,
  digitsDelta,
  errorOf,
  HOSTILE_NAMES,
  hostileResult,
  largeDelta,
  matrixOf,
  parametersOf,
  resultOf,
  singleResult,
} from './results.ts'

const withoutRecommendation = ({ recommended: _, ...result }: InspectResult): InspectResult => result

if (!hasChromium) {
  it(`reports in a browser: left out: no ${CHROMIUM}`, () => {
    process.stdout.write(
      `left out: the tests of HTML reports in a browser, because there is no ${CHROMIUM}; CHROMIUM_PATH names one\n`,
    )
    expect(CHROMIUM).toMatch(/^.+$/)
  })
}

describe.runIf(hasChromium)('a report in a browser', () => {
  let browser: Awaited<ReturnType<typeof openBrowser>>
  let opened: OpenPage[] = []
  let files = 0

  beforeAll(async () => {
    browser = await openBrowser()
  })
  afterAll(async () => {
    await browser.close()
  })
  afterEach(async () => {
    const troubles = opened.flatMap((each) => each.troubles)
    await Promise.all(opened.map(({ page }) => page.close()))
    opened = []
    expect(troubles).toEqual([])
  })

  const show = async (result: InspectResult, size: { width?: number; height?: number } = {}) => {
    const open = await openFile(browser, `report-${files++}.html`, htmlReport(result), size)
    opened.push(open)
    return open.page
  }

  const text = async (page: Page, selector: string) => (await page.locator(selector).textContent()) ?? ''
  /** The texts of a column, row by row. */
  const column = (page: Page, id: string) => page.locator(`tbody [data-column="${id}"]`).allTextContents()
  const namesOf = (page: Page) => page.locator('tbody th.name').allTextContents()

  it('draws no map of more cells than a browser can lay out, and says so', async () => {
    const matrices = Array.from({ length: 300 }, (_, i) =>
      matrixOf({ name: `model.layers.${i}.proj${i}.weight`, shape: [8, 8], S: [2, 1] }),
    )
    const page = await show(resultOf(matrices))
    expect(await text(page, '#heat-maps')).toMatch(/^No map: it would have 90,000 cells/)
    expect(await page.locator('#heat-maps td').count()).toBe(0)
    expect((await namesOf(page)).length).toBeGreaterThan(0)
  })

  it('shows what any rank takes and leaves, as its spectra say', async () => {
    const result = digitsDelta()
    const page = await show(result)
    const { matrices } = result
    const dense = matrices.reduce((sum, { shape }) => sum + shape[0] * shape[1], 0)
    const expectAt = async (rank: number) => {
      expect(Number(await text(page, '#total-error'))).toBeCloseTo(errorOf(matrices, rank), 4)
      expect(await text(page, '#total-parameters')).toBe(parametersOf(matrices, rank).toLocaleString('en-US'))
      expect(Number((await text(page, '#total-share')).replace(' %', ''))).toBeCloseTo(
        (100 * parametersOf(matrices, rank)) / dense,
        0,
      )
      const errors = await column(page, 'error')
      expect(errors.length).toBe(matrices.length)
      for (const [i, matrix] of matrices.entries()) {
        expect(Number(errors[i])).toBeCloseTo(errorOf([matrix], rank), 3)
      }
      expect(await column(page, 'parameters')).toEqual(
        matrices.map((matrix) => parametersOf([matrix], rank).toLocaleString('en-US')),
      )
    }
    await expectAt(16)
    const slider = page.locator('#rank')
    await slider.focus()
    await page.keyboard.press('ArrowRight')
    await expectAt(17)
    expect(await slider.getAttribute('aria-valuetext')).toContain('rank 17')
    await page.keyboard.press('Home')
    await expectAt(1)
    await page.keyboard.press('End')
    await expectAt(96)
    await page.locator('.presets button', { hasText: /^8$/ }).click()
    await expectAt(8)
    expect(await page.locator('#rank-number').inputValue()).toBe('8')
    await page.locator('#rank-number').fill('70')
    await expectAt(70)
    await page.locator('#costs button', { hasText: /^4$/ }).click()
    await expectAt(4)
    const four = result.costs.find(({ rank }) => rank === 4)
    expect(Number(await text(page, '#total-error'))).toBeCloseTo(four!.relativeError.atMost, 4)
  })

  it('starts at the least power of two that keeps 90 % where no rank is recommended', async () => {
    const page = await show(withoutRecommendation(digitsDelta()))
    const { matrices } = digitsDelta()
    expect(errorOf(matrices, 8) ** 2).toBeGreaterThan(0.1)
    expect(errorOf(matrices, 16) ** 2).toBeLessThan(0.1)
    expect(await page.locator('#rank-number').inputValue()).toBe('16')
    const single = await show(singleResult())
    expect(await single.locator('#rank-number').inputValue()).toBe('2')
    // a matrix of order 10 has no more to show than that
    expect(await single.locator('#costs tbody tr').count()).toBe(5)
    await single.locator('#costs button').last().click()
    expect(await single.locator('#rank-number').inputValue()).toBe('10')
  })

  it('sorts by keyboard', async () => {
    const result = digitsDelta()
    const page = await show(result)
    const rankOf = (name: string) => result.matrices.find((m) => m.name === name)!.energyRanks['0.9'].atMost
    const head = page.locator('thead th[data-column="energy-0.9"]')
    await head.locator('button').focus()
    await page.keyboard.press('Enter')
    expect(await head.getAttribute('aria-sort')).toBe('descending')
    const falling = (await namesOf(page)).map(rankOf)
    expect(falling).toEqual(falling.toSorted((a, b) => b - a))
    await page.keyboard.press('Space')
    expect(await head.getAttribute('aria-sort')).toBe('ascending')
    const rising = (await namesOf(page)).map(rankOf)
    expect(rising).toEqual(rising.toSorted((a, b) => a - b))
    expect(new Set(rising).size).toBeGreaterThan(5)
    // a sort by what depends on the rank follows the slider
    await page.locator('thead th[data-column="error"] button').click()
    expect(await head.getAttribute('aria-sort')).toBeNull()
    await page.locator('.presets button', { hasText: /^2$/ }).click()
    const errors = (await column(page, 'error')).map(Number)
    expect(errors).toEqual(errors.toSorted((a, b) => b - a))
    await page.locator('#filter').fill('Q_PROJ')
    expect((await namesOf(page)).every((name) => name.includes('q_proj'))).toBe(true)
    expect(await text(page, '#row-count')).toBe('3 of 23 rows')
  })

  it('draws curves on the axes that are asked for, of the matrices that are chosen', async () => {
    const page = await show(digitsDelta())
    const curve = () => page.locator('#spectra .chosen .curve').first().getAttribute('d')
    const both = await curve()
    const [first, second] = [page.locator('figure').nth(0), page.locator('figure').nth(1)]
    await first.locator('[aria-label="σ"] [data-value="linear"]').click()
    const linearY = await curve()
    await first.locator('[aria-label="rank"] [data-value="linear"]').click()
    const linear = await curve()
    expect(new Set([both, linearY, linear]).size).toBe(3)
    const energy = () => page.locator('#energy .chosen .curve').first().getAttribute('d')
    const before = await energy()
    await second.locator('[aria-label="rank"] [data-value="linear"]').click()
    expect(await energy()).not.toBe(before)
    // three are chosen at first; a name in the table adds one, in both charts and the legend
    expect(await page.locator('#spectra .chosen').count()).toBe(3)
    await page.locator('tbody th.name button', { hasText: 'model.embed_tokens.weight' }).click()
    expect(await page.locator('#spectra .chosen').count()).toBe(4)
    expect(await page.locator('#energy .chosen').count()).toBe(4)
    expect(await page.locator('#legend li').count()).toBe(4)
    expect(await page.locator('#spectra .floor').count()).toBe(0)
    await page.locator('[aria-label="Remove the curve of model.embed_tokens.weight"]').click()
    expect(await page.locator('#spectra .chosen').count()).toBe(3)
  })

  it('tells index, value and energy of a point, by pointer and by keys', async () => {
    const result = digitsDelta()
    const page = await show(result)
    const plot = page.locator('#spectra')
    await plot.focus()
    await page.keyboard.press('ArrowRight')
    await page.keyboard.press('ArrowRight')
    await page.keyboard.press('ArrowRight')
    const spoken = await page.locator('figure').first().locator('[aria-live]').textContent()
    const name = spoken!.split(':')[0]
    const matrix = result.matrices.find((each) => each.name === name)!
    const S = matrix.spectrum.singularValues
    expect(spoken).toContain('rank 3:')
    expect(spoken).toContain(`σ = ${S[2].toPrecision(4)}`)
    const kept = (S[0] ** 2 + S[1] ** 2 + S[2] ** 2) / matrix.spectrum.frobenius ** 2
    expect(spoken).toContain(`energy so far ${Number((100 * kept).toPrecision(3))} %`)
    const box = (await plot.boundingBox())!
    await page.mouse.move(box.x + 120, box.y + 60)
    expect(await page.locator('.tip:visible').textContent()).toMatch(/rank \d+: σ = 0\.\d+, energy so far/)
  })

  it('marks the noise floor, and what was not computed', async () => {
    const page = await show(largeDelta(4))
    expect(await page.locator('#spectra .floor').count()).toBeGreaterThan(0)
    expect(await page.locator('#spectra .not-computed-label').textContent()).toBe('not computed')
    expect(await page.locator('#energy .band').count()).toBe(3)
    // beyond the known values the error is a pair of bounds
    await page.locator('.presets button', { hasText: /^128$/ }).click()
    expect(await text(page, '#total-error')).toMatch(/^(≤ )?0\.\d+( – 0\.\d+)?$/)
    expect(await text(page, '#total-error')).toMatch(/[≤–]/)
  })

  it('maps layers and projections to the ranks they need', async () => {
    const result = largeDelta(4)
    const page = await show(result)
    const table = page.locator('table.heat')
    expect(await table.locator('thead th').allTextContents()).toEqual(['layer', '0', '1', '2', '3'])
    expect(await table.locator('tbody tr').count()).toBe(7)
    const cell = table.locator('tbody tr').nth(1).locator('button').nth(2)
    const matrix = result.matrices.find(({ name }) => name === 'model.layers.2.self_attn.k_proj.weight')!
    expect(await cell.textContent()).toBe(String(matrix.energyRanks['0.9'].atMost))
    expect(await cell.getAttribute('aria-label')).toBe(
      `${matrix.name}: rank ${matrix.energyRanks['0.9'].atMost} of 4096`,
    )
    await page.locator('#heat-target').selectOption('energy 0.5')
    expect(await cell.textContent()).toBe(String(matrix.energyRanks['0.5'].atMost))
    await cell.click()
    expect(await page.locator('#legend li', { hasText: matrix.name }).count()).toBe(1)
  })

  it('shows what only adapters have', async () => {
    const page = await show(adapterResult())
    expect(await page.locator('#rank').getAttribute('max')).toBe('15')
    expect((await column(page, 'wasted')).map(Number)).toEqual([0, 0, 0, 0, 8, 8, 8, 8])
    expect((await column(page, 'scale-llama.cpp')).slice(3, 5)).toEqual(['2', '4'])
    expect(await page.locator('td.differs[data-column="scale-llama.cpp"]').count()).toBe(4)
    expect((await column(page, 'scale-TensorRT-LLM'))[0]).toBe('not loaded: reads no rank_pattern')
    expect(await text(page, '.notice')).toContain('llama.cpp multiplies 4 of 8 modules')
  })

  it('runs nothing that a name says, and shows it', async () => {
    const page = await show(hostileResult())
    const names = await namesOf(page)
    expect(names.length).toBe(HOSTILE_NAMES.length)
    expect(names[0]).toBe('<script>alert(1)</script>')
    expect(names).toContain('x'.repeat(300))
    expect(names.some((name) => name.includes('\\u{202e}gnp.exe'))).toBe(true)
    expect(await page.locator('img, b, i, u').count()).toBe(0)
    expect(await page.locator('script').count()).toBe(2)
    expect(await text(page, '.source')).toBe('a/<script>alert(3)</script>.safetensors')
  })

  it('refuses scripts that are not its own', async () => {
    const { page, troubles } = await openFile(
      browser,
      'injected.html',
      htmlReport(singleResult()).replace('</body>', '<script>document.title = "injected"</script></body>'),
    )
    expect(await page.title()).toBe('w.npy – lora-svd inspect')
    expect(troubles.join()).toContain('Content Security Policy')
    await page.close()
  })

  it('has a dark theme, by the system’s wish and by its button, with text that can be read', async () => {
    const page = await show(largeDelta(4))
    const background = () => page.evaluate('getComputedStyle(document.body).backgroundColor')
    await page.emulateMedia({ colorScheme: 'light' })
    const light = await background()
    const lightContrast = await contrasts(page)
    await page.emulateMedia({ colorScheme: 'dark' })
    const dark = await background()
    expect(dark).not.toBe(light)
    const darkContrast = await contrasts(page)
    await page.locator('#theme').click()
    expect(await background()).toBe(light)
    expect(await text(page, '#theme')).toBe('Dark theme')
    await page.locator('#theme').click()
    expect(await background()).toBe(dark)
    expect(lightContrast.length).toBeGreaterThan(20)
    expect([...lightContrast, ...darkContrast].filter(([, ratio]) => ratio < 4.5)).toEqual([])
  })

  it('prints light and whole', async () => {
    const page = await show(largeDelta(20))
    expect(await page.locator('table.matrices tbody tr').count()).toBe(100)
    await page.emulateMedia({ colorScheme: 'dark', media: 'print' })
    await page.evaluate(`dispatchEvent(new Event('beforeprint'))`)
    expect(await page.locator('table.matrices tbody tr').count()).toBe(140)
    expect(await page.evaluate('getComputedStyle(document.body).backgroundColor')).toBe('rgb(255, 255, 255)')
    expect(await page.locator('#theme').isVisible()).toBe(false)
    expect(await page.locator('details:not([open])').count()).toBe(0)
    const pdf = await page.pdf({ preferCSSPageSize: true })
    expect(pdf.subarray(0, 5).toString()).toBe('%PDF-')
  })

  it.each([
    ['deltas', digitsDelta],
    ['a large model', () => largeDelta(32)],
    ['an adapter', adapterResult],
  ])('fits on paper: %s', async (_, make) => {
    // A4 across, less its margins
    const page = await show(make(), { width: 1032, height: 703 })
    await page.emulateMedia({ media: 'print' })
    await page.evaluate(`dispatchEvent(new Event('beforeprint'))`)
    expect(await page.evaluate('document.documentElement.scrollWidth')).toBe(1032)
  })

  it.each([
    ['deltas', digitsDelta],
    ['a large model', () => largeDelta(32)],
    ['an adapter', adapterResult],
    ['one matrix', singleResult],
    ['hostile names', hostileResult],
    ['nothing', () => resultOf([], { subject: 'delta', unchanged: ['a', 'b'] })],
  ])('fits a phone: %s', async (_, make) => {
    const page = await show(make(), { width: 360, height: 740 })
    expect(await page.evaluate('document.documentElement.scrollWidth')).toBe(360)
    await page.setViewportSize({ width: 1280, height: 900 })
    expect(await page.evaluate('document.documentElement.scrollWidth')).toBe(1280)
  })

  it('draws an SVG that browsers take for XML', async () => {
    const page = await show(singleResult())
    for (const result of [digitsDelta(), largeDelta(4), adapterResult(), singleResult(), hostileResult()]) {
      for (const { name } of [{}, ...result.matrices.slice(0, 12)] as { name?: string }[]) {
        const svg = JSON.stringify(spectrumSvg(result, name === undefined ? {} : { name }))
        const wrong = await page.evaluate(
          `new DOMParser().parseFromString(${svg}, 'image/svg+xml').querySelector('parsererror')?.textContent`,
        )
        expect(wrong).toBeUndefined()
      }
    }
  })
})

/** Contrast of text to its background (WCAG 2.1) for each kind of text of the page. */
const contrasts = (page: Page) => page.evaluate<[kind: string, ratio: number][]>(CONTRASTS)

/** As text, since the types of browsers are not those of tests. */
const CONTRASTS = String.raw`(() => {
  const kinds = 'h1, .source, dt, dd, button, td, th, .lead, figcaption p, .terms dd, footer p, .heat-legend span'
  const rgb = (colour) => [...colour.matchAll(/[\d.]+/g)].map(([x]) => Number(x))
  const linear = (x) => (x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4)
  const luminance = ([r, g, b]) =>
    0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255)
  const isOpaque = (element) => rgb(getComputedStyle(element).backgroundColor).length === 3
  const found = new Map()
  for (const element of document.querySelectorAll(kinds)) {
    let behind = element
    while (behind.parentElement && !isOpaque(behind)) behind = behind.parentElement
    const text = rgb(getComputedStyle(element).color)
    const back = rgb(getComputedStyle(behind).backgroundColor)
    const [dark, light] = [luminance(text), luminance(back)].sort((x, y) => x - y)
    const kind = element.tagName + ' ' + element.className + ' ' + text + ' on ' + back
    found.set(kind, (light + 0.05) / (dark + 0.05))
  }
  return [...found]
})()`

describe('a report', () => {
  it('asks for nothing, and its policy forbids it', () => {
    const html = htmlReport(digitsDelta())
    expect(html).toContain(`default-src 'none'`)
    expect(html).not.toMatch(/<(link|script|img|iframe)[^>]*(href|src)="(?!data:)/)
    // names of XML vocabularies are no requests
    expect(html.replaceAll('http://www.w3.org/2000/svg', '')).not.toMatch(/https?:\/\//)
  })

  it('carries 224 whole spectra of order 4096 in less than 5 MB', () => {
    expect(htmlReport(largeDelta(32, 4096)).length).toBeLessThan(5e6)
  })

  it('is the same for the same result', () => {
    expect(htmlReport(digitsDelta())).toBe(htmlReport(digitsDelta()))
  })

  it('has script and style as built', () => {
    const built = (name: string) =>
      readFileSync(new URL(`../../../dist/${name}`, import.meta.url), 'utf8').trim()
    const html = htmlReport(singleResult())
    expect(html).toContain(`<script>${built('report-client.js')}</script>`)
    expect(html).toContain(`<style>${built('report.css')}</style>`)
  })
})
