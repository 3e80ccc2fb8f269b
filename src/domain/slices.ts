/** Slices: runs of neighbouring lines with their byte range, and how an input file is cut into them. No I/O. */

export interface Slice {
  readonly index: number;
  /** 0-based number of its first line in the file. */
  readonly firstLine: number;
  readonly lineCount: number;
  readonly byteStart: number;
  readonly byteLength: number;
}

/** A slice handed to a consumer: it runs the lines in `lines` and leaves the others alone. */
export interface ClaimedSlice extends Slice {
  readonly lines: readonly ClaimedLine[];
}

export interface ClaimedLine {
  /** 0-based number in the file. */
  readonly line: number;
  /** Tries so far. */
  readonly attempts: number;
}

/** Large batches are cut into slices of this many lines, so that they stay cheap: see docs/decisions/dispatch-tokens.md. */
const MAX_SLICE_LINES = 50;
/** A slice is read into memory whole, beside others of its invocation; only a longer line may exceed this. */
const MAX_SLICE_BYTES = 1024 * 1024;
/** Small batches are cut small, so that they spread over many consumers. */
const SLICES_AIMED_AT = 100;

/**
 * @param lineStarts offset of each line's first byte, ascending, at least one.
 * @param end offset behind the last line.
 */
export function cutSlices(lineStarts: readonly number[], end: number): readonly Slice[] {
  const maxLines = Math.min(MAX_SLICE_LINES, Math.ceil(lineStarts.length / SLICES_AIMED_AT));
  const slices: Slice[] = [];
  let firstLine = 0;
  for (let next = 1; next <= lineStarts.length; next += 1) {
    const byteStart = lineStarts[firstLine] ?? 0;
    const byteEnd = lineStarts[next] ?? end;
    const endOfNextLine = lineStarts[next + 1] ?? end;
    const isFull = next - firstLine >= maxLines || endOfNextLine - byteStart > MAX_SLICE_BYTES;
    if (next < lineStarts.length && !isFull) continue;
    slices.push({
      index: slices.length,
      firstLine,
      lineCount: next - firstLine,
      byteStart,
      byteLength: byteEnd - byteStart,
    });
    firstLine = next;
  }
  return slices;
}

/**
 * Slices whose bytes follow each other, together as far as `maxBytes` reaches, so that one ranged read gets
 * them all.
 * @param slices in input order.
 */
export function groupNeighbours<Kind extends Slice>(
  slices: readonly Kind[],
  maxBytes: number,
): readonly (readonly Kind[])[] {
  const groups: Kind[][] = [];
  let bytes = 0;
  let end = -1;
  for (const slice of slices) {
    if (slice.byteStart !== end || bytes + slice.byteLength > maxBytes) {
      groups.push([]);
      bytes = 0;
    }
    groups.at(-1)?.push(slice);
    bytes += slice.byteLength;
    end = slice.byteStart + slice.byteLength;
  }
  return groups;
}
