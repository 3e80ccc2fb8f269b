/**
 * Max-min fairness in whole lines: what one cannot use goes to the others, and what is left over goes, one line each, to the
 * first of those that could use more. Pure.
 */

/** @param most that each could use. @returns what each gets, in the same order. */
export function shareEvenly(lines: number, most: readonly number[]): readonly number[] {
  const part = evenPart(lines, most);
  const shares = most.map((own) => Math.min(own, part));
  let left = lines - shares.reduce((sum, share) => sum + share, 0);
  return shares.map((share, index) => {
    if (left <= 0 || share >= (most[index] ?? 0)) return share;
    left -= 1;
    return share + 1;
  });
}

/** The most whole lines that each may have, so that together they have no more than there are. */
function evenPart(lines: number, most: readonly number[]): number {
  let left = lines;
  for (const [index, own] of most.toSorted((a, b) => a - b).entries()) {
    const part = Math.floor(left / (most.length - index));
    if (own > part) return part;
    left -= own;
  }
  return Infinity;
}
