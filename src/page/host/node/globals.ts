/** What stands for Node's globals wherever a room of the page's program names them. */
export { Buffer } from './buffer.ts'

export const process = { env: {} }
