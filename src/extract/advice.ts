/** What would carry tensors that were left for a reason, as a sentence; undefined where nothing would. */
export function carriedBy(reason: string): string | undefined {
  // The base alone has it, it is as asked, or --carry-rest was given and the second reason is why it could not.
  const isFinal = ['only in the base', 'left out', 'a buffer'].some((start) => reason.startsWith(start))
  if (isFinal || reason.includes(';')) return undefined
  return reason.startsWith('3-D experts')
    ? '--experts factors these, --carry-rest stores them whole'
    : '--carry-rest stores these whole'
}
