import { byId, themeButton } from '../browser/dom.ts'
import { showLesson } from './lesson/show.ts'
import { useProgram } from './program.ts'
import { mountWeights } from './weights/mount.ts'

/** Shows the page, whose script this is. */
export function showPage(): void {
  const program = document.currentScript?.textContent ?? ''
  useProgram(URL.createObjectURL(new Blob([program], { type: 'text/javascript' })))
  themeButton(byId('theme'))
  showLesson()
  mountWeights(byId('weights'))
}
