import { escaped } from '../../../text/markup.ts'
import { bytes, grouped, percent, short } from '../../../text/numbers.ts'
import { counted, printable } from '../../../text/quote.ts'
import { version } from '../../../version.ts'
import type { InspectResult } from '../result.ts'
import { countedSubjects, modelVerdict } from '../verdict.ts'
import { intervalText } from './format.ts'

/** What the matrices come to in words: a headline, and what more there is to say. */
export function headline(result: InspectResult): { readonly title: string; readonly more: string } {
  const verdict = modelVerdict(result)
  const end = verdict.indexOf('. ')
  const [title, more] = end < 0 ? [verdict, ''] : [verdict.slice(0, end + 1), verdict.slice(end + 2)]
  const own = result.matrices.length === 1 ? `${capital(result.matrices[0].verdict.text)}. ` : ''
  return { title: title.replace(/\.$/, ''), more: `${own}${more}`.trim() }
}

const capital = (text: string) => text.charAt(0).toUpperCase() + text.slice(1)

/** The figures over all matrices, as pairs of what and how much. */
export function totalFigures(result: InspectResult): (readonly [string, string])[] {
  const { totals, subject, matrices } = result
  const wasted = matrices.reduce((sum, { adapter }) => sum + (adapter?.wasted ?? 0), 0)
  return [
    [countedSubjects(totals.matrices, subject).replace(/^\S+ /, ''), grouped(totals.matrices)],
    [subject === 'adapter' ? 'entries of B·A' : 'parameters', magnitude(totals.elements)],
    ['stored', bytes(totals.bytes)],
    [subject === 'delta' ? '‖change‖_F' : '‖·‖_F', short(totals.frobenius, 4)],
    ...(totals.relativeChange === undefined
      ? []
      : [['relative change', percent(totals.relativeChange)] as const]),
    ...(subject === 'adapter' ? [['wasted ranks', String(wasted)] as const] : []),
    ...(result.unchanged.length > 0
      ? [['unchanged', counted(result.unchanged.length, 'tensor')] as const]
      : []),
  ]
}

/** 6.74 billion; 123,456. */
function magnitude(n: number): string {
  if (n < 1e6) return grouped(n)
  const [unit, name] = n < 1e9 ? [1e6, 'million'] : [1e9, 'billion']
  return `${Number((n / unit).toPrecision(3))} ${name}`
}

const safe = (text: string) => escaped(printable(text))

export function pageTitle({ source }: InspectResult): string {
  return `${safe(source.path)} – lora-svd inspect`
}

/** All of the page that needs no script, and the places that the script fills. */
export function pageBody(result: InspectResult): string {
  const hasMatrices = result.matrices.length > 0
  return `<a class="skip" href="#matrices">Skip to the table</a>
<header>
${top(result)}
${notices(result)}
</header>
<main>
${hasMatrices ? '<noscript><p class="notice">The charts and the table need JavaScript, which is off.</p></noscript>' : ''}
${hasMatrices ? sections(result) : ''}
${leftOut(result)}
${definitions(result)}
</main>
<footer><p>Made by lora-svd ${safe(version)} (${safe(result.engine)}) in ${short(result.seconds, 3)} s.</p></footer>`
}

function top(result: InspectResult): string {
  const { source, recommended } = result
  const { title, more } = headline(result)
  const base = source.base === undefined ? '' : ` compared with <bdi>${safe(source.base)}</bdi>`
  const figures = totalFigures(result).map(
    ([what, how]) => `<div><dt>${what}</dt><dd>${safe(how)}</dd></div>`,
  )
  const advice =
    recommended &&
    `<div class="advice"><dt>recommended rank</dt><dd>${recommended.rank === undefined ? 'none' : grouped(recommended.rank)}</dd><dd class="reason">${safe(recommended.reason)}</dd></div>`
  return `<div class="bar"><p class="brand">lora-svd <span>inspect</span></p><button type="button" id="theme" hidden>Theme</button></div>
<h1>${safe(title).replace(/(not |partly )?low-rank/g, '<span>$&</span>')}</h1>
${more === '' ? '' : `<p class="more">${safe(more)}</p>`}
<p class="source"><bdi>${safe(source.path)}</bdi>${base}</p>
<dl class="figures">${figures.join('')}${advice ?? ''}</dl>`
}

/** What a reader should know before anything else, line by line. */
export function noticeLines({ warnings, nonFinite, matrices, totals }: InspectResult): string[] {
  const left = totals.matrices - matrices.length
  return [
    ...nonFinite.map(
      ({ name, file, count, first }) =>
        `${name} in ${file} has ${count} entries that are not finite, the first ${first.value} at row ${first.row}, column ${first.column}`,
    ),
    ...warnings,
    ...(left > 0
      ? [
          `${matrices.length} of ${totals.matrices} matrices are shown; what the slider sums up are those that are shown`,
        ]
      : []),
  ]
}

function notices(result: InspectResult): string {
  const lines = noticeLines(result).map((line) => `<li>${safe(line)}</li>`)
  return lines.length === 0 ? '' : `<ul class="notice" aria-label="Warnings">${lines.join('\n')}</ul>`
}

