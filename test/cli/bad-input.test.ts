import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, expect } from 'vitest'
import { PICKLE_PROBLEM } from '../../src/formats/sniff.ts'
import { type ErrorRow, factor, testErrors } from './errors.ts'
import { float64s, npyDict, npyFile, safetensorsFile, tensor, zipFile } from './files.ts'
import { temporaryFolder } from './run.ts'

const folder = temporaryFolder()
mkdirSync(join(folder, 'out'))
const write = (name: string, bytes: Uint8Array | string) => writeFileSync(join(folder, name), bytes)
write('out/old.npz', 'old')
write('W.csv', '1,2\n3,4\n')

afterAll(() => {
  expect(readdirSync(join(folder, 'out'))).toEqual(['old.npz'])
  expect(readFileSync(join(folder, 'out/old.npz'), 'utf8')).toBe('old')
  expect(readdirSync(folder).filter((name) => name.startsWith('.'))).toEqual([])
})

const rows = (name: string, table: readonly ErrorRow[]) => testErrors(name, folder, table)

/** A row on a file, whose name its message begins with. */
const file = (name: string, says: string, more: Partial<ErrorRow> = {}): ErrorRow => {
  const args = more.args ?? factor(name, ...(more.tensor === undefined ? [] : ['--tensor', more.tensor]))
  return { kind: 'bad-input', file: name, ...more, args, says: `${name}: ${says}` }
}

const W_NPY = npyFile(npyDict('<f8', '(2, 2)'), float64s(1, 2, 3, 4))
write('magic.npy', Buffer.from('\x93NUMPX\x01\x00'))
write('version.npy', npyFile(npyDict('<f8', '(2, 2)'), 32, 4))
write('header.npy', npyFile("{'descr': '<f8'", 32))
write('keys.npy', npyFile("{'descr': '<f8', 'shape': (2, 2)}", 32))
write('cut-header.npy', W_NPY.subarray(0, 40))
write('cut.npy', W_NPY.subarray(0, -1))
write('trailing.npy', Buffer.concat([W_NPY, Buffer.alloc(3)]))
write('object.npy', npyFile(npyDict('|O', '(2, 2)'), 32))
write('complex.npy', npyFile(npyDict('<c16', '(2, 2)'), 64))
write('text.npy', npyFile(npyDict('<U3', '(2, 2)'), 48))
write('cube.npy', npyFile(npyDict('<f8', '(2, 2, 2)'), 64))
write('vector.npy', npyFile(npyDict('<f8', '(4,)'), 32))
write('scalar.npy', npyFile(npyDict('<f8', '()'), 8))
write('big.npy', npyFile(npyDict('<f8', '(9007199254740991, 9007199254740991)'), 32))
write('empty-matrix.npy', npyFile(npyDict('<f8', '(0, 5)'), 0))
write('nan.npy', npyFile(npyDict('<f8', '(2, 2)'), float64s(1, Number.NaN, 3, Infinity)))
write('long.npy', npyFile(npyDict('<i8', '(1, 1)'), Buffer.from([1, 0, 0, 0, 0, 0, 0x20, 0])))

