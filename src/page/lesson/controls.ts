import { html } from '../../browser/dom.ts'
import { short } from '../../text/numbers.ts'

/** The stops of a slider and the values at them. */
export interface Scale {
  readonly stops: number
  valueAt(stop: number): number
  stopOf(value: number): number
}

export const integers = (least: number, most: number): Scale => ({
  stops: most - least,
  valueAt: (stop) => least + stop,
  stopOf: (value) => value - least,
})

/** 0, then powers of ten from `low` to `high` with `per` stops a decade, in two digits. */
export function decades(low: number, high: number, per: number): Scale {
  const stops = (high - low) * per + 1
  return {
    stops,
    valueAt: (stop) => (stop === 0 ? 0 : Number((10 ** (low + (stop - 1) / per)).toPrecision(2))),
    stopOf: (value) =>
      value > 0 ? Math.min(stops, Math.max(1, Math.round((Math.log10(value) - low) * per) + 1)) : 0,
  }
}

export interface Control {
  readonly element: HTMLElement
  /** Shows a value, without calling back; `scale` where the limits are other ones now. */
  show(value: number, scale?: Scale): void
}

/** A number to set: by a slider, or by typing. `id` is the slider's; `say` is what stands for the value in the field. */
export function control(
  id: string,
  label: string,
  firstScale: Scale,
  onInput: (value: number) => void,
  isValid: (value: number) => boolean,
): Control {
  let scale = firstScale
  let shown = Number.NaN
  const slider = html('input', { type: 'range', id, min: 0, step: 1, max: scale.stops })
  const field = html('input', {
    type: 'text',
    inputmode: 'decimal',
    id: `${id}-number`,
    'aria-label': `${label}, as a number`,
    autocomplete: 'off',
    spellcheck: 'false',
  })
  slider.addEventListener('input', () => onInput(scale.valueAt(Number(slider.value))))
  field.addEventListener('change', () => {
    const value = Number(field.value)
    if (field.value.trim() !== '' && Number.isFinite(value) && isValid(value)) onInput(value)
    field.value = textOf(shown)
  })
  return {
    element: html('div', { class: 'control' }, html('label', { for: id }, label), slider, field),
    show(value, newScale = scale) {
      scale = newScale
      shown = value
      slider.max = String(scale.stops)
      slider.disabled = scale.stops < 1
      slider.value = String(scale.stopOf(value))
      slider.setAttribute('aria-valuetext', textOf(value))
      field.value = textOf(value)
    },
  }
}

const textOf = (value: number) => (Number.isInteger(value) && value !== 0 ? String(value) : short(value, 17))

/** A row of figures under their names; `show` sets one. */
export function figures(names: Readonly<Record<string, string>>): {
  readonly element: HTMLElement
  show(texts: Readonly<Record<string, string>>): void
} {
  const values = new Map<string, HTMLElement>()
  const items = Object.entries(names).map(([id, name]) => {
    const value = html('dd', { id })
    values.set(id, value)
    return html('div', {}, html('dt', {}, name), value)
  })
  return {
    element: html('dl', { class: 'found' }, ...items),
    show(texts) {
      for (const [id, text] of Object.entries(texts)) values.get(id)!.textContent = text
    },
  }
}
