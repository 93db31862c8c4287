/** What packages and platforms have and their own types leave out. */

/** The package's types name only its index; this file of it is the ARC4 generator alone. */
declare module 'seedrandom/seedrandom.js' {
  export default function arc4(seed: string): () => number
}

/** The part of the WebAssembly JavaScript interface used here: TypeScript has it only in its browser library. */
declare namespace WebAssembly {
  class Memory {
    constructor(descriptor: { initial: number; maximum: number; shared: true })
    readonly buffer: SharedArrayBuffer
    /** Adds pages of 64 KiB; returns the number there were. Throws RangeError when refused. */
    grow(pages: number): number
  }

  class Module {
    constructor(bytes: Uint8Array)
  }

  class Instance {
    constructor(module: Module, imports: { env: { memory: Memory } })
    readonly exports: Record<string, unknown>
  }
}
