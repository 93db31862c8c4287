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
