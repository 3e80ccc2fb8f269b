/**
 * What a batch may believe it has. A grant that is made smaller, or whose answer is lost, may still be used by its batch
 * until that says otherwise, so its lines are nobody else's until then. Pure.
 */
import type { GrantNumber, Statement } from "./grant.ts";

interface NumberedLines {
  readonly number: number;
  readonly lines: number;
}

/** A batch that grows less than this is told by the answer to its next statement. */
const MIN_TOLD_LINES = 4;
const MIN_TOLD_FRACTION = 0.25;

export class GrantsOut {
  readonly #life: string;
  /** Those that the batch may go by, the latest last. Never empty. */
  #grants: readonly NumberedLines[];
  /** As the batch says. */
  #heldLines = 0;

  /** @param number of the first grant, which is of no lines. */
  constructor({ life, number }: GrantNumber) {
    this.#life = life;
    this.#grants = [{ number, lines: 0 }];
  }

  /** The latest grant. */
  get lines(): number {
    return this.#latest.lines;
  }

  get number(): number {
    return this.#latest.number;
  }

  /** The batch is known to go by the latest grant. */
  get isHeard(): boolean {
    return this.#grants.length === 1;
  }

  /** Lines that nobody else may have. */
  get reservedLines(): number {
    // Asked of every batch at every statement of any: without a list for each.
    let most = this.#heldLines;
    for (const { lines } of this.#grants) if (lines > most) most = lines;
    return most;
  }

  /** A batch makes its own grant smaller when it cannot use it. */
  hear({ grant, heldLines }: Pick<Statement, "grant" | "heldLines">): void {
    this.#heldLines = heldLines;
    if (grant?.life === this.#life) {
      const { number, lines } = grant;
      const later = this.#grants.filter((one) => one.number > number);
      if (this.#grants.some((one) => one.number === number)) this.#grants = [{ number, lines }, ...later];
    } else if (grant !== null) {
      // Of an earlier life of its pacer: it goes by that until it hears of this one.
      this.#heldLines = Math.max(heldLines, grant.lines);
    }
  }

  /** To be told to the batch. */
  grant(lines: number, number: number): void {
    if (lines === this.lines) return;
    this.#grants = [...this.#grants, { number, lines }];
  }

  get #latest(): NumberedLines {
    return this.#grants.at(-1) ?? { number: 0, lines: 0 };
  }
}

/** A grant that changes so is worth a call of its own. */
export function isMuch(before: number, after: number): boolean {
  if (before === 0 || after === 0) return before !== after;
  return Math.abs(after - before) >= Math.max(MIN_TOLD_LINES, before * MIN_TOLD_FRACTION);
}
