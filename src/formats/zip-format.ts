/** The marks and sizes of a zip archive. Source: PKWARE APPNOTE 6.3. */
export const LOCAL_HEADER = 0x04034b50
export const CENTRAL_HEADER = 0x02014b50
export const END = 0x06054b50
export const END_64 = 0x06064b50
export const END_64_LOCATOR = 0x07064b50

export const LOCAL_BYTES = 30
export const CENTRAL_BYTES = 46
export const END_BYTES = 22
export const END_64_BYTES = 56
export const LOCATOR_BYTES = 20
/** A comment of up to 65,535 bytes may follow the end record. */
export const LONGEST_COMMENT = 0xffff
/** These fill a field whose value stands in the zip64 record instead. */
export const IN_ZIP64 = 0xffffffff
export const COUNT_IN_ZIP64 = 0xffff
export const ZIP64_EXTRA = 1

export const STORED = 0
export const DEFLATED = 8
export const ENCRYPTED = 1
export const UTF8_NAME = 0x0800
