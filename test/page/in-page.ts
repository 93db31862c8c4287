import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'

/** Programs that tests run in a page, as texts: the page's types are not those of the tests. */

export const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')

/** What axe-core objects to, once it is there. */
export const VIOLATIONS = `axe.run().then(({ violations }) =>
  violations.map(({ id, nodes }) => id + ': ' + nodes.map(({ html }) => html).join(' ')),
)`

/** What each element with an id says. */
export const TEXTS_BY_ID = `Object.fromEntries(
  [...document.querySelectorAll('[id]')].filter((one) => one.id !== 'program').map((one) => [one.id, one.textContent]),
)`

/** Numbers all that a keyboard should come to, and gives how many there are. */
export const NUMBER_STOPS = `(() => {
  const all = document.querySelectorAll('a[href], button, input, select, summary, [tabindex="0"]')
  const shown = [...all].filter((one) => one.checkVisibility() && !one.matches(':disabled'))
  for (const [i, one] of shown.entries()) one.dataset.stop = String(i)
  return shown.length
})()`

/** A program for the page that tries to reach HOST in all ways there are, and gives what came of each. */
export const ATTEMPTS = `(async () => {
  const silent = (promise) => Promise.race([promise, new Promise((done) => setTimeout(done, 10_000, 'silent'))])
  const settled = (promise) => silent(promise.then(() => 'reached', () => 'refused'))
  const loaded = (element) => new Promise((resolve, reject) => {
    element.onload = resolve
    element.onerror = reject
    document.body.append(element)
  })
  const image = document.createElement('img')
  image.src = 'http://HOST/image'
  const script = document.createElement('script')
  script.src = 'http://HOST/script'
  const socket = () => new Promise((resolve, reject) => {
    const one = new WebSocket('ws://HOST/socket')
    one.onopen = resolve
    one.onerror = reject
  })
  const source = "fetch('http://HOST/worker').then(() => postMessage('reached'), () => postMessage('refused'))"
  // held, else it may be collected before it answers
  const worker = (globalThis.attempt = new Worker(URL.createObjectURL(new Blob([source], { type: 'text/javascript' }))))
  const answer = new Promise((resolve) => {
    worker.onmessage = ({ data }) => resolve(data)
  })
  navigator.sendBeacon('http://HOST/beacon', 'x')
  return {
    fetch: await settled(fetch('http://HOST/fetch')),
    image: await settled(loaded(image)),
    script: await settled(loaded(script)),
    socket: await settled(Promise.resolve().then(socket)),
    worker: await silent(answer),
  }
})()`

/** What comes of them where all is forbidden. */
export const REFUSED = {
  fetch: 'refused',
  image: 'refused',
  script: 'refused',
  socket: 'refused',
  worker: 'refused',
} as const
