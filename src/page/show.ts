import { byId, html, themeButton } from '../browser/dom.ts'
import { showLesson } from './lesson/show.ts'
import { useProgram } from './program.ts'
import { mountWeights } from './weights/mount.ts'

/** Put here by the build: the licences of the packages that are in the page. */
declare const EMBEDDED_LICENCES: string

/** Shows the page, whose script this is. */
export function showPage(): void {
  const program = document.currentScript?.textContent ?? ''
  useProgram(URL.createObjectURL(new Blob([program], { type: 'text/javascript' })))
  themeButton(byId('theme'))
  showLesson()
  mountWeights(byId('weights'))
  const licences = byId('licences')
  licences.addEventListener(
    'toggle',
    () =>
      licences.append(
        html('pre', { class: 'text-box', tabindex: 0, 'aria-label': 'Licences' }, EMBEDDED_LICENCES),
      ),
    {
      once: true,
    },
  )
}
