// The picture of bench/scale.mjs: what a million weights cost each command, against the weights of the pair.

const [WIDTH, HEIGHT] = [640, 300]
const PLOT = { left: 64, right: 540, top: 24, bottom: 244 }
const COLOURS = { inspect: '#3b82c4', extract: '#c4653b', verify: '#3f9b6b', apply: '#8a63b8' }
const INK = '#808891'

/** An SVG that reads on light and on dark ground. `points`: {name, weights, processor (seconds for a million weights)}. */
export function drawScale(points) {
  const across = scale(
    [Math.min, Math.max].map((end) => end(...points.map(({ weights }) => weights))),
    [PLOT.left, PLOT.right],
  )
  const costs = points.map(({ processor }) => processor)
  const most = 10 ** Math.ceil(Math.log10(Math.max(...costs)))
  const least = 10 ** Math.floor(Math.log10(Math.min(...costs)))
  const up = scale([least, most], [PLOT.bottom, PLOT.top])
  const names = [...new Set(points.map(({ name }) => name))]
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" width="${WIDTH}" height="${HEIGHT}" font-family="system-ui, sans-serif" font-size="12" role="img">`,
    '<title>Seconds of the processor for a million weights, against the weights of the pair</title>',
    ...decades(least, most).map((cost) => gridLine(cost, up(cost))),
    ...[1e7, 1e8, 1e9].map((weights) =>
      text(across(weights), PLOT.bottom + 20, `${weights / 1e6} M`, INK, 'middle'),
    ),
    text((PLOT.left + PLOT.right) / 2, PLOT.bottom + 42, 'weights in the pair’s matrices', INK, 'middle'),
    text(PLOT.left, PLOT.top - 8, 'seconds of the processor for a million weights', INK, 'start'),
    ...names.flatMap((name) => {
      const own = points.filter((point) => point.name === name)
      const places = own.map(({ weights, processor }) => [across(weights), up(processor)])
      const [x, y] = places.at(-1)
      return [
        `<polyline fill="none" stroke="${COLOURS[name]}" stroke-width="2" points="${places.map((place) => place.map(tidy).join(',')).join(' ')}"/>`,
        ...places.map(
          ([cx, cy]) => `<circle cx="${tidy(cx)}" cy="${tidy(cy)}" r="3.5" fill="${COLOURS[name]}"/>`,
        ),
        text(x + 12, y + 4, name, COLOURS[name], 'start'),
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

const decades = (least, most) =>
  Array.from({ length: Math.round(Math.log10(most / least)) + 1 }, (_, i) => least * 10 ** i)

const gridLine = (cost, y) =>
  `<line x1="${PLOT.left}" x2="${PLOT.right}" y1="${tidy(y)}" y2="${tidy(y)}" stroke="${INK}" stroke-opacity="0.3"/>` +
  text(PLOT.left - 8, y + 4, String(Number(cost.toPrecision(1))), INK, 'end')

const text = (x, y, words, colour, anchor) =>
  `<text x="${tidy(x)}" y="${tidy(y)}" fill="${colour}" text-anchor="${anchor}">${words}</text>`

const tidy = (number) => Number(number.toFixed(1))
