/** What a dispatch has done, for its log line and for its pace. */
import type { ChunkLine } from "../domain/chunk.ts";
import { TAKES_SLICES_FOR_MS } from "../domain/conversation.ts";
import { describeLines } from "../domain/line-ranges.ts";
import type { ClaimedSlice } from "../domain/slices.ts";

/** It holds the lines that it will send in this time at its present pace, and two rounds of its slots at least. */
const LOOK_AHEAD_SECONDS = 1;
/** It also takes slices beyond its time until it has taken this many lines. */
const TAKES_LINES = 100;

export interface DispatchSummary {
  readonly completed: number;
  readonly failed: number;
  readonly givenBack: number;
  readonly exchanges: number;
  /** The lines that it took, and which of them failed for good: `1-50,73`, counted from 1. Null: none. */
  readonly lines: string | null;
  readonly failedLines: string | null;
}

export class RunSummary {
  readonly startedAt = Date.now();
  /** Every line that it ever took, and those that failed for good. */
  readonly #taken = new Set<number>();
  readonly #failed = new Set<number>();
  readonly #counts = { completed: 0, failed: 0, givenBack: 0, exchanges: 0 };

  /** Its time is over, and it was worth its price. */
  get hasTakenEnough(): boolean {
    return Date.now() >= this.startedAt + TAKES_SLICES_FOR_MS && this.#taken.size >= TAKES_LINES;
  }

  /** Lines that it is to hold. */
  linesAhead(slots: number): number {
    return Math.max(2 * slots, Math.ceil(this.#linesPerSecond * LOOK_AHEAD_SECONDS));
  }

  /** Over the whole run; less in its first second. */
  get #linesPerSecond(): number {
    const seconds = (Date.now() - this.startedAt) / 1000;
    return (this.#counts.completed + this.#counts.failed) / Math.max(1, seconds);
  }

  noteTaken(slices: readonly ClaimedSlice[]): void {
    for (const { lines } of slices) for (const { line } of lines) this.#taken.add(line);
  }

  noteSettled(line: number, result: ChunkLine["result"]): void {
    this.#counts[result] += 1;
    if (result === "failed") this.#failed.add(line);
  }

  noteGivenBack(): void {
    this.#counts.givenBack += 1;
  }

  noteExchange(): void {
    this.#counts.exchanges += 1;
  }

  describe(): DispatchSummary {
    return { ...this.#counts, lines: describeLines(this.#taken), failedLines: describeLines(this.#failed) };
  }
}