rows('npy', [
  file(
    'magic.npy',
    'the file does not start as a .npy file does (93 4E 55 4D 50 59); write it with numpy.save',
  ),
  file('version.npy', 'the file is .npy version 4.0; versions 1.0, 2.0 and 3.0 are read'),
  file(
    'header.npy',
    `the file has a header that can't be read: expected "," or "}" at character 17, found its end`,
  ),
  file(
    'keys.npy',
    'the file has a header with the keys "descr, shape"; expected descr, fortran_order, shape',
  ),
  file('cut-header.npy', 'the file ends after 40 bytes where 70 are expected; copy or save it anew'),
  file('cut.npy', 'the file ends after 101 bytes where 102 are expected; copy or save it anew'),
  file(
    'trailing.npy',
    `the file has 3 bytes after the array's end (105, expected 102 for shape (2, 2)); save it anew with numpy.save`,
  ),
  file(
    'object.npy',
    'the file holds pickled Python objects, which can run code when read; save numbers: numpy.save(file, a.astype("float64"))',
  ),
  file(
    'complex.npy',
    'the file holds complex numbers ("<c16"); save the real part: numpy.save(file, a.real)',
  ),
  file(
    'text.npy',
    'the file holds entries of type "<U3"; float16, float32, float64, integers and bool are read; save a.astype("float64")',
  ),
  file(
    'cube.npy',
    'the file holds a 3-D array of shape (2, 2, 2); a matrix has 2 dimensions: save a.reshape(a.shape[0], -1)',
  ),
  file(
    'vector.npy',
    'the file holds a 1-D array of shape (4,); a matrix has 2 dimensions: save a.reshape(1, -1) for one row, a.reshape(-1, 1) for one column',
  ),
  file('scalar.npy', 'the file holds a single number (shape ()); a matrix has 2 dimensions'),
  file(
    'big.npy',
    'the file has the shape (9007199254740991, 9007199254740991), more entries than any file can hold',
  ),
  file('empty-matrix.npy', 'holds a matrix of 0 × 5; give one with at least a row and a column'),
  file(
    'nan.npy',
    'NaN or infinite entries: 2 of 4, the first (NaN) at row 1, column 2; remove or replace them',
    { kind: 'not-finite' },
  ),
  file(
    'long.npy',
    'the entry at row 1, column 1 is 9007199254740993, past ±2^53 where float64 no longer holds every integer; convert to float64 yourself',
  ),
])

const array = (name: string, bytes: Uint8Array) => ({ name: `${name}.npy`, bytes })
const VECTOR = npyFile(npyDict('<f8', '(1,)'), 8)
write('notes.npz', zipFile([{ name: 'notes.txt', bytes: Buffer.from('hello') }]))
write('pytorch.npz', zipFile([{ name: 'archive/data.pkl', bytes: Buffer.from('\x80\x02.') }]))
write('crc.npz', zipFile([array('W', W_NPY)]))
write('cut.npz', zipFile([array('W', W_NPY)]).subarray(0, -30))
write('vectors.npz', zipFile([{ ...array('v', VECTOR), crc: 0 }]))
write('empty.npz', zipFile([]))

rows('npz', [
  file('notes.npz', 'is a zip archive without .npy arrays; unpack it, or write it with numpy.savez'),
  file('pytorch.npz', PICKLE_PROBLEM),
  file(
    'crc.npz',
    'the zip archive has a damaged member "W.npy": its CRC-32 does not match; copy the file anew',
  ),
  file('cut.npz', 'the zip archive has no end record: it is cut off; copy it anew'),
  file('empty.npz', 'is a zip archive without .npy arrays; unpack it, or write it with numpy.savez'),
  file('crc.npz', 'there is no array "V"; it holds "W"', { tensor: 'V' }),
])

write('ragged.csv', '1,2\n3,4,5\n')
write('word.csv', '1,2\n3,four\n')
write('comma.csv', '1,5;2,5\n3,5;4.5\n')
write('percent.csv', '5%,2\n3,4\n')
write('header.csv', 'a,b\n1,2\n')
write('empty.csv', '')
write('comment.csv', '# nothing here\n')
write('names.csv', 'a,b\n')
write('quote.csv', '1,"2\n')
write('utf16.csv', Buffer.from('\ufeff1,2\n', 'utf16le'))
write('missing.csv', '1,2\n3,\n')
write('zeros.csv', '0,0\n0,0\n')

