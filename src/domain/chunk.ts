/** Chunks: result lines of a batch in one R2 object, in the order in which they stand in it. No I/O. */
import type { Usage } from "./batch.ts";

/** As a consumer reports it. */
export interface Chunk {
  readonly key: string;
  readonly lines: readonly ChunkLine[];
}

export interface ChunkLine {
  /** 0-based number in the input file. */
  readonly line: number;
  /** With its line break. */
  readonly bytes: number;
  readonly result: "completed" | "failed";
}

/** As the coordinator keeps it: it also knows which of the lines count. */
export interface StoredChunk {
  readonly key: string;
  readonly lines: readonly StoredLine[];
  /** Of its completed lines; null when none reported any. */
  readonly usage: Usage | null;
}

export interface StoredLine extends Omit<ChunkLine, "result"> {
  readonly result: StoredResult;
}

/** `unexecuted` counts neither as completed nor as failed. `void` is not used: another result of the line was first. */
export type StoredResult = ChunkLine["result"] | "unexecuted" | "void";
