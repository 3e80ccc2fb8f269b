/**
 * How result lines that lie scattered over chunks become the result files. `orderResults` puts them back into input
 * order: for each file, the runs of bytes that make it up, at twelve to twenty bytes of memory a line. `planReads` cuts
 * a file into blocks of neighbouring bytes and says for each block what to read where: lines of two slices alternate
 * in their chunks as they ended, and what a block needs of a chunk is mostly one run of it. Without blocks each change
 * from one chunk to another would be a read of its own. No I/O.
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

export interface ReadBlock {
  readonly bytes: number;
  readonly reads: readonly ChunkRead[];
}

/** A run of bytes of a chunk, and where in the block its parts belong. */
export interface ChunkRead {
  readonly key: string;
  readonly offset: number;
  length: number;
  /** They follow each other in the read. */
  readonly parts: { readonly at: number; readonly length: number }[];
}

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

/** @param segments of one file, in order; those that are longer than a block are cut. */
export function* planReads(segments: Iterable<Segment>, blockBytes: number): Iterable<ReadBlock> {
  for (const piece of cutPieces(segments, blockBytes)) yield toBlock(piece);
}

/** Cuts a file into pieces of `pieceBytes`; the last one may be shorter. */
export function* cutPieces(segments: Iterable<Segment>, pieceBytes: number): Iterable<OrderedFile> {
  let piece: Segment[] = [];
  let bytes = 0;
  for (const segment of segments) {
    let { offset, length } = segment;
    while (length > 0) {
      const fitting = Math.min(length, pieceBytes - bytes);
      piece.push({ key: segment.key, offset, length: fitting });
      bytes += fitting;
      offset += fitting;
      length -= fitting;
      if (bytes < pieceBytes) continue;
      yield { segments: piece, bytes };
      piece = [];
      bytes = 0;
    }
  }
  if (bytes > 0) yield { segments: piece, bytes };
}

function toBlock({ segments, bytes }: OrderedFile): ReadBlock {
  const reads: ChunkRead[] = [];
  const lastOf = new Map<string, ChunkRead>();
  let at = 0;
  for (const { key, offset, length } of segments) {
    const part = { at, length };
    at += length;
    const last = lastOf.get(key);
    if (last !== undefined && last.offset + last.length === offset) {
      last.length += length;
      last.parts.push(part);
      continue;
    }
    const read = { key, offset, length, parts: [part] };
    lastOf.set(key, read);
    reads.push(read);
  }
  return { bytes, reads };
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
