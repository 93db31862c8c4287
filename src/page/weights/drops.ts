import { button, html } from '../../browser/dom.ts'
import { bytes } from '../../text/numbers.ts'
import { counted, printable } from '../../text/quote.ts'
import type { Entry } from './arrange.ts'
import { entriesOfDrop, entriesOfInput } from './dropped.ts'

/** A place where files are dropped, or chosen by its buttons. */
export interface Drop {
  readonly element: HTMLElement
  entries(): readonly Entry[]
  set(entries: readonly Entry[]): void
  /** Takes what a drop brings, wherever on the page it was dropped. */
  take(transfer: DataTransfer): Promise<void>
}

interface DropOptions {
  readonly id: string
  readonly title: string
  readonly note: string
}

export function dropPlace({ id, title, note }: DropOptions, changed: () => void): Drop {
  let held: readonly Entry[] = []
  const inputOf = (kind: 'files' | 'folder') => {
    const input = html('input', {
      type: 'file',
      id: `${id}-${kind}`,
      multiple: true,
      hidden: true,
      webkitdirectory: kind === 'folder',
      'aria-label': `${title}: ${kind}`,
    })
    input.addEventListener('change', () => {
      if (input.files?.length) set(entriesOfInput(input))
      // the same again is a change too
      input.value = ''
    })
    return input
  }
  const [files, folder] = [inputOf('files'), inputOf('folder')]
  const what = html('p', { class: 'held', 'aria-live': 'polite' })
  const clear = button('Remove', () => set([]), { 'aria-label': `Remove: ${title}`, hidden: true })
  const element = html(
    'div',
    { class: 'drop', id, role: 'group', 'aria-labelledby': `${id}-title` },
    html('h3', { id: `${id}-title` }, title),
    html('p', { class: 'lead' }, note),
    html(
      'p',
      { class: 'ways' },
      button('Choose files', () => files.click(), { 'aria-label': `Choose files: ${title}` }),
      button('Choose a folder', () => folder.click(), { 'aria-label': `Choose a folder: ${title}` }),
      clear,
    ),
    what,
    files,
    folder,
  )
  element.addEventListener('dragover', () => element.classList.add('over'))
  element.addEventListener('dragleave', () => element.classList.remove('over'))
  element.addEventListener('drop', () => element.classList.remove('over'))

  function set(entries: readonly Entry[]): void {
    held = entries
    show()
    changed()
  }

  function show(): void {
    clear.hidden = held.length === 0
    what.textContent = heldText(held)
  }

  return {
    element,
    entries: () => held,
    set(entries) {
      held = entries
      show()
    },
    take: async (transfer) => set(await entriesOfDrop(transfer)),
  }
}

/** Names shown at most. */
const NAMED = 3

function heldText(entries: readonly Entry[]): string {
  if (entries.length === 0) return ''
  const size = entries.reduce((sum, { file }) => sum + file.size, 0)
  const roots = [...new Set(entries.map(({ path }) => path.replace(/\/.*/s, '/')))]
  const names = roots.slice(0, NAMED).map(printable).join(', ')
  const more = roots.length > NAMED ? ` and ${roots.length - NAMED} more` : ''
  return `${names}${more}: ${counted(entries.length, 'file')}, ${bytes(size)}`
}
