/** Makers of small files, right or wrong, written from the formats' own specifications and not with src/. */

const latin1 = (text: string) => Buffer.from(text, 'latin1')

/** A safetensors file whose header is this text, or this object as JSON, before so many bytes of zeros or these. */
export function safetensorsFile(header: string | object, data: number | Uint8Array = 0): Buffer {
  const text = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header), 'utf8')
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(text.length))
  return Buffer.concat([length, text, typeof data === 'number' ? Buffer.alloc(data) : data])
}

/** The entry of one tensor in a safetensors header. */
export const tensor = (dtype: string, shape: readonly number[], data_offsets: readonly number[]) => ({
  dtype,
  shape,
  data_offsets,
})

/** A .npy file of version `major`.0 with this dict as its header, before these bytes. */
export function npyFile(dict: string, data: Uint8Array | number, major = 1): Buffer {
  const header = latin1(`${dict}\n`)
  const length = Buffer.alloc(major === 1 ? 2 : 4)
  length.writeUIntLE(header.length, 0, length.length)
  const body = typeof data === 'number' ? Buffer.alloc(data) : data
  return Buffer.concat([latin1('\x93NUMPY'), Buffer.from([major, 0]), length, header, body])
}

/** The dict of a .npy header. */
export const npyDict = (descr: string, shape: string) =>
  `{'descr': '${descr}', 'fortran_order': False, 'shape': ${shape}, }`

/** float64 numbers as little-endian bytes. */
export const float64s = (...values: number[]) => {
  const bytes = Buffer.alloc(8 * values.length)
  values.forEach((value, i) => {
    bytes.writeDoubleLE(value, 8 * i)
  })
  return bytes
}

/** A zip archive of stored files, with zeros for every CRC-32 but those given. */
export function zipFile(members: readonly { name: string; bytes: Uint8Array; crc?: number }[]): Buffer {
  const local: Buffer[] = []
  const central: Buffer[] = []
  let offset = 0
  for (const { name, bytes, crc = 0 } of members) {
    const fields = Buffer.alloc(26)
    fields.writeUInt16LE(20, 0)
    fields.writeUInt32LE(crc, 10)
    fields.writeUInt32LE(bytes.length, 14)
    fields.writeUInt32LE(bytes.length, 18)
    fields.writeUInt16LE(name.length, 22)
    const header = Buffer.concat([latin1('PK\x03\x04'), fields, latin1(name), bytes])
    const tail = Buffer.alloc(14)
    tail.writeUInt32LE(offset, 10)
    central.push(Buffer.concat([latin1('PK\x01\x02\x14\x00'), fields, tail, latin1(name)]))
    local.push(header)
    offset += header.length
  }
  const directory = Buffer.concat(central)
  const end = Buffer.alloc(18)
  end.writeUInt16LE(members.length, 4)
  end.writeUInt16LE(members.length, 6)
  end.writeUInt32LE(directory.length, 8)
  end.writeUInt32LE(offset, 12)
  return Buffer.concat([...local, directory, latin1('PK\x05\x06'), end])
}
