import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, expect } from 'vitest'
import { factor, testErrors } from './errors.ts'
import { safetensorsFile, tensor } from './files.ts'
import { temporaryFolder } from './run.ts'

const folder = temporaryFolder()
mkdirSync(join(folder, 'out'))

afterAll(() => {
  expect(readdirSync(join(folder, 'out'))).toEqual([])
})

const F32 = tensor('F32', [2, 2], [0, 16])

/** Each is 2 × 2 of F32 but for one thing. */
const entry = (fields: object) => safetensorsFile({ W: { ...F32, ...fields } }, 16)
const header = (problem: string) => `the file has a wrong header: ${problem}`

const BROKEN: readonly { name: string; bytes: Uint8Array; says: string; tensor?: string }[] = [
  {
    name: 'short',
    bytes: Buffer.alloc(4),
    says: 'the file is 4 bytes long; a safetensors file has at least 8',
  },
  {
    name: 'huge-header',
    bytes: Buffer.from([0, 0xe1, 0xf5, 0x05, 1, 0, 0, 0, 0x7b]),
    says: 'the file announces a header of 4394967296 bytes; at most 100000000 are allowed: it is damaged or no safetensors file',
  },
  {
    name: 'cut-header',
    bytes: safetensorsFile({ W: F32 }, 16).subarray(0, 30),
    says: 'the file announces a header of 57 bytes but has 22 after its first 8: it is cut off; fetch it again',
  },
  {
    name: 'cut',
    bytes: safetensorsFile({ W: F32 }, 15),
    says: 'the file has 15 bytes of data, the header speaks of 16: it is cut off; fetch it again',
  },
  {
    name: 'trailing',
    bytes: safetensorsFile({ W: F32 }, 17),
    says: 'the file has 17 bytes of data, the header speaks of 16: bytes are left over',
  },
  {
    name: 'not-utf8',
    bytes: safetensorsFile('{"W":"12"}').fill(0xff, 14, 16),
    says: 'the header is not UTF-8 text: it is damaged or no safetensors file',
  },
  {
    name: 'byte-order-mark',
    bytes: safetensorsFile('   \ufeff{}'),
    says: header('expected "{", found "\\u{feff}{}" at character 4'),
  },
  {
    name: 'no-object',
    bytes: safetensorsFile('   []'),
    says: header('expected "{", found "[]" at character 4'),
  },
  {
    name: 'no-json',
    bytes: safetensorsFile('{"W":{"dtype":F32}}'),
    says: header('expected "\\"", found "F32}}" at character 15 (in "W")'),
    tensor: 'W',
  },
  {
    name: 'twice',
    bytes: safetensorsFile(`{"W":${JSON.stringify(F32)},"W":${JSON.stringify(F32)}}`, 16),
    says: header('the name comes twice at character 62 (in "W")'),
    tensor: 'W',
  },
  {
    name: 'metadata',
    bytes: safetensorsFile({ __metadata__: { step: 7 }, W: F32 }, 16),
    says: header('expected "\\"", found "7},\\"W\\":{\\"dty" at character 25 (in "__metadata__")'),
    tensor: '__metadata__',
  },
  ...(['dtype', 'shape', 'data_offsets'] as const).map((field) => ({
    name: `no-${field}`,
    bytes: entry({ [field]: undefined }),
    says: header(`${field} is missing at character ${field === 'data_offsets' ? 35 : 43} (in "W")`),
    tensor: 'W',
  })),
  {
    name: 'dtype',
    bytes: entry({ dtype: 'F33' }),
    says: header('the dtype "F33" is unknown at character 20 (in "W")'),
    tensor: 'W',
  },
  {
    name: 'negative',
    bytes: entry({ shape: [-2, 2] }),
    says: header('expected a non-negative integer, found "-2,2],\\"data_" at character 30 (in "W")'),
    tensor: 'W',
  },
  {
    name: 'fraction',
    bytes: entry({ shape: [2.5, 2] }),
    says: header('expected a non-negative integer, found "2.5,2],\\"data" at character 30 (in "W")'),
    tensor: 'W',
  },
  {
    name: 'past-2^53',
    bytes: safetensorsFile('{"W":{"dtype":"F32","shape":[2,9007199254740993]}}'),
    says: header('expected an integer below 2^53, found 9007199254740993 at character 32 (in "W")'),
    tensor: 'W',
  },
  {
    name: 'offsets',
    bytes: entry({ data_offsets: [0, 8, 16] }),
    says: header('data_offsets has 3 numbers, expected 2 at character 59 (in "W")'),
    tensor: 'W',
  },
  {
    name: 'overflow',
    bytes: entry({ shape: [2, 2 ** 52, 2] }),
    says: 'tensor "W" has the shape [2, 4503599627370496, 2], more elements than a file can hold',
    tensor: 'W',
  },
  {
    name: 'hole',
    bytes: safetensorsFile({ W: F32, X: tensor('F32', [1, 1], [20, 24]) }, 24),
    says: 'tensor "X" starts at byte 20 of the data, expected 16 (a hole)',
    tensor: 'X',
  },
  {
    name: 'overlap',
    bytes: safetensorsFile({ W: F32, X: tensor('F32', [1, 1], [12, 16]) }, 16),
    says: 'tensor "X" starts at byte 12 of the data, expected 16 (an overlap)',
    tensor: 'X',
  },
  {
    name: 'backwards',
    bytes: safetensorsFile({ V: F32, W: tensor('F32', [2, 2], [16, 8]) }, 16),
    says: 'tensor "W" ends at byte 8 of the data, before its start at 16',
    tensor: 'W',
  },
  {
    name: 'half-bytes',
    bytes: safetensorsFile({ W: tensor('F4', [1, 3], [0, 1]) }, 1),
    says: 'tensor "W" of shape [1, 3] and dtype F4 takes 12 bits, not whole bytes',
    tensor: 'W',
  },
  {
    name: 'size',
    bytes: safetensorsFile({ W: tensor('F32', [2, 2], [0, 12]) }, 12),
    says: 'tensor "W" has 12 bytes of data; its shape [2, 2] and dtype F32 need 16',
    tensor: 'W',
  },
]

testErrors(
  'safetensors: each rule of the format broken once',
  folder,
  BROKEN.map(({ name, bytes, says, tensor }) => {
    const file = `${name}.safetensors`
    writeFileSync(join(folder, file), bytes)
    const row = { args: factor(file), says: `${file}: ${says}`, kind: 'bad-input', file } as const
    return tensor === undefined ? row : { ...row, tensor }
  }),
)
