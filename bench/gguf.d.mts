export interface FloatTensor {
  readonly shape: readonly number[]
  readonly data: Float32Array
}

export type GgufKey =
  | readonly [key: string, type: 'u32' | 'i32' | 'f32', value: number | readonly number[]]
  | readonly [key: string, type: 'string', value: string | readonly string[]]

export function ggufName(module: string): string
export function neighbouringRows(tensor: FloatTensor, heads: number): FloatTensor
export function q4_0(data: Float32Array): Buffer
export function ggufFile(
  keys: readonly GgufKey[],
  tensors: readonly (FloatTensor & { readonly name: string; readonly inBlocks?: boolean })[],
): Buffer
export function readTensors(path: string): Map<string, FloatTensor>
export function modelGguf(
  folder: string,
  replaced?: ReadonlyMap<string, FloatTensor>,
  isInBlocks?: (name: string) => boolean,
): Buffer
export function wholeTensors(folder: string): Map<string, FloatTensor>
export function adapterGguf(folder: string, base: string, options?: { readonly turnsRows?: boolean }): Buffer
