/**
 * Holds lines back when the upstream answers nothing but "too much", until the coordinator's window has
 * noticed: a whole round of slots without one answer that was fine closes the gate, each time for longer. Pure.
 */

const MIN_CLOSED_MS = 500;
const MAX_CLOSED_MS = 30_000;

export class PressureGate {
  #inARow = 0;
  #rounds = 0;
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
    this.#closedUntil = now + Math.min(MAX_CLOSED_MS, MIN_CLOSED_MS * 2 ** this.#rounds);
    this.#rounds += 1;
  }
}
