/** Stands for io/built-file.ts: what the build makes is in the page's program itself. */

export const builtFile = (name: string): URL => new URL(`built:${name}`)

export function assertBuilt(_url: URL, _problem: string): void {}

export function withBuilt<T>(name: string): T {
  throw new Error(`${name} is not in the page's program`)
}
