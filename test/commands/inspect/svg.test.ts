import { expect, test } from 'vitest'
import { linearAxis, logAxis } from '../../../src/browser/axis.ts'
import { spectrumSvg } from '../../../src/commands/inspect/svg.ts'
import {
  adapterResult,
  digitsDelta,
  HOSTILE_NAMES,
  hostileResult,
  largeDelta,
  matrixOf,
  resultOf,
  singleResult,
} from './results.ts'

/** The texts of a well-formed document of elements, in order; throws where tags, attributes or characters are wrong. */
function textsOf(xml: string): string[] {
  // XML 1.0, production 2, and no lone surrogates
  const wrong = /[^\t\n\r\u{20}-\u{D7FF}\u{E000}-\u{FFFD}\u{10000}-\u{10FFFF}]/u.exec(xml)
  if (wrong) throw new Error(`character ${wrong[0].charCodeAt(0)}`)
  const token =
    /<\?xml[^>]*\?>|<\/([a-zA-Z]+)>|<([a-zA-Z]+)((?:\s+[\w:-]+="[^"<&]*(?:&(?:amp|lt|gt|quot|#39);[^"<&]*)*")*)\s*(\/?)>|([^<&]|&(?:amp|lt|gt|quot|#39);)+/gy
  const open: string[] = []
  const texts: string[] = []
  let at = 0
  for (let found = token.exec(xml); found; found = token.exec(xml)) {
    const [all, closing, opening, , isEmpty] = found
    if (closing !== undefined && open.pop() !== closing) throw new Error(`</${closing}> at ${at}`)
    if (opening !== undefined && isEmpty === '') open.push(opening)
    if (!all.startsWith('<') && all.trim() !== '') texts.push(all)
    at = token.lastIndex
  }
  if (at !== xml.length || open.length > 0) throw new Error(`not XML at ${at}: ${xml.slice(at, at + 60)}`)
  return texts
}

test('the reader of XML refuses what is not', () => {
  for (const wrong of ['<a>', '<a></b>', '<a b=c></a>', '<a>&x;</a>', '<a>\u0001</a>', '<a b="<"></a>']) {
    expect(() => textsOf(wrong)).toThrow()
  }
  expect(textsOf('<a b="c"><d/>x &amp; y</a>')).toEqual(['x &amp; y'])
})

test.each([
  ['deltas', digitsDelta],
  ['many', () => largeDelta(12)],
  ['an adapter', adapterResult],
  ['one matrix', singleResult],
  ['hostile names', hostileResult],
  ['nothing', () => resultOf([])],
  ['zeros', () => resultOf([matrixOf({ name: 'Z', shape: [2, 2], S: [0, 0] })])],
  [
    'the least numbers',
    () => resultOf([matrixOf({ name: 's', shape: [3, 9], S: [1e-310, 3e-320, 5e-324] })]),
  ],
  ['the largest numbers', () => resultOf([matrixOf({ name: 'l', shape: [2, 9], S: [1.7e308, 1e-300] })])],
  ['one value', () => resultOf([matrixOf({ name: 'v', shape: [1, 9], S: [3] })])],
])('XML without a number that is none: %s', (_, make) => {
  const result = make()
  for (const name of [undefined, ...result.matrices.slice(0, 12).map((matrix) => matrix.name)]) {
    const svg = spectrumSvg(result, name === undefined ? {} : { name })
    textsOf(svg)
    expect(svg).not.toMatch(/NaN|Infinity|undefined/)
    expect(svg.replaceAll('http://www.w3.org/2000/svg', '')).not.toMatch(/href|url\((?!#frame)/)
  }
})

test('a curve through the singular values, its energy ranks marked', () => {
  const S = [16, 8, 4, 2, 1]
  const svg = spectrumSvg(resultOf([matrixOf({ name: 'A', shape: [5, 7], S })]))
  const [, path] = /class="curve"[^>]*d="([^"]+)"/.exec(svg)!
  const points = [...path.matchAll(/[ML]([\d.]+) ([\d.]+)/g)].map(([, x, y]) => [Number(x), Number(y)])
  expect(points.length).toBe(5)
  // halving is one step down a logarithmic axis; ranks 1, 2, 4 are even steps across one
  const steps = points.slice(1).map(([, y], i) => y - points[i][1])
  for (const step of steps) expect(step).toBeCloseTo(steps[0], 0)
  expect(points[3][0] - points[1][0]).toBeCloseTo(points[1][0] - points[0][0], 0)
  const texts = textsOf(svg)
  expect(texts).toContain('A')
  // 256 of 341 is 75 %, 320 is 94 %, 336 is 98.5 %
  for (const mark of ['50 %: 1', '90 %: 2', '95 %: 3', '99 %: 4']) expect(texts).toContain(mark)
})

test('direct labels for six of many, none over another', () => {
  const svg = spectrumSvg(largeDelta(12))
  const heights = [...svg.matchAll(/class="name" x="[\d.]+" y="([\d.]+)"/g)].map(([, y]) => Number(y))
  expect(heights.length).toBe(6)
  const sorted = heights.toSorted((a, b) => a - b)
  for (let i = 1; i < 6; i++) expect(sorted[i] - sorted[i - 1]).toBeGreaterThanOrEqual(29)
  expect(svg.match(/class="faint"/g)).toHaveLength(78)
  expect(textsOf(svg).join()).toContain('open end: what follows was not computed; grey: 78 more')
})

test('names are text', () => {
  for (const name of HOSTILE_NAMES) {
    const svg = spectrumSvg(hostileResult(), { name })
    expect(svg).not.toMatch(/<script|<img|<b>/)
  }
  expect(spectrumSvg(hostileResult(), { name: HOSTILE_NAMES[0] })).toContain(
    '&lt;script&gt;alert(1)&lt;/script&gt;',
  )
})

test('a name that there is none of', () => {
  expect(() => spectrumSvg(digitsDelta(), { name: 'nope' })).toThrow(
    'no matrix is named "nope"; there are "lm_head.weight", "model.embed_tokens.weight", "model.layers.0.mlp.down_proj.weight" …',
  )
})

test.each([
  [0, Infinity],
  [5e-324, 1.7e308],
  [1e16, 1e16 + 2],
  [3, 3],
] as const)('an axis from %d to %d has few marks', (low, high) => {
  for (const axis of [
    logAxis([low, high], [0, 100], 7, 10),
    logAxis([low, high], [0, 100], 12, 2),
    linearAxis([low, high], [0, 100], 7),
  ]) {
    expect(axis.ticks.length).toBeLessThanOrEqual(100)
  }
})

test.each([[[Infinity, 3, 1]], [[Infinity, Infinity, Infinity]], [[Infinity]]])(
  'values beyond what float64 holds are left out of the picture: %j',
  (S) => {
    const svg = spectrumSvg(resultOf([matrixOf({ name: 'i', shape: [S.length, 9], S })]))
    textsOf(svg)
    for (const [, numbers] of svg.matchAll(/ (?:d|x|y|cx|cy)="([^"]*)"/g))
      expect(numbers).not.toMatch(/NaN|Inf/)
  },
)
