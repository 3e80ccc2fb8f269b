/**
 * Puts result lines that lie scattered over chunks back into input order: for each result file, the runs of
 * bytes that make it up. Twelve to twenty bytes of memory a line, whatever the lines hold. No I/O.
 */

/** A run of bytes in a stored chunk. */
export interface Segment {
  readonly key: string;
  readonly offset: number;
  readonly length: number;
}

export interface OrderedFile {
  readonly segments: readonly Segment[];
  readonly bytes: number;
}

export interface PlacedChunk {
  readonly key: string;
  readonly lines: readonly PlacedLine[];
}

interface PlacedLine {
  readonly line: number;
  readonly bytes: number;
  readonly file: ResultFile | null;
}

export type ResultFile = "output" | "error";

const NO_CHUNK = -1;

/** @throws Error when a line has no result, or more than one: a file that lost a line is never written. */
export function orderResults(
  chunks: Iterable<PlacedChunk>,
  totalLines: number,
): Readonly<Record<ResultFile, OrderedFile>> {
  const keys: string[] = [];
  const chunkOf = new Int32Array(totalLines).fill(NO_CHUNK);
  const offsetOf = new Float64Array(totalLines);
  const bytesOf = new Uint32Array(totalLines);
  const isOutput = new Uint8Array(totalLines);
  for (const chunk of chunks) {
    let offset = 0;
    for (const { line, bytes, file } of chunk.lines) {
      if (file !== null) {
        if (chunkOf[line] !== NO_CHUNK) throw new Error(`line ${line} has two results, or is none of the batch`);
        chunkOf[line] = keys.length;
        offsetOf[line] = offset;
        bytesOf[line] = bytes;
        isOutput[line] = file === "output" ? 1 : 0;
      }
      offset += bytes;
    }
    keys.push(chunk.key);
  }
  const files = { output: new SegmentList(), error: new SegmentList() };
  for (let line = 0; line < totalLines; line += 1) {
    const key = keys[chunkOf[line] ?? NO_CHUNK];
    if (key === undefined) throw new Error(`line ${line} has no result`);
    files[isOutput[line] === 1 ? "output" : "error"].add(key, offsetOf[line] ?? 0, bytesOf[line] ?? 0);
  }
  return files;
}

/** Joins runs that follow each other in the same chunk. */
class SegmentList implements OrderedFile {
  readonly segments: Segment[] = [];
  bytes = 0;

  add(key: string, offset: number, length: number): void {
    const last = this.segments.at(-1);
    this.bytes += length;
    if (last?.key !== key || last.offset + last.length !== offset) {
      this.segments.push({ key, offset, length });
      return;
    }
    this.segments[this.segments.length - 1] = { key, offset: last.offset, length: last.length + length };
  }
}
