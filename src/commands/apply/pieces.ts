import { join } from 'node:path'
import { bytesPerElement } from '../../formats/dtype.ts'
import { bitsPerElement } from '../../formats/safetensors-dtype.ts'
import { ofMatrix } from '../../update/change.ts'
import type { CopyWork, Piece } from '../../update/piece.ts'
import type { OutputFile, PlacedTensor } from './files.ts'

/**
 * Bytes of a piece: few enough that several threads have work to the end and that little is done twice after a kill, enough that what
 * each takes besides (messages, files opened, factors read) doesn't show.
 */
const PIECE_BYTES = 32 * 2 ** 20

/** The work that fills the files in `folder`, in pieces whose bounds depend on the plan alone. */
export const piecesOf = (files: readonly OutputFile[], folder: string): Piece[] =>
  files.flatMap((file) =>
    joined(file.tensors.flatMap((placed) => piecesOfTensor(placed, join(folder, file.name)))),
  )

function piecesOfTensor({ tensor, begin, bytes }: PlacedTensor, file: string): Piece[] {
  const { name, content } = tensor
  if (bytes === 0) return []
  const piece = (at: number, length: number, work: Piece['work']): Piece => ({
    name,
    to: { file, begin: begin + at, bytes: length },
    work,
  })
  if (content.kind === 'change') {
    const { change, dtype } = content
    const { matrices, rows, columns } = change
    const rowBytes = columns * bytesPerElement(dtype)
    return Array.from({ length: matrices }, (_, matrix) => {
      const own = ofMatrix(change, matrix)
      return spans(rows, Math.max(1, Math.floor(PIECE_BYTES / rowBytes))).map(([first, count]) =>
        piece((matrix * rows + first) * rowBytes, count * rowBytes, {
          ...{ kind: 'change', change: own, dtype, range: { matrix, first, count } },
        }),
      )
    }).flat()
  }
  if (content.kind === 'convert') {
    const size = bytesPerElement(content.dtype)
    const { tensor, dtype } = content
    const count = (tensor.bytes * 8) / bitsPerElement(tensor.dtype)
    return spans(count, PIECE_BYTES / size).map(([first, entries]) =>
      piece(first * size, entries * size, { kind: 'convert', tensor, first, dtype }),
    )
  }
  const { source } = content.tensor
  return spans(bytes, PIECE_BYTES).map(([first, length]) =>
    piece(first, length, { kind: 'copy', source, begin: first }),
  )
}

function spans(count: number, most: number): [first: number, count: number][] {
  const all: [number, number][] = []
  for (let first = 0; first < count; first += most) all.push([first, Math.min(most, count - first)])
  return all
}

/** The pieces of one file with copies that lie after each other, here and there, made one: norms and the like are many and small. */
function joined(pieces: readonly Piece[]): Piece[] {
  const all: Piece[] = []
  for (const piece of pieces) {
    const last = all.at(-1)
    const both = last === undefined ? undefined : together(last, piece)
    if (both === undefined) all.push(piece)
    else all[all.length - 1] = both
  }
  return all
}

function together(a: Piece, b: Piece): Piece | undefined {
  const bytes = a.to.bytes + b.to.bytes
  if (a.work.kind !== 'copy' || b.work.kind !== 'copy' || bytes > PIECE_BYTES) return undefined
  const [from, next] = [rangeOf(a.work), rangeOf(b.work)]
  if (from === undefined || next === undefined || from.file !== next.file) return undefined
  if (a.to.begin + a.to.bytes !== b.to.begin || from.begin + a.to.bytes !== next.begin) return undefined
  const source = { kind: 'range', file: from.file, begin: from.begin, end: from.begin + bytes } as const
  return { name: a.name, to: { ...a.to, bytes }, work: { kind: 'copy', source, begin: 0 } }
}

const rangeOf = ({ source, begin }: CopyWork) =>
  source.kind === 'range' ? { file: source.file, begin: source.begin + begin } : undefined
