import { zipFrame } from '../../formats/npz.ts'
import { crc32 } from '../../formats/zip.ts'
import type { Made } from './messages.ts'

/** Bytes whose checksum is taken at a time. */
const STEP = 16 * 2 ** 20

async function checksumOf(blob: Blob): Promise<number> {
  let crc = 0
  for (let at = 0; at < blob.size; at += STEP) {
    crc = crc32(new Uint8Array(await blob.slice(at, at + STEP).arrayBuffer()), crc)
  }
  return crc
}

/** The files in one archive, in a folder of its name. Their bytes stay where the browser has them. */
export async function zipped(name: string, files: readonly Made[]): Promise<Made> {
  const members = []
  for (const file of files) {
    const { size: byteLength } = file.blob
    members.push({ name: `${name}/${file.name}`, byteLength, crc: await checksumOf(file.blob) })
  }
  const { heads, directory } = zipFrame(members)
  const parts = files.flatMap(({ blob }, i) => [heads[i], blob])
  return { name: `${name}.zip`, blob: new Blob([...parts, directory], { type: 'application/zip' }) }
}
