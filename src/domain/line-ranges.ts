/** Line numbers in short, for logs: `1-50,73`. Counted from 1, as clients and editors do. Pure. */

/** Ours: a log line stays short, however scattered the lines are. */
const MAX_RANGES = 50;

/** @param lines 0-based, in any order. @returns null for none; with `…` at the end when there is more. */
export function describeLines(lines: Iterable<number>): string | null {
  const ranges: { readonly first: number; last: number }[] = [];
  for (const line of [...lines].toSorted((a, b) => a - b)) {
    const range = ranges.at(-1);
    if (range !== undefined && line <= range.last + 1) range.last = line;
    else ranges.push({ first: line, last: line });
  }
  if (ranges.length === 0) return null;
  const shown = ranges
    .slice(0, MAX_RANGES)
    .map(({ first, last }) => (first === last ? `${first + 1}` : `${first + 1}-${last + 1}`));
  return ranges.length > MAX_RANGES ? `${shown.join(",")},…` : shown.join(",");
}
