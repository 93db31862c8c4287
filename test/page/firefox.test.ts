import { readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { inspectDocument } from '../../src/commands/inspect/document.ts'
import { inspect } from '../../src/commands/inspect/inspect.ts'
import { FIREFOX, type Firefox, hasFirefox, openFirefox, troublesIn } from './firefox.ts'
import { ATTEMPTS, AXE, NUMBER_STOPS, REFUSED, VIOLATIONS } from './in-page.ts'
import { demoPage } from './options.ts'

const OPTIONS = '--d 70 --k 90 --rank 5 --truncate 4 --seed 9'
/** A browser that starts for the first time makes a profile first. */
const START_MS = 90_000
/** Keys as WebDriver has them. */
const KEY = { Tab: '\uE004', ArrowRight: '\uE014', Home: '\uE011', End: '\uE010', Enter: '\uE007' } as const

if (!hasFirefox) {
  it(`the page in Firefox: left out: no ${FIREFOX}`, () => {
    process.stdout.write(
      `left out: the tests of the page in Firefox, because there is no ${FIREFOX}; FIREFOX_PATH names one\n`,
    )
    expect(FIREFOX).toMatch(/^.+$/)
  })
}

describe.runIf(hasFirefox)('the page in Firefox', () => {
  let firefox: Firefox
  let printed: Awaited<ReturnType<typeof demoPage>>

  beforeAll(async () => {
    firefox = await openFirefox()
    const path = join(firefox.folder, 'demo.html')
    printed = await demoPage(OPTIONS, path)
    await firefox.command('WebDriver:Navigate', { url: pathToFileURL(path).href })
    await until(`document.querySelector('#allclose strong')`)
  }, START_MS)
  afterAll(async () => {
    await firefox?.close()
  })

  /** Waits until the expression is true in the page. */
  const until = (expression: string) =>
    firefox.evaluate(`while (!(${expression})) await new Promise((done) => setTimeout(done, 20))`)
  const text = (id: string) => firefox.evaluate<string>(`return document.getElementById('${id}').textContent`)
  const says = (id: string, what: string) =>
    until(`document.getElementById('${id}').textContent.includes(${JSON.stringify(what)})`)
  /** Presses keys where the focus is. */
  const press = (...keys: (keyof typeof KEY)[]) => {
    const actions = keys.flatMap((key) => [
      { type: 'keyDown', value: KEY[key] },
      { type: 'keyUp', value: KEY[key] },
    ])
    return firefox.command('WebDriver:PerformActions', { actions: [{ type: 'key', id: 'keys', actions }] })
  }
  const pressIn = async (id: string, ...keys: (keyof typeof KEY)[]) => {
    await firefox.evaluate(`document.getElementById('${id}').focus()`)
    await press(...keys)
  }

  it('has the digits of the command, and all matrices', async () => {
    await firefox.evaluate(`document.getElementById('numbers').open = true`)
    await says('document', '{')
    expect(await text('document')).toBe(printed.json)
    expect(await text('found-rank')).toBe('5')
    expect(await text('command')).toContain('--truncate 4')
  })

  it('reaches every control by the keyboard', async () => {
    const wanted = await firefox.evaluate<number>(`return ${NUMBER_STOPS}`)
    const reached = new Set<string>()
    await firefox.evaluate(`document.activeElement.blur(); getSelection().collapse(document.body, 0)`)
    for (let i = 0; i < wanted + 10 && reached.size < wanted; i++) {
      await press('Tab')
      const stop = await firefox.evaluate<string | null>('return document.activeElement?.dataset.stop')
      if (stop) reached.add(stop)
    }
    expect(reached.size).toBe(wanted)
  })

  it('moves by keys', async () => {
    await pressIn('d', 'ArrowRight')
    await says('command', '--d 71')
    await pressIn('cut', 'Home')
    await says('command', '--truncate 1')
    await pressIn('cliff', 'Home')
    expect(
      await firefox.evaluate(`return document.querySelector('#play-spectrum .tip').textContent`),
    ).toMatch(/^direction 1σ = /)
    await pressIn('unlucky-seed', 'Enter')
    // what is tried is for this run, and a run that comes later ends it
    await says('reason', 'agree to rounding')
    await says('allclose', 'False')
    await pressIn('try', 'Enter')
    await says('rivals-told', '1,000 tried')
    expect(await text('rivals-told')).toContain('None is below')
  })

  it('has nothing that axe-core objects to', async () => {
    await firefox.evaluate(`${AXE}; window.axe = axe`)
    expect(
      await firefox.evaluate(
        `return window.axe ? await (${VIOLATIONS.replace('axe.run', 'window.axe.run')}) : ['no axe']`,
      ),
    ).toEqual([])
  })

  it('has every figure of inspect --json for a pair of weights that is dropped', async () => {
    const pair = ['base', 'tuned'].map((name) => [
      `${name}.safetensors`,
      readFileSync(`test/fixtures/digits-llama/${name}/model.safetensors`, 'base64'),
    ])
    await firefox.evaluate(
      `const transfer = new DataTransfer()
      for (const [name, text] of arguments[0]) transfer.items.add(new File([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))], name))
      // what links lead to, which the page's policy lets no one fetch
      window.made = []
      const link = URL.createObjectURL
      URL.createObjectURL = (blob) => (window.made.push(blob), link.call(URL, blob))
      const drop = new DragEvent('drop', { dataTransfer: transfer, bubbles: true, cancelable: true })
      document.getElementById('weights-drop').dispatchEvent(drop)`,
      [pair],
    )
    await until(`document.querySelector('#weights .verdict-title')`)
    const here = JSON.parse(await firefox.evaluate<string>('return await window.made.at(-1).text()'))
    const [base, path] = ['base', 'tuned'].map(
      (name) => `test/fixtures/digits-llama/${name}/model.safetensors`,
    )
    const result = await inspect({ path, base, engine: 'wasm', threads: 1, env: {} })
    const there = JSON.parse(JSON.stringify(inspectDocument(result)))
    const same = { source: { path: 'tuned.safetensors', base: 'base.safetensors' }, seconds: 0 }
    expect(here.matrices.length).toBeGreaterThan(20)
    expect({ ...here, ...same }).toEqual({ ...there, ...same })
  })

  it('has asked for nothing but itself, and complained of nothing', async () => {
    const own = /^request: (?:file:\/\/.*\/demo\.html|data:,|blob:.*)$/
    expect((await troublesIn(firefox)).filter((line) => !own.test(line))).toEqual([])
  })

  it('can reach nobody: every way out is forbidden', async () => {
    let asked = 0
    const server = createServer((_, response) => {
      asked++
      response.end('')
    })
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
    const { port } = server.address() as AddressInfo
    const attempts = `return ${ATTEMPTS.replaceAll('HOST', `127.0.0.1:${port}`)}`
    await firefox.command('WebDriver:Navigate', { url: pathToFileURL(resolve('dist/page.html')).href })
    expect(await firefox.evaluate(attempts)).toEqual(REFUSED)
    expect(asked).toBe(0)
    expect(await troublesIn(firefox)).toContainEqual(
      expect.stringMatching(/^console: Content-Security-Policy/),
    )
    // a page without a policy gets through, and is seen to
    const open = join(firefox.folder, 'open.html')
    writeFileSync(open, '<!doctype html><title>open</title><body></body>')
    await firefox.command('WebDriver:Navigate', { url: pathToFileURL(open).href })
    await firefox.evaluate(attempts)
    expect(asked).toBeGreaterThan(0)
    expect(await troublesIn(firefox)).toContain(`request: http://127.0.0.1:${port}/fetch`)
    server.close()
  })
})
