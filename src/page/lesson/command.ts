import { button, byId, html } from '../../browser/dom.ts'
import { DEFAULTS } from '../../commands/demo/options.ts'
import { type Choices, type Lesson, optionsOf } from './lesson.ts'

/** The command that finds the same numbers, and its document. */
export function showCommand(lesson: Lesson): void {
  const line = byId('command')
  const copy = button('Copy', () => copied(copy, line.textContent ?? ''), { id: 'copy-command' })
  line.after(copy)
  lesson.onChoice((chosen) => {
    line.textContent = commandOf(chosen)
  })
  showDocument(lesson)
}

/** The JSON document, made when it is asked for: it has all the matrices. */
function showDocument(lesson: Lesson): void {
  const details = byId('numbers') as HTMLDetailsElement
  const text = html('pre', {
    id: 'document',
    class: 'text-box',
    tabindex: 0,
    'aria-label': 'The JSON document',
  })
  const save = html('a', { id: 'save-document', download: 'demo.json' }, 'Save as demo.json')
  let address = ''
  details.append(html('p', {}, save), html('div', { class: 'scroll' }, text))
  async function fill(): Promise<void> {
    if (!details.open) return
    const found = await lesson.worker.ask<string>('document', optionsOf(lesson.choices()))
    text.textContent = found
    URL.revokeObjectURL(address)
    address = URL.createObjectURL(new Blob([found], { type: 'application/json' }))
    save.href = address
  }
  details.addEventListener('toggle', fill)
  lesson.onRun(() => void fill())
}

/** `lora-svd demo` with the options that aren't its defaults. */
export function commandOf(chosen: Choices): string {
  const given = Object.entries({ ...DEFAULTS, truncate: undefined }).flatMap(([name, standard]) => {
    const value = chosen[name as keyof Choices]
    return value === standard || value === undefined ? [] : [`--${name} ${value}`]
  })
  return ['lora-svd demo', ...given].join(' ')
}

/** How long a button says that it has copied. */
const SAID_MS = 1500

function copied(by: HTMLButtonElement, text: string): void {
  const label = by.textContent
  const say = (what: string) => {
    by.textContent = what
    setTimeout(() => {
      by.textContent = label
    }, SAID_MS)
  }
  navigator.clipboard.writeText(text).then(
    () => say('Copied'),
    () => say('Not allowed here'),
  )
}