rows('text', [
  file('ragged.csv', 'line 2 has 3 cells, line 1 has 2; give every row as many'),
  file('word.csv', 'line 2, column 2: "four" is not a number; remove or replace it'),
  file(
    'comma.csv',
    'line 2, column 2: "4.5" is not a number; other cells have decimal commas: write all decimals with a point',
  ),
  file(
    'percent.csv',
    'line 1, column 1: "5%" is not a number; write it as a share; if the row holds names, say --header yes',
  ),
  file('header.csv', 'line 1, column 1: "a" is not a number; remove or replace it', {
    args: factor('header.csv', '--header', 'no'),
  }),
  file('empty.csv', 'holds a matrix of 0 × 0; give one with at least a row and a column'),
  file('comment.csv', 'holds a matrix of 0 × 0; give one with at least a row and a column'),
  file('names.csv', 'holds a matrix of 0 × 2; give one with at least a row and a column'),
  file(
    'quote.csv',
    'line 1 has a quote at character 3 that is not closed on its line; close it or remove it',
  ),
  file('utf16.csv', `is UTF-16 text, as PowerShell's > writes; save it as UTF-8`),
  file(
    'missing.csv',
    'NaN or infinite entries: 1 of 4, the first (NaN) at row 2, column 2; remove or replace them',
    { kind: 'not-finite' },
  ),
  file('W.csv', 'holds one matrix without a name; leave out --tensor "W"', {
    args: factor('W.csv', '--tensor', 'W'),
  }),
])

write('model.pkl', Buffer.from('\x80\x04\x95', 'latin1'))
write('model.pt', zipFile([{ name: 'archive/data.pkl', bytes: Buffer.from('\x80\x02.') }]))
write('model.gguf', 'GGUF\x03\0\0\0')
write('model.h5', Buffer.from('\x89HDF\r\n\x1a\n', 'latin1'))
write('model.bin', Buffer.from([1, 2, 3, 0, 255]))
write('page.csv', '<!DOCTYPE html>')
write('config.json', '{"r": 8}')
write('W.npy.gz', Buffer.from([0x1f, 0x8b, 8, 0]))
write('pointer.safetensors', 'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n')
symlinkSync('loop', join(folder, 'loop'))

rows('files that are something else', [
  file('model.pkl', PICKLE_PROBLEM),
  file('model.pt', PICKLE_PROBLEM),
  file(
    'model.gguf',
    'the file has a GGUF header that asks for 8 bytes at byte 8, and ends at byte 8: it is cut off or damaged; fetch it again',
  ),
  file(
    'model.h5',
    'is an HDF5 file (Keras, MATLAB 7.3); save the matrix with numpy.save(file, h5py.File(path)["name"][()])',
  ),
  file(
    'model.bin',
    'is binary, of no format known here; .npy, .npz, safetensors and text (csv, tsv) are read',
  ),
  file('page.csv', 'is HTML or XML, perhaps an error page; download the file itself'),
  file('config.json', 'is JSON; name the safetensors, .npy or text file that holds the numbers'),
  file('W.npy.gz', 'is compressed; unpack it first (gunzip)'),
  file('pointer.safetensors', 'is a Git LFS pointer, not the file itself; fetch that with git lfs pull'),
  file(
    'out',
    'is a folder without a safetensors file; name one that holds a checkpoint, or a file inside it',
  ),
  file('missing.npy', 'no such file; check the path'),
  file('W.csv/W.npy', `can't open it: a part of the path is a file, not a folder (ENOTDIR)`),
  file('loop', `can't open it: its symbolic links go in a circle (ELOOP)`),
  file(`${'n'.repeat(300)}.npy`, "can't open it: the name is too long for this file system (ENAMETOOLONG)"),
  ...(process.platform === 'linux'
    ? [
        file('/proc/self/mem', `can't read it: the device reports an input/output error (EIO)`, {
          kind: 'system',
          code: 3,
        }),
      ]
    : []),
])

write(
  'model.safetensors',
  safetensorsFile(
    {
      'layers.0.up.weight': tensor('F32', [2, 3], [0, 24]),
      'layers.0.down.weight': tensor('F16', [3, 2], [24, 36]),
      'layers.0.up.bias': tensor('F32', [2], [36, 44]),
      'layers.0.ids': tensor('I64', [1, 1], [44, 52]),
    },
    52,
  ),
)
write('integers.safetensors', safetensorsFile({ ids: tensor('I32', [2, 2], [0, 16]) }, 16))
write('none.safetensors', safetensorsFile('{}      '))
write('large.npy', npyFile(npyDict('<f8', '(1, 1)'), float64s(7e4)))
write('huge.npy', npyFile(npyDict('<f8', '(1, 1)'), float64s(1e300)))

