/**
 * Cuts a result file into windows of neighbouring bytes, and says for each what to read where: lines of two slices
 * alternate in their chunks as they ended, and what a window needs of a chunk is mostly one run of it. Without
 * windows each change from one chunk to another would be a read of its own. No I/O.
 */
import type { Segment } from "./result-order.ts";

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
  let window = new OpenWindow();
  for (const segment of segments) {
    let { offset, length } = segment;
    while (length > 0) {
      const fitting = Math.min(length, windowBytes - window.bytes);
      window.add({ key: segment.key, offset, length: fitting });
      offset += fitting;
      length -= fitting;
      if (window.bytes < windowBytes) continue;
      yield window;
      window = new OpenWindow();
    }
  }
  if (window.bytes > 0) yield window;
}

class OpenWindow implements ResultWindow {
  readonly reads: ChunkRead[] = [];
  readonly #lastOf = new Map<string, ChunkRead>();
  bytes = 0;

  add({ key, offset, length }: Segment): void {
    const part = { at: this.bytes, length };
    this.bytes += length;
    const last = this.#lastOf.get(key);
    if (last !== undefined && last.offset + last.length === offset) {
      last.length += length;
      last.parts.push(part);
      return;
    }
    const read = { key, offset, length, parts: [part] };
    this.#lastOf.set(key, read);
    this.reads.push(read);
  }
}
