/** Who sends the next line that finds out whether a paused upstream is back. Pure. */
import type { RunningBatch } from "./upstream-share.ts";

export class Prober {
  /** Who may send it, or last might. */
  #current: string | null = null;

  /**
   * Batches probe in turn: what one of them is answered may be about its own lines.
   * @param able in the order of their ids. @param isProbing whether it still has what it was given for a probe.
   */
  next(able: readonly RunningBatch[], isProbing: (batchId: string) => boolean): string | null {
    const ids = able.filter(({ runnableLines }) => runnableLines > 0).map(({ id }) => id);
    const current = this.#current;
    if (current !== null && ids.includes(current) && isProbing(current)) return current;
    this.#current = ids.find((id) => current !== null && id > current) ?? ids[0] ?? null;
    return this.#current;
  }
}
