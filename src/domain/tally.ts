/** Sums over the stored results of a batch: what `request_counts` and `usage` show. Pure. */
import type { RequestCounts, Usage } from "./batch.ts";
import type { StoredChunk } from "./chunk.ts";
import { addUsage } from "./usage.ts";

export class Tally {
  /** Lines that were answered with 2xx. */
  #completed = 0;
  /** Lines that were executed, and failed. */
  #failed = 0;
  /** Null while no successful line reported any. */
  #usage: Usage | null = null;

  constructor(chunks: Iterable<StoredChunk>) {
    for (const chunk of chunks) this.add(chunk);
  }

  get usage(): Usage | null {
    return this.#usage;
  }

  counts(total: number): RequestCounts {
    return { total, completed: this.#completed, failed: this.#failed };
  }

  add({ lines, usage }: StoredChunk): void {
    for (const { result } of lines) {
      if (result === "completed") this.#completed += 1;
      else if (result === "failed") this.#failed += 1;
    }
    this.#usage = addUsage(this.#usage, usage);
  }
}
