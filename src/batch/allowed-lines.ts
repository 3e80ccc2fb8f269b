/**
 * No more lines of a batch are in flight than this: as stored, because an object that was restarted knows little of its
 * consumers, and would take more for its own than its pacer ever gave it.
 */
import type { BatchStorage } from "./storage.ts";

export class AllowedLines {
  readonly #storage: BatchStorage;
  /** Null: nothing is stored. */
  #lines: number | null;

  constructor(storage: BatchStorage) {
    this.#storage = storage;
    this.#lines = storage.readAllowedLines();
  }

  /** @param heldLines by what its consumers have heard: those that have not heard of fewer still have more. */
  note(lines: number, heldLines: number): void {
    const before = this.#lines ?? 0;
    if (lines === before || (lines < before && heldLines > lines)) return;
    this.#lines = lines;
    this.#storage.writeAllowedLines(lines);
  }

  /** @param heldLines no more are in flight by what is known of its consumers. */
  limit(heldLines: number): number {
    return Math.min(heldLines, this.#lines ?? Infinity);
  }
}
