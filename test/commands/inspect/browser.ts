import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { type BrowserContext, chromium, type Page } from 'playwright-core'

/** Debian's chromium; CHROMIUM_PATH names another. */
export const CHROMIUM = process.env.CHROMIUM_PATH || '/usr/bin/chromium'
export const hasChromium = existsSync(CHROMIUM)

/** A browser that asks nobody for anything: no updates, no lists, no experiments. What a page may ask for, its own policy is to say alone. */
const ARGUMENTS =
  '--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync --disable-features=LocalNetworkAccessChecks'.split(
    ' ',
  )

/** A browser with an empty profile, which `close` deletes. */
export async function openBrowser() {
  const folder = mkdtempSync(join(tmpdir(), 'lora-svd-browser-'))
  const context = await chromium.launchPersistentContext(join(folder, 'profile'), {
    executablePath: CHROMIUM,
    args: ARGUMENTS,
  })
  return {
    context,
    folder,
    close: async () => {
      await context.close()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

export interface OpenPage {
  readonly page: Page
  /** What went wrong in the page, and what it asked for besides its own file. */
  readonly troubles: string[]
}

/** Opens a text as a file of its own, and notes whatever a quiet page doesn't do. `before` is a script that runs before those of the page. */
export async function openFile(
  { context, folder }: { readonly context: BrowserContext; readonly folder: string },
  name: string,
  text: string,
  { width = 1280, height = 900, before = '' } = {},
): Promise<OpenPage> {
  const path = join(folder, name)
  writeFileSync(path, text)
  const url = pathToFileURL(path).href
  const page = await context.newPage()
  const troubles: string[] = []
  page.on('console', (message) => troubles.push(`console ${message.type()}: ${message.text()}`))
  page.on('pageerror', (error) => troubles.push(`error: ${error.message}`))
  page.on('dialog', (dialog) => {
    troubles.push(`dialog: ${dialog.message()}`)
    dialog.dismiss().catch(() => {})
  })
  page.on('request', (request) => {
    // a blob is of the page itself
    const isOwn = request.url() === url || /^(?:data:,$|blob:null\/)/.test(request.url())
    if (!isOwn) troubles.push(`request: ${request.url()}`)
  })
  await page.setViewportSize({ width, height })
  await page.addInitScript(before)
  await page.goto(url)
  return { page, troubles }
}
