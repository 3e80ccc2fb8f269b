/**
 * A consumer's own brake. The coordinator hears of answers only by reports, so a consumer holds its lines back by itself
 * when the upstream answers nothing but "too much": a whole round of slots without one answer that was fine closes the
 * gate, each time for longer. Pure.
 */
import { doublingPause } from "./backoff.ts";

const MIN_CLOSED_MS = 500;
const MAX_CLOSED_MS = 30_000;

export class PressureGate {
  /** Answers without one that was fine. */
  #inARow = 0;
  /** How often the gate has closed since an answer was fine. */
  #rounds = 0;
  /** In ms; in the past when the gate is open. */
  #closedUntil = 0;

  isOpen(now: number): boolean {
    return now >= this.#closedUntil;
  }

  /** When it opens; in the past when it is open. */
  get opensAt(): number {
    return this.#closedUntil;
  }

  observe(outcome: "fine" | "pressure", slots: number, now: number): void {
    if (outcome === "fine") {
      this.#inARow = 0;
      this.#rounds = 0;
      this.#closedUntil = 0;
      return;
    }
    this.#inARow += 1;
    // Lines that were in flight when it closed say nothing new.
    if (this.#inARow < slots || !this.isOpen(now)) return;
    this.#inARow = 0;
    this.#closedUntil = now + doublingPause(MIN_CLOSED_MS, MAX_CLOSED_MS, this.#rounds);
    this.#rounds += 1;
  }
}
