// Draws the README's pictures: the terminal's from real coloured output, the report's by a browser.
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { chromium } from 'playwright-core'

const MODEL = 'test/fixtures/digits-llama'
/** The pictures: what is run, and how the README writes it. */
const PICTURES = {
  demo: { command: ['demo', '--d', '10', '--k', '10', '--rank', '2'] },
  inspect: {
    command: ['inspect', 'tuned', '--base', 'base', '--include', '*layers.2*', '--plot', '2.mlp.down_proj'],
    shown: "lora-svd inspect tuned/ --base base/ --include '*layers.2*' --plot 2.mlp.down_proj",
  },
}
const FONT_SIZE = 14
const LINE_HEIGHT = 18
const CHARACTER_WIDTH = 8.43
const MARGIN = 16
const COLOURS = { 31: '#f47067', 32: '#57ab5a', 33: '#c69026', 34: '#539bf5', 35: '#b083f0', 36: '#39c5cf' }
const TEXT = '#d3dae3'
const DIM = '#8b949e'
const BACKGROUND = '#1c2128'

/** Which pictures are drawn: those named, or all of them. */
const asked = process.argv.length > 2 ? process.argv.slice(2) : [...Object.keys(PICTURES), 'report', 'page']
for (const name of asked) if (name in PICTURES) draw(name, PICTURES[name])
if (asked.includes('report')) await drawReport()
if (asked.includes('page')) await drawPage()

/** The HTML report as a browser shows it, docs/report.png. */
async function drawReport() {
  const command = ['inspect', 'tuned', '--base', 'base', '--quiet']
  await drawHtml('report', command, { width: 1080, height: 1240 }, async (page) => {
    await page
      .locator('details')
      .first()
      .evaluate((element) => element.removeAttribute('open'))
  })
}

/** The page's first step, with an entry of W pointed at, docs/page.png. */
async function drawPage() {
  const command = ['demo', '--d', '24', '--k', '30', '--rank', '3', '--quiet']
  await drawHtml('page', command, { width: 1120, height: 800 }, async (page) => {
    await page.locator('#allclose strong').waitFor()
    await page
      .locator('#product')
      .evaluate((element) => window.scrollTo({ top: element.offsetTop + 24, behavior: 'instant' }))
    await page.locator('#play-product [role=application]').hover({ position: { x: 172, y: 120 } })
  })
}

/** What a command writes with --html as a browser shows it; needs Debian's chromium. */
async function drawHtml(name, command, viewport, prepare) {
  const folder = mkdtempSync(join(tmpdir(), 'lora-svd-picture-'))
  const html = join(folder, `${name}.html`)
  execFileSync('node', [resolve('bin/lora-svd.js'), ...command, '--html', html], { cwd: MODEL })
  const args = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-background-networking']
  const browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args })
  const page = await browser.newPage({ viewport, colorScheme: 'light' })
  await page.goto(`file://${html}`)
  await prepare(page)
  await page.screenshot({ path: `docs/${name}.png` })
  await browser.close()
  rmSync(folder, { recursive: true })
}

function draw(name, { command, shown = `lora-svd ${command.join(' ')}` }) {
  const folder = mkdtempSync(join(tmpdir(), 'lora-svd-picture-'))
  for (const model of ['base', 'tuned']) symlinkSync(resolve(MODEL, model), join(folder, model))
  const options = { encoding: 'utf8', cwd: folder }
  const output = execFileSync('node', [resolve('bin/lora-svd.js'), ...command, '--color'], options)
  rmSync(folder, { recursive: true })
  const lines = [`\u001b[2m$\u001b[22m ${shown}`, '', ...output.trimEnd().split('\n')]
  const columns = Math.max(...lines.map((line) => plain(line).length))
  const width = Math.ceil(columns * CHARACTER_WIDTH + 2 * MARGIN)
  const height = lines.length * LINE_HEIGHT + 2 * MARGIN
  writeFileSync(
    `docs/${name}.svg`,
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" role="img" aria-label="Output of ${escapeXml(shown)}">
<rect width="100%" height="100%" rx="8" fill="${BACKGROUND}"/>
<g font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace" font-size="${FONT_SIZE}" fill="${TEXT}" xml:space="preserve">
${lines.map((line, i) => textOf(line, MARGIN + FONT_SIZE + i * LINE_HEIGHT)).join('\n')}
</g>
</svg>
`,
  )
}

function plain(line) {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: escape sequences begin with one
  return line.replace(/\u001b\[\d+m/g, '')
}

/** One line as a text element, each run of one style at its own column so that fonts of other widths stay aligned. */
function textOf(line, y) {
  const style = { fill: TEXT, bold: false }
  let column = 0
  const spans = line.split('\u001b[').map((part, i) => {
    const [, code, text] = i === 0 ? [null, null, part] : /^(\d+)m(.*)$/s.exec(part)
    if (code !== null) applyCode(style, Number(code))
    const x = MARGIN + column * CHARACTER_WIDTH
    column += text.length
    if (text.trim() === '') return ''
    const length = (text.length * CHARACTER_WIDTH).toFixed(1)
    const weight = style.bold ? ' font-weight="bold"' : ''
    return `<tspan x="${x.toFixed(1)}" textLength="${length}" fill="${style.fill}"${weight}>${escapeXml(text)}</tspan>`
  })
  return `<text y="${y}">${spans.join('')}</text>`
}

function applyCode(style, code) {
  if (code === 1) style.bold = true
  else if (code === 2) style.fill = DIM
  else if (code === 22) Object.assign(style, { bold: false, fill: TEXT })
  else style.fill = COLOURS[code] ?? TEXT
}

function escapeXml(text) {
  return text.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;')
}
