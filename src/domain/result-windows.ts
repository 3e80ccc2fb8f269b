/**
 * Cuts a result file into windows of neighbouring bytes, and says for each what to read where: lines of two slices
 * alternate in their chunks as they ended, and what a window needs of a chunk is mostly one run of it. Without
 * windows each change from one chunk to another would be a read of its own. No I/O.
 */
import type { OrderedFile, Segment } from "./result-order.ts";

export interface ResultWindow {
  readonly bytes: number;
  readonly reads: readonly ChunkRead[];
}

/** A run of bytes of a chunk, and where in the window its parts belong. */
export interface ChunkRead {
  readonly key: string;
  readonly offset: number;
  length: number;
  /** They follow each other in the read. */
  readonly parts: { readonly at: number; readonly length: number }[];
}

/** @param segments of one file, in order; those that are longer than a window are cut. */
export function* planWindows(segments: Iterable<Segment>, windowBytes: number): Iterable<ResultWindow> {
  for (const piece of cutPieces(segments, windowBytes)) yield toWindow(piece);
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

function toWindow({ segments, bytes }: OrderedFile): ResultWindow {
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
