/** The package's types name only its index; this file of it is the ARC4 generator alone. */
declare module 'seedrandom/seedrandom.js' {
  export default function arc4(seed: string): () => number
}
