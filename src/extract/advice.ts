/** What would carry tensors that were left for a reason, as a sentence; undefined where nothing would. */
export function carriedBy(reason: string): string | undefined {
  // Only one of the two has it, or --carry-rest was given and the second reason is why it could not.
  if (reason.startsWith('only in') || reason.includes(';')) return undefined
  return reason.startsWith('3-D experts')
    ? '--experts factors these, --carry-rest stores them whole'
    : '--carry-rest stores these whole'
}