const sections = (result: InspectResult) => `<section aria-labelledby="rank-title" id="rank-section">
<h2 id="rank-title">What a rank takes and leaves</h2>
<p class="lead">Factors B·A of one rank for every ${result.matrices.length === 1 ? 'matrix' : 'matrix; one of lower order gets its order'}.</p>
</section>
${result.matrices.some(({ output }) => output !== undefined) ? '<div id="norm"></div>\n' : ''}<div id="rank-bar"></div>
${costs(result)}
<section aria-labelledby="spectra-title">
<h2 id="spectra-title">Spectra</h2>
<p class="lead">Click a curve, a cell of the heat map or a name in the table to draw a matrix in colour.</p>
<div id="charts"></div>
<div id="legend"></div>
</section>
<section aria-labelledby="layers-title" id="layers">
<h2 id="layers-title">Layers</h2>
<div id="heat-controls"></div>
<div id="heat-maps"></div>
</section>
<section aria-labelledby="matrices" class="wide">
<h2 id="matrices">${result.subject === 'delta' ? 'Deltas' : result.subject === 'adapter' ? 'Modules' : 'Matrices'}</h2>
<div id="matrix-table"></div>
</section>`

function costs({ costs, totals, matrices }: InspectResult): string {
  if (costs.length === 0) return ''
  const dense = matrices.reduce((sum, { shape }) => sum + shape[0] * shape[1], 0)
  const isAll = matrices.length === totals.matrices
  // at the order of every matrix factors stop growing
  const growing = costs.filter(({ parameters }, i) => parameters !== costs[i - 1]?.parameters)
  const rows = growing.map(
    ({ rank, parameters, bytes: size, relativeError }) =>
      `<tr><th scope="row"><button type="button" data-rank="${rank}" aria-label="Rank ${rank}">${rank}</button></th><td>${intervalText(relativeError)}</td><td>${bytes(size)}</td><td>${grouped(parameters)}</td>${isAll ? `<td>${percent(parameters / dense)}</td>` : ''}</tr>`,
  )
  return `<details id="costs" open><summary>Ranks side by side</summary><div class="scroll" tabindex="0" role="region" aria-label="Ranks side by side"><table>
<thead><tr><th scope="col">rank</th><th scope="col">relative error</th><th scope="col">size</th><th scope="col">parameters</th>${isAll ? '<th scope="col">of dense parameters</th>' : ''}</tr></thead>
<tbody>${rows.join('\n')}</tbody></table></div></details>`
}

function leftOut({ unchanged, skipped }: InspectResult): string {
  const lists = [
    unchanged.length > 0 &&
      fold(
        `Unchanged (${unchanged.length})`,
        unchanged.map((name) => `<li><code>${safe(name)}</code></li>`),
      ),
    skipped.length > 0 &&
      fold(
        `Not looked at (${skipped.length})`,
        skipped.map(({ name, reason }) => `<li><code>${safe(name)}</code> <span>${safe(reason)}</span></li>`),
      ),
  ].filter(Boolean)
  if (lists.length === 0) return ''
  return `<section aria-labelledby="left-out"><h2 id="left-out">Left out</h2>${lists.join('\n')}</section>`
}

const fold = (summary: string, items: readonly string[]) =>
  `<details class="list"><summary>${summary}</summary><ul>${items.join('\n')}</ul></details>`

function definitions({ subject, matrices }: InspectResult): string {
  const terms: (readonly [string, string])[] = [
    [
      'Singular values σ',
      'How strongly the matrix acts along each of its own directions, the strongest first.',
    ],
    [
      'Energy',
      'The sum of σ² – the squared Frobenius norm ‖·‖²_F. “90 %” is the least rank whose leading σ² make up 90 % of it.',
    ],
    [
      'Relative error',
      '‖A − A_r‖_F / ‖A‖_F of the best approximation of rank r (Eckart & Young 1936): √(1 − energy kept).',
    ],
    [
      'Numerical rank',
      'How many σ exceed σ₁ · max(rows, columns) · ε of float32 (of float64 for float64 data), as NumPy counts.',
    ],
    ['Stable rank', '‖A‖²_F / σ₁²: never above the rank, and not moved by small σ.'],
    [
      'Effective rank',
      'exp of the entropy of σ / Σσ (Roy & Vetterli 2007): as many equal σ would be as evenly spread.',
    ],
    [
      'Two bounds, as in 0.11 – 0.12 or ≤ 0.12',
      'Not all σ were computed; the true figure lies between. Those that were are lower bounds, and a band shows how much larger they may be.',
    ],
    [
      'Rounding',
      'A σ that counts as zero in the numerical rank, or that the computation can’t tell from zero.',
    ],
    ...(subject === 'delta'
      ? ([
          [
            'Noise floor',
            'The rounding of the stored dtypes alone makes singular values up to this; what lies below can’t be told from it.',
          ],
        ] as const)
      : []),
    ...(matrices.some(({ output }) => output !== undefined)
      ? ([
          [
            'As inputs feel it',
            'Spectra of Δ·C^½, C the second moments of a layer’s inputs: the error at a rank is then that of its outputs.',
          ],
        ] as const)
      : []),
    ...(subject === 'adapter'
      ? ([
          [
            'Wasted',
            'Nominal rank less the numerical rank of B·A: directions the adapter has room for and doesn’t use.',
          ],
          [
            'Scale by loader',
            'By which each program multiplies B·A. Where they differ from the adapter’s own, so does the model that runs.',
          ],
        ] as const)
      : []),
  ]
  if (matrices.length === 0) return ''
  return `<section aria-labelledby="reading"><h2 id="reading">How to read this</h2><dl class="terms">${terms
    .map(([term, meaning]) => `<div><dt>${term}</dt><dd>${meaning}</dd></div>`)
    .join('\n')}</dl></section>`
}
