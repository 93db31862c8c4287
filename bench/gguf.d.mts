export interface FloatTensor {
  readonly shape: readonly number[]
  readonly data: Float32Array
}

export type GgufKey =
  | readonly [key: string, type: 'u32' | 'i32' | 'f32', value: number | readonly number[]]
  | readonly [key: string, type: 'string', value: string | readonly string[]]

export function ggufName(module: string): string
export function neighbouringRows(tensor: FloatTensor, heads: number): FloatTensor
export function ggufFile(
  keys: readonly GgufKey[],
  tensors: readonly (FloatTensor & { readonly name: string })[],
): Buffer
export function readTensors(path: string): Map<string, FloatTensor>
export function modelGguf(folder: string, replaced?: ReadonlyMap<string, FloatTensor>): Buffer
export function wholeTensors(folder: string): Map<string, FloatTensor>
export function adapterGguf(folder: string, base: string, options?: { readonly turnsRows?: boolean }): Buffer
