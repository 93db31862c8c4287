type Child = Node | string | undefined | false
type Attributes = Readonly<Record<string, string | number | boolean | undefined>>

const SVG = 'http://www.w3.org/2000/svg'

function filled<E extends Element>(element: E, attributes: Attributes, children: readonly Child[]): E {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== false)
      element.setAttribute(name, value === true ? '' : String(value))
  }
  // append takes strings as text: nothing in a name is markup
  element.append(...children.filter((child) => child !== undefined && child !== false))
  return element
}

export const html = <K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] => filled(document.createElement(tag), attributes, children)

export const svg = <K extends keyof SVGElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: Child[]
): SVGElementTagNameMap[K] => filled(document.createElementNS(SVG, tag), attributes, children)

/** A name that may break over lines after its dots and underscores, where it is read in parts anyway. */
export const breakable = (name: string): Child[] =>
  name.split(/(?<=[._/])/).flatMap((part, i) => (i === 0 ? [part] : [html('wbr'), part]))

/** The element of the page with this id, which the page always has. */
export function byId(id: string): HTMLElement {
  const element = document.getElementById(id)
  if (!element) throw new Error(`the page lacks #${id}`)
  return element
}

export function button(label: Child, onClick: () => void, attributes: Attributes = {}): HTMLButtonElement {
  const element = html('button', { type: 'button', ...attributes }, label)
  element.addEventListener('click', onClick)
  return element
}

/** Two or more exclusive choices side by side. */
export function choices<T extends string>(
  label: string,
  options: readonly (readonly [T, string])[],
  chosen: T,
  onChange: (value: T) => void,
): HTMLElement {
  const buttons = options.map(([value, text]) => {
    const choose = button(
      text,
      () => {
        for (const other of buttons) other.setAttribute('aria-pressed', String(other === choose))
        onChange(value)
      },
      { 'aria-pressed': String(value === chosen), 'data-value': value },
    )
    return choose
  })
  return html(
    'div',
    { class: 'choices', role: 'group', 'aria-label': label },
    html('span', { 'aria-hidden': 'true' }, label),
    ...buttons,
  )
}

/** Shows which of the choices holds, where it was set elsewhere. */
export function press(group: HTMLElement, value: string): void {
  for (const each of group.querySelectorAll('button')) {
    each.setAttribute('aria-pressed', String(each.dataset.value === value))
  }
}

/** A button between the system's theme, light and dark. Nothing is stored: a report says nothing of its reader. */
export function themeButton(host: HTMLElement): void {
  const root = document.documentElement
  const prefersDark = window.matchMedia('(prefers-color-scheme: dark)')
  const isDark = () => (root.dataset.theme ? root.dataset.theme === 'dark' : prefersDark.matches)
  const say = () => {
    host.textContent = isDark() ? 'Light theme' : 'Dark theme'
  }
  host.addEventListener('click', () => {
    root.dataset.theme = isDark() ? 'light' : 'dark'
    say()
  })
  prefersDark.addEventListener('change', say)
  host.hidden = false
  say()
}