rows('which tensor, and its numbers', [
  file(
    'model.safetensors',
    'holds 2 matrices; choose one with --tensor: "layers.0.up.weight" F32 [2, 3], "layers.0.down.weight" F16 [3, 2]',
  ),
  file(
    'model.safetensors',
    'there is no tensor "layers.0.up.weigth"; did you mean "layers.0.up.weight", "layers.0.up.bias", "layers.0.down.weight"?',
    { tensor: 'layers.0.up.weigth' },
  ),
  file(
    'model.safetensors',
    'there is no tensor "zzz"; it holds "layers.0.up.weight" F32 [2, 3], "layers.0.down.weight" F16 [3, 2], "layers.0.up.bias" F32 [2], "layers.0.ids" I64 [1, 1]',
    { tensor: 'zzz' },
  ),
  file(
    'model.safetensors',
    'tensor "layers.0.up.bias" has the shape [2]; a matrix has 2 dimensions, as "layers.0.up.weight" F32 [2, 3], "layers.0.down.weight" F16 [3, 2] have',
    { tensor: 'layers.0.up.bias' },
  ),
  file(
    'model.safetensors',
    'tensor "layers.0.ids" can\'t be read as a matrix: stored as I64, which is no float type; F64, F32, F16, BF16 and F8 are read',
    { tensor: 'layers.0.ids' },
  ),
  file('integers.safetensors', 'holds no matrix of F64, F32, F16, BF16 or F8; it holds "ids" I32 [2, 2]'),
  file('none.safetensors', 'holds no tensors'),
  {
    args: factor('large.npy', '--dtype', 'f16'),
    says: 'lora_B has an entry of 7.00e+4, too large for f16; use --dtype bf16 or f32',
    kind: 'bad-input',
    tensor: 'lora_B',
  },
  {
    args: factor('huge.npy', '--dtype', 'f32'),
    says: 'lora_B has an entry of 1.00e+300, too large for f32; use --dtype f64',
    kind: 'bad-input',
    tensor: 'lora_B',
  },
])

const to = (out: string, ...more: string[]) => ({
  args: ['factor', 'W.csv', '-o', out, '--rank', '1', ...more],
  kind: 'bad-input' as const,
  file: out,
})

mkdirSync(join(folder, 'folder.npz'))
rows('where the output goes', [
  {
    ...to('out/old.npz'),
    kind: 'output-exists',
    says: 'out/old.npz: exists already; add --force to replace it',
  },
  {
    ...to('nowhere/x.npz'),
    says: 'nowhere/x.npz: the folder nowhere does not exist; create it first (mkdir -p)',
  },
  { ...to('folder.npz'), says: 'folder.npz: is a folder; name a file inside it' },
  { ...to('folder.npz', '--force'), says: 'folder.npz: is a folder; name a file inside it' },
  { ...to('W.csv/x.npz'), says: 'W.csv/x.npz: W.csv is not a folder' },
])

rows('standard input', [
  {
    args: factor('-'),
    says: 'standard input: holds a matrix of 0 × 0; give one with at least a row and a column',
    kind: 'bad-input',
    file: 'standard input',
  },
  {
    args: factor('-'),
    input: 'one two',
    says: 'standard input: holds a matrix of 0 × 2; give one with at least a row and a column',
    kind: 'bad-input',
    file: 'standard input',
  },
  {
    args: factor('-', '--rank', '2'),
    input: '1 2',
    says: '--rank 2: standard input is 1 × 2, so its rank is 1 at most; use --rank 1 or less',
  },
  {
    args: factor('-'),
    input: 'nan 1',
    says: 'standard input: NaN or infinite entries: 1 of 2, the first (NaN) at row 1, column 1; remove or replace them',
    kind: 'not-finite',
    file: 'standard input',
  },
  {
    args: factor('-', '--tensor', 'W'),
    input: W_NPY,
    says: 'standard input: holds one matrix without a name; leave out --tensor "W"',
    kind: 'bad-input',
    file: 'standard input',
  },
])
