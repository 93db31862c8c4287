/** Calls `draw` now, and whenever the room of the element or the colours of the page are other ones: another width, another theme, paper. */
export function onLook(element: HTMLElement, draw: () => void): void {
  let width = -1
  new ResizeObserver(() => {
    if (element.clientWidth === width) return
    width = element.clientWidth
    draw()
  }).observe(element)
  new MutationObserver(draw).observe(document.documentElement, { attributeFilter: ['data-theme'] })
  window.matchMedia('(prefers-color-scheme: dark)').addEventListener('change', draw)
  window.matchMedia('print').addEventListener('change', draw)
  window.addEventListener('beforeprint', draw)
}
