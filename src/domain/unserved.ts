/** Whether a batch has fewer lines in flight than it may, and since when: for consumers with idle slots. Pure. */

/** Consumers that were sent to a batch count as there for this long: so soon it says itself what it has in flight. */
const SENT_COUNTS_MS = 1_000;

export class Unserved {
  /** Lines in flight, as the batch last said. */
  #heldLines = 0;
  /** Slots of consumers that were sent to it since. */
  #sent: readonly { readonly slots: number; readonly at: number }[] = [];
  /** In ms; null: it was served when that was last asked. */
  #since: number | null = null;

  hear(heldLines: number): void {
    this.#heldLines = heldLines;
    this.#sent = [];
  }

  /** @param usableLines that it may have in flight, and could. @returns since when it has fewer, in ms; null: it has not. */
  sinceAt(usableLines: number, now: Date): number | null {
    this.#sent = this.#sent.filter(({ at }) => now.getTime() < at + SENT_COUNTS_MS);
    const served = this.#sent.reduce((lines, { slots }) => lines + slots, this.#heldLines);
    this.#since = usableLines > served ? (this.#since ?? now.getTime()) : null;
    return this.#since;
  }

  /** A consumer goes there. Then others come first. */
  send(slots: number, now: Date): void {
    this.#sent = [...this.#sent, { slots: Math.max(1, slots), at: now.getTime() }];
    this.#since = null;
  }
}
