/**
 * What a consumer may hold in memory: request bodies of lines in flight, answers that are being read, and results that
 * are not stored yet. How large an answer is shows when it comes: from then on it waits for its room before it is read,
 * and while one waits no line is started. No I/O.
 */

/**
 * Ours: developers.cloudflare.com/workers/platform/limits/#memory gives an isolate 128 MB. An answer that is being settled
 * is there four times for a moment (bytes, text, parsed, result line), and what is garbage stays for a while.
 */
const BUDGET_BYTES = 24 * 1024 * 1024;

/** The room of one line, from its start until it has settled or is given back. */
export interface LineRoom {
  /** Resolves when the line may hold `bytes` of its answer. Never, once it is closed. */
  readonly reserve: (bytes: number) => Promise<void>;
  readonly close: () => void;
}

interface Waiter {
  readonly bytes: number;
  readonly admit: () => void;
}

export class MemoryBudget {
  /** Request bodies of the lines that are in flight. */
  #bodyBytes = 0;
  /** What those lines may hold of their answers, and how many of them hold any. */
  #answerBytes = 0;
  #answers = 0;
  /** Results that are not stored yet. */
  #storedBytes = 0;
  /** Lines whose answers wait to be read, in the order in which they came. */
  readonly #waiting = new Set<Waiter>();

  /** Whether a line with such a request body may start. Alone it may, however large it is. */
  hasRoomFor(bodyBytes: number): boolean {
    if (this.#waiting.size > 0) return false;
    return this.#bodyBytes === 0 || this.#fits(bodyBytes);
  }

  start(bodyBytes: number): LineRoom {
    this.#bodyBytes += bodyBytes;
    let reserved = 0;
    let waiter: Waiter | null = null;
    const take = (bytes: number) => {
      this.#answers += reserved === 0 ? 1 : 0;
      this.#answerBytes += bytes;
      reserved += bytes;
    };
    return {
      reserve: (bytes) =>
        new Promise((resolve) => {
          waiter = {
            bytes,
            admit: () => {
              take(bytes);
              resolve();
            },
          };
          this.#waiting.add(waiter);
          this.#admit();
        }),
      close: () => {
        this.#bodyBytes -= bodyBytes;
        this.#answerBytes -= reserved;
        if (reserved > 0) this.#answers -= 1;
        if (waiter !== null) this.#waiting.delete(waiter);
        this.#admit();
      },
    };
  }

  /** @param bytes of results that are finished, or being stored. */
  noteUnstored(bytes: number): void {
    this.#storedBytes = bytes;
    this.#admit();
  }

  /** First come, first served: a large answer is not passed over for small ones. */
  #admit(): void {
    for (const waiter of this.#waiting) {
      if (!this.#mayRead(waiter.bytes)) return;
      this.#waiting.delete(waiter);
      waiter.admit();
    }
  }

  /** One answer at a time is read even beside large request bodies, as long as what is to be stored leaves room. */
  #mayRead(bytes: number): boolean {
    return this.#fits(bytes) || (this.#answers === 0 && this.#storedBytes + bytes <= BUDGET_BYTES);
  }

  #fits(bytes: number): boolean {
    return this.#bodyBytes + this.#answerBytes + this.#storedBytes + bytes <= BUDGET_BYTES;
  }
}
