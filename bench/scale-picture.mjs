// The picture of bench/scale.mjs: what a weight costs each command, in times what one of the largest pair costs it.

const [WIDTH, HEIGHT] = [640, 300]
const PLOT = { left: 64, right: 540, top: 24, bottom: 244 }
const COLOURS = { inspect: '#3b82c4', extract: '#c4653b', verify: '#3f9b6b', apply: '#8a63b8' }
const INK = '#808891'

/** An SVG that reads on light and on dark ground. `measured`: {name, weights, processor (seconds for a million weights)}, by growing weights. */
export function drawScale(measured) {
  const last = (name) => measured.findLast((point) => point.name === name).processor
  const points = measured.map((point) => ({ ...point, cost: point.processor / last(point.name) }))
  const across = scale(
    [Math.min, Math.max].map((end) => end(...points.map(({ weights }) => weights))),
    [PLOT.left, PLOT.right],
  )
  const costs = points.map(({ cost }) => cost)
  const [least, most] = [0.9 * Math.min(...costs), 1.1 * Math.max(...costs)]
  const up = scale([least, most], [PLOT.bottom, PLOT.top])
  const names = [...new Set(points.map(({ name }) => name))]
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" width="${WIDTH}" height="${HEIGHT}" font-family="system-ui, sans-serif" font-size="12" role="img">`,
    '<title>What a weight costs each command, against the weights of the pair</title>',
    ...[1, 2, 3, 5, 10].filter((cost) => cost <= most).map((cost) => gridLine(cost, up(cost))),
    ...[1e7, 1e8, 1e9].map((weights) =>
      text(across(weights), PLOT.bottom + 20, `${weights / 1e6} M`, INK, 'middle'),
    ),
    text((PLOT.left + PLOT.right) / 2, PLOT.bottom + 42, 'weights in the pair’s matrices', INK, 'middle'),
    text(
      PLOT.left,
      PLOT.top - 8,
      'processor time for a weight, in times that of the largest pair',
      INK,
      'start',
    ),
    ...names.flatMap((name, i) => {
      const own = points.filter((point) => point.name === name)
      const places = own.map(({ weights, cost }) => [across(weights), up(cost)])
      return [
        `<polyline fill="none" stroke="${COLOURS[name]}" stroke-width="2" points="${places.map((place) => place.map(tidy).join(',')).join(' ')}"/>`,
        ...places.map(
          ([cx, cy]) => `<circle cx="${tidy(cx)}" cy="${tidy(cy)}" r="3.5" fill="${COLOURS[name]}"/>`,
        ),
        text(PLOT.right + 20, PLOT.top + 16 + 20 * i, name, COLOURS[name], 'start'),
      ]
    }),
    '</svg>',
    '',
  ].join('\n')
}

/** The logarithm's scale from `domain` to `range`. */
function scale([from, to], [start, end]) {
  const [low, high] = [Math.log10(from), Math.log10(to)]
  return (value) => start + ((Math.log10(value) - low) / (high - low)) * (end - start)
}

const gridLine = (cost, y) =>
  `<line x1="${PLOT.left}" x2="${PLOT.right}" y1="${tidy(y)}" y2="${tidy(y)}" stroke="${INK}" stroke-opacity="0.3"/>` +
  text(PLOT.left - 8, y + 4, `×${cost}`, INK, 'end')

const text = (x, y, words, colour, anchor) =>
  `<text x="${tidy(x)}" y="${tidy(y)}" fill="${colour}" text-anchor="${anchor}">${words}</text>`

const tidy = (number) => Number(number.toFixed(1))
