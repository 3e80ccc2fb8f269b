/** Tries that a dispatch may begin by its upstream's budgets. It is told how many, and says how many more it would begin. */
import { RELEASE_REPORT_MS } from "./reporter.ts";

/** So many of the latest tries make the mean. */
const TRIES_IN_MEAN = 10;

export class StartAllowance {
  /** Null: as many as its slots take. */
  #left: number | null;
  #meanTryMs = RELEASE_REPORT_MS;

  constructor(starts: number | null) {
    this.#left = starts;
  }

  /** Nobody has said how many it may begin. */
  get isUnlimited(): boolean {
    return this.#left === null;
  }

  get isUsedUp(): boolean {
    return this.#left === 0;
  }

  begin(): void {
    if (this.#left !== null) this.#left -= 1;
  }

  noteTry(ms: number): void {
    this.#meanTryMs += (Math.max(1, ms) - this.#meanTryMs) / TRIES_IN_MEAN;
  }

  /** By the answer to a report. */
  add(starts: number | null): void {
    this.#left = starts === null ? null : (this.#left ?? 0) + starts;
  }

  /** Tries beyond those that it may begin, until it reports next. @param heldLines that are not in flight. */
  wantedOf({ slots, running, heldLines }: Readonly<Record<"slots" | "running" | "heldLines", number>>): number {
    if (this.#left === null) return 0;
    const rounds = Math.max(1, RELEASE_REPORT_MS / this.#meanTryMs);
    const lines = Math.min(Math.ceil(slots * rounds) - running, heldLines);
    return Math.max(0, lines - this.#left);
  }
}
