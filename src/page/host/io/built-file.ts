/** Stands for io/built-file.ts: what the build makes is in the page's program itself. */

/** Put here by the page's build: engine.wasm in hexadecimal, which deflates to three quarters of what base64 does. */
declare const KERNELS_IN_HEX: string

export const builtFile = (name: string): URL => new URL(`built:${name}`)

export function assertBuilt(_url: URL, _problem: string): void {}

export function withBuilt<T>(name: string, use: (bytes: Buffer<ArrayBuffer>) => T): T {
  if (name !== 'engine.wasm') throw new Error(`${name} is not in the page's program`)
  const byte = (_: unknown, i: number) => Number.parseInt(KERNELS_IN_HEX.slice(2 * i, 2 * i + 2), 16)
  const bytes = Uint8Array.from({ length: KERNELS_IN_HEX.length / 2 }, byte)
  // they are compiled, and nothing that a Buffer has besides is asked of them
  return use(bytes as Buffer<ArrayBuffer>)
}
