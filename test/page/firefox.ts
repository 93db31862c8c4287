import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** Debian's Firefox; FIREFOX_PATH names another. */
export const FIREFOX = process.env.FIREFOX_PATH || '/usr/bin/firefox-esr'
export const hasFirefox = existsSync(FIREFOX)

/**
 * Firefox by Marionette, its own protocol for automation, which needs no driver: over TCP, each message the length of its JSON, a colon, and the
 * JSON: [0, id, command, parameters] and [1, id, error, result]. Source: remote/marionette/{transport,message}.sys.mjs of Firefox.
 */
export interface Firefox {
  /** Runs the body of an async function in the page, or in the browser itself, and gives what it returns. */
  evaluate<T>(body: string, args?: readonly unknown[], where?: 'content' | 'chrome'): Promise<T>
  command<T>(name: string, parameters?: object): Promise<T>
  /** The folder where files for it may lie. */
  readonly folder: string
  close(): Promise<void>
}

/** A browser that asks nobody for anything, and tells of each request. */
const PREFERENCES = {
  'marionette.port': 0,
  'browser.shell.checkDefaultBrowser': false,
  'datareporting.policy.dataSubmissionEnabled': false,
  'toolkit.telemetry.enabled': false,
  'network.captive-portal-service.enabled': false,
  'network.connectivity-service.enabled': false,
  'extensions.systemAddon.update.enabled': false,
  'app.update.enabled': false,
}

const START_MS = 60_000

/** What a page did that a quiet one doesn't: errors and warnings of its console, requests. Empties the list. */
export async function troublesIn({ evaluate }: Firefox): Promise<string[]> {
  return evaluate<string[]>(
    `const found = Services.console.getMessageArray()
      .filter((one) => one instanceof Ci.nsIScriptError && /^(file|blob|data):/.test(one.sourceName))
      .map((one) => 'console: ' + one.errorMessage)
    Services.console.reset()
    const window = Services.wm.getMostRecentWindow('navigator:browser')
    const requests = window.loraSvdRequests.splice(0).map((url) => 'request: ' + url)
    return [...found, ...requests]`,
    [],
    'chrome',
  )
}

const WATCH = `const window = Services.wm.getMostRecentWindow('navigator:browser')
window.loraSvdRequests = []
const observe = (subject) => {
  const { URI, loadInfo } = subject.QueryInterface(Ci.nsIChannel)
  // the browser asks for lists of its own
  if (!loadInfo.triggeringPrincipal.isSystemPrincipal) window.loraSvdRequests.push(URI.spec)
}
window.loraSvdObserver = { observe }
for (const topic of ['http-on-modify-request', 'http-on-failed-opening-request']) Services.obs.addObserver(window.loraSvdObserver, topic)
Services.console.reset()`

export async function openFirefox(): Promise<Firefox> {
  const folder = mkdtempSync(join(tmpdir(), 'lora-svd-firefox-'))
  const lines = Object.entries(PREFERENCES).map(
    ([name, value]) => `user_pref(${JSON.stringify(name)}, ${JSON.stringify(value)});`,
  )
  writeFileSync(join(folder, 'user.js'), lines.join('\n'))
  const args = [
    '--headless',
    '--marionette',
    '--remote-allow-system-access',
    '--no-remote',
    '--profile',
    folder,
  ]
  const browser = spawn(FIREFOX, args, { stdio: 'ignore', env: { ...process.env, HOME: folder } })
  // it isn't to outlive tests that end before they close it
  const kill = () => browser.kill('SIGKILL')
  process.once('exit', kill)
  const port = await portOf(join(folder, 'MarionetteActivePort'), browser)
  const socket = connect(port, '127.0.0.1')
  const command = await commandsOver(socket)
  await command('WebDriver:NewSession', { capabilities: {} })
  const firefox: Firefox = {
    folder,
    command,
    async evaluate<T>(
      body: string,
      parameters: readonly unknown[] = [],
      where: 'content' | 'chrome' = 'content',
    ) {
      if (where === 'chrome') await command('Marionette:SetContext', { value: where })
      const script = `return (async () => { ${body} })()`
      try {
        return (await command<{ value: T }>('WebDriver:ExecuteScript', { script, args: parameters })).value
      } finally {
        if (where === 'chrome') await command('Marionette:SetContext', { value: 'content' })
      }
    },
    async close() {
      const ended = new Promise((resolve) => browser.once('exit', resolve))
      await command('Marionette:Quit', { flags: ['eForceQuit'] }).catch(() => {})
      socket.destroy()
      await ended
      process.off('exit', kill)
      rmSync(folder, { recursive: true, force: true })
    },
  }
  await firefox.evaluate(WATCH, [], 'chrome')
  return firefox
}

/** Firefox writes the port that it took into its profile. */
async function portOf(path: string, browser: ChildProcess): Promise<number> {
  const end = performance.now() + START_MS
  while (performance.now() < end && browser.exitCode === null) {
    const port = existsSync(path) ? Number(readFileSync(path, 'utf8')) : 0
    if (port > 0) return port
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  browser.kill('SIGKILL')
  throw new Error(`${FIREFOX} did not start within ${START_MS / 1000} s`)
}

async function commandsOver(socket: Socket): Promise<Firefox['command']> {
  const waiting = new Map<number, { resolve(value: never): void; reject(error: Error): void }>()
  let bytes = Buffer.alloc(0)
  let sent = 0
  await new Promise<void>((resolve) => {
    socket.on('data', (chunk) => {
      bytes = Buffer.concat([bytes, chunk])
      for (;;) {
        const colon = bytes.indexOf(':')
        const length = Number(bytes.subarray(0, Math.max(0, colon)))
        if (colon < 0 || bytes.length < colon + 1 + length) return
        const message = JSON.parse(bytes.subarray(colon + 1, colon + 1 + length).toString())
        bytes = bytes.subarray(colon + 1 + length)
        // the first one is the server's greeting
        if (!Array.isArray(message)) {
          resolve()
          continue
        }
        const [, id, error, result] = message
        const who = waiting.get(id)
        waiting.delete(id)
        if (error) who?.reject(new Error(`${error.error}: ${error.message}`))
        else who?.resolve(result as never)
      }
    })
  })
  return <T>(name: string, parameters: object = {}) =>
    new Promise<T>((resolve, reject) => {
      const id = ++sent
      waiting.set(id, { resolve, reject })
      const text = JSON.stringify([0, id, name, parameters])
      socket.write(`${Buffer.byteLength(text)}:${text}`)
    })
}
